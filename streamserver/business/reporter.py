"""The delivery thread: alarms from the outbox to the report addresses, so that no frame waits for a receiver."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence

from streamserver.business.outbox import Outbox, PendingEvent
from streamserver.core.errors import AlarmRefusedError, DeliveryError, StoreError
from streamserver.sinks.sink import Alarm, Sink

_log = logging.getLogger(__name__)

BACKOFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""The longest wait after the first, second, … failure of an alarm; the last one holds for all that follow."""

MAX_PAUSE_S = 30.0
"""The longest wait between two alarms while no address takes any."""

PROBE_S = 60.0
"""During an outage an alarm is tried at least this often, however long the alarms still have to wait."""

_OUTAGE_FAILURES = 2
"""So many failures in a row are an outage; one may be the alarm's own fault."""

_SLOW_S = 1.0
_AVOID_S = 60.0
"""An address that took longer than ``_SLOW_S`` to fail is the last one to be asked for this long."""

_IDLE_S = 30.0
_STORE_RETRY_S = 5.0
_RECALL_INTERVAL_S = 60.0


class Reporter:
    """Delivers alarms one after another.

    Each alarm starts at the next address (round robin) and goes to the following ones at once when one fails. When all
    have failed it waits its own random back-off, and the others wait a short pause that doubles with each failure in a
    row: a dead receiver is not hammered, and one alarm that nobody takes does not hold up the rest.

    After two failures in a row, and until something is delivered for the first time, an outage is assumed: then one
    alarm is tried every ``PROBE_S`` at least, and the first success makes all that wait due (once a minute at most).
    What a receiver refuses for a reason that lies in the alarm costs only that alarm a wait. An address that fails
    slowly goes last for a while.

    Args:
        outbox: where alarms come from and their fate is written.
        receivers: report addresses; without any, an alarm is delivered once the archive has it.
        archive: a local copy, written first; its failure does not keep an alarm from the receivers.
        now: seconds since the epoch.
        jitter: a random number between two limits.
    """

    def __init__(
        self,
        outbox: Outbox,
        receivers: Sequence[Sink],
        archive: Sink | None = None,
        *,
        now: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.last_error = ""
        self.archive_failures = 0
        self._outbox = outbox
        self._receivers = list(receivers)
        self._archive = archive
        self._now = now
        self._jitter = jitter
        self._first = 0
        self._failures_in_a_row = 0
        self._outage = True
        self._tried_at = float("-inf")
        self._avoid_until = [float("-inf")] * len(receivers)
        self._pause_until = 0.0
        self._recall = False
        self._stepped_at = float("-inf")
        self._recalled_at = float("-inf")
        self._unrecorded: list[str] = []
        self._wake_up = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """True once ``start`` was called."""
        return self._thread.ident is not None

    def wake(self) -> None:
        """Says that the outbox holds something new."""
        self._wake_up.set()

    def hurry(self) -> None:
        """Makes everything that waits due now, once; for a client that is about to go."""
        self._outbox.retry_now()
        self._pause_until = 0.0
        self.wake()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the POST in flight; False if that took longer (its alarm then stays pending)."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        for sink in [*self._receivers, *([self._archive] if self._archive else [])]:
            sink.close()
        return True

    def step(self) -> float:
        """Delivers at most one alarm; returns the seconds after which another step makes sense, 0 for at once.

        Raises:
            StoreError: the outbox cannot be read or written.
        """
        while self._unrecorded:
            self._outbox.delivered(self._unrecorded[0])
            del self._unrecorded[0]
        now = self._now()
        if now < self._stepped_at:  # the clock was set back, which put off every next try
            self._recall, self._recalled_at = True, float("-inf")
        self._stepped_at = now
        pause = self._pause_until - now
        if 0 < pause <= MAX_PAUSE_S:
            return pause
        if self._recall and not 0 <= now - self._recalled_at < _RECALL_INTERVAL_S:
            self._recall, self._recalled_at = False, now
            self._outbox.retry_now()
        events = self._outbox.due(now) or self._probe(now)
        if events:
            self._tried_at = now
            self._deliver(events[0])
            return 0.0
        following = self._outbox.next_try()
        return _IDLE_S if following is None else min(max(following - now, 0.0), _IDLE_S)

    def _probe(self, now: float) -> list[PendingEvent]:
        """During an outage, the alarm that is due next, before its time: the receiver may be back."""
        if not self._outage or 0 <= now - self._tried_at < PROBE_S:
            return []
        return self._outbox.due(now + BACKOFF_S[-1])

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake_up.clear()
            try:
                wait_s = self.step()
            except StoreError as e:
                _log.error("alarms cannot be delivered: %s", e)
                self.last_error = str(e)
                wait_s = _STORE_RETRY_S
            except Exception as e:  # noqa: BLE001  the thread must outlive whatever a sink or the outbox does
                _log.exception("unexpected error while delivering")
                self.last_error = repr(e)
                wait_s = _STORE_RETRY_S
            if wait_s > 0 and not self._stopping.is_set():
                self._wake_up.wait(wait_s)

    def _deliver(self, event: PendingEvent) -> None:
        alarm = Alarm(id=event.id, body=event.body, created=event.created, attempt=event.attempts + 1)
        archive_error = self._write_archive(alarm, event)
        error = self._send_round(alarm) if self._receivers else archive_error
        if error is None:
            self._succeeded(alarm)
        else:
            self._failed(event, error)

    def _write_archive(self, alarm: Alarm, event: PendingEvent) -> DeliveryError | None:
        if self._archive is None or event.archived:
            return None
        error = _try_sink(self._archive, alarm)
        if error is not None:
            self.archive_failures += 1
            _log.error("the local copy of an alarm could not be written: %s", error)
        elif self._receivers:
            self._outbox.archived(alarm.id)
        return error

    def _send_round(self, alarm: Alarm) -> DeliveryError | None:
        """Tries each address once; returns what was wrong with all of them, or ``None`` once one took the alarm."""
        count = len(self._receivers)
        turns = [(self._first + offset) % count for offset in range(count)]
        self._first = (self._first + 1) % count
        started = self._now()
        errors = []
        for position in sorted(turns, key=lambda i: started < self._avoid_until[i]):
            before = time.monotonic()
            error = _try_sink(self._receivers[position], alarm)
            if error is None:
                return None
            errors.append(error)
            if time.monotonic() - before > _SLOW_S:
                self._avoid_until[position] = self._now() + _AVOID_S
            if self._stopping.is_set():
                break
        refused = all(isinstance(error, AlarmRefusedError) for error in errors)
        return (AlarmRefusedError if refused else DeliveryError)("; ".join(map(str, errors)))

    def _succeeded(self, alarm: Alarm) -> None:
        self._recall = self._recall or self._outage
        self._outage = False
        self._failures_in_a_row, self._pause_until = 0, 0.0
        self.last_error = ""
        self._unrecorded.append(alarm.id)  # a disk that is full now must not lead to a second copy later
        self._outbox.delivered(alarm.id)
        self._unrecorded.remove(alarm.id)
        if not self._receivers and self._archive is None:
            _log.info("alarm %s: no report address and no event_dir, so it is only counted", alarm.id)

    def _failed(self, event: PendingEvent, error: DeliveryError) -> None:
        now = self._now()
        self.last_error = str(error)
        _log.warning("no receiver took an alarm: %s", error)
        if not isinstance(error, AlarmRefusedError):
            self._failures_in_a_row += 1
            self._outage = self._outage or self._failures_in_a_row >= _OUTAGE_FAILURES
            self._pause_until = now + min(MAX_PAUSE_S, 2.0 ** min(self._failures_in_a_row - 1, 10))
        self._outbox.failed(event.id, now + retry_delay_s(event.attempts, self._jitter), str(error))


def retry_delay_s(failures_before: int, jitter: Callable[[float, float], float]) -> float:
    """The wait after an alarm's next failure: anything between 0 and the limit of ``BACKOFF_S``."""
    return jitter(0.0, BACKOFF_S[min(failures_before, len(BACKOFF_S) - 1)])


def _try_sink(sink: Sink, alarm: Alarm) -> DeliveryError | None:
    try:
        sink.send(alarm)
    except DeliveryError as e:
        return e
    except Exception as e:  # noqa: BLE001  a sink that breaks must not hold up the alarms behind this one
        _log.exception("sink %s", sink.name)
        return DeliveryError(f"{sink.name}: {e!r}")
    return None
