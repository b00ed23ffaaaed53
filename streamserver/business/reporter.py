"""The thread that delivers a task's alarms, so that no frame waits for a receiver."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamserver.business.dispatch import Dispatch
from streamserver.business.posting import Post, PosterThreads
from streamserver.business.receiver import Receiver
from streamserver.core.counters import DeliveryCounts
from streamserver.core.errors import StoreError
from streamserver.outbox.box import Outbox
from streamserver.sinks.sink import Sink

_log = logging.getLogger(__name__)

_STORE_RETRY_S = 1.0


class _Word:
    """A message that is no result."""


_WAKE, _HURRY, _STOP = _Word(), _Word(), _Word()


@dataclass(frozen=True, slots=True)
class _Addresses:
    """Where alarms go from now on."""

    receivers: tuple[Receiver, ...]


class Reporter:
    """Runs a ``Dispatch`` in a thread: results of POSTs, and what other threads want, come through one mailbox.

    Args:
        outbox: where alarms come from and their fate is written.
        receivers: report addresses; without any, an alarm is delivered once the archive has it.
        archive: a local copy, written first; its failure does not keep an alarm from the receivers.
        counts: where POSTs are counted.
        clock: monotonic, in seconds.
        jitter: a random number between two limits.

    Attributes:
        receivers: as they were given last; for whoever calls ``readdress``.
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Sequence[Receiver],
        archive: Sink | None = None,
        *,
        counts: DeliveryCounts | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.receivers = tuple(receivers)
        self._clock = clock
        self._mailbox: queue.SimpleQueue[Post | _Word | _Addresses] = queue.SimpleQueue()
        posters = PosterThreads(clock, self._mailbox.put, counts or DeliveryCounts())
        self._dispatch = Dispatch(outbox, receivers, archive, posters, clock=clock, jitter=jitter)
        self._store_error = ""
        self._retry_at = float("-inf")
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    @property
    def last_error(self) -> str:
        """Why alarms are not delivered, in words; empty while they are."""
        return self._store_error or self._dispatch.last_error

    @property
    def archive_failures(self) -> int:
        """Local copies that could not be written."""
        return self._dispatch.archive_failures

    @property
    def outage(self) -> bool:
        """True while no address takes alarms."""
        return self._dispatch.outage

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """True once ``start`` was called."""
        return self._thread.ident is not None

    def wake(self) -> None:
        """Says that the outbox holds something new."""
        self._mailbox.put(_WAKE)

    def readdress(self, receivers: Sequence[Receiver]) -> None:
        """Goes on with other addresses; those that stay must be the same objects, and POSTs under way go on."""
        self.receivers = tuple(receivers)
        self._mailbox.put(_Addresses(self.receivers))

    def hurry(self) -> None:
        """Makes everything that waits due now, once; for a client that is about to go."""
        self._mailbox.put(_HURRY)

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the POSTs under way; False if that took longer (their alarms then stay pending).

        It may be called again, to wait longer.
        """
        self._mailbox.put(_STOP)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait_s = 0.0
        while not (self._stopping and self._dispatch.done):
            self._read_mailbox(wait_s)
            wait_s = self._retry_at - self._clock()
            if wait_s <= 0 or self._stopping:
                wait_s = self._step()
        self._dispatch.rest()

    def _step(self) -> float:
        try:
            if self._stopping:
                self._dispatch.finish()
                return _STORE_RETRY_S
            wait_s = self._dispatch.step()
            self._store_error = ""
            return wait_s
        except StoreError as e:
            _log.error("alarms cannot be delivered: %s", e)
            return self._pause(str(e))
        except Exception as e:  # noqa: BLE001  the thread must outlive whatever the outbox does
            _log.exception("unexpected error while delivering")
            return self._pause(repr(e))

    def _pause(self, error: str) -> float:
        self._store_error = error
        self._retry_at = self._clock() + _STORE_RETRY_S
        if self._stopping:  # whoever stops the reporter closes the outbox too, so there is no later
            self._dispatch.forget()
        return _STORE_RETRY_S

    def _read_mailbox(self, wait_s: float) -> None:
        """Takes in all messages there are; waits for the first."""
        try:
            self._take(self._mailbox.get(timeout=max(wait_s, 0.0)))
            while True:
                self._take(self._mailbox.get_nowait())
        except queue.Empty:
            return

    def _take(self, message: Post | _Word | _Addresses) -> None:
        if isinstance(message, Post):
            self._dispatch.back(message)
        elif isinstance(message, _Addresses):
            self._dispatch.readdress(message.receivers)
        elif message is _HURRY:
            self._dispatch.hurry()
        elif message is _STOP:
            self._stopping = True
