"""One report address as the reporter sees it: its breaker, its slots, and connections for several POSTs at a time."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable

from streamserver.business.breaker import Breaker
from streamserver.business.slots import Slot, Slots
from streamserver.core.errors import DeliveryError
from streamserver.sinks.sink import Alarm, Sink

_log = logging.getLogger(__name__)


class Receiver:
    """A place that takes alarms.

    ``send``, ``knock`` and ``rest`` may be called from any thread; the rest belongs to the reporter's own.

    Args:
        name: for logs and status, secrets masked.
        make_sink: a way to the address for one POST at a time; as many are made as are needed at once, and kept.
        key: what tells it from other addresses of the task; the name unless given.
        slots: limits the POSTs of all processes together; ``None`` for no limit.
        jitter: for the breaker.
    """

    def __init__(
        self,
        name: str,
        make_sink: Callable[[], Sink],
        *,
        key: str = "",
        slots: Slots | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.name = name
        self.key = key or name
        self.breaker = Breaker(jitter=jitter)
        self._make_sink = make_sink
        self._slots = slots
        self._holds_turn = False
        self._idle: deque[Sink] = deque()

    def take_slot(self) -> Slot | None:
        """The right to one POST, or ``None`` while too many are under way."""
        return Slot(None) if self._slots is None else self._slots.take()

    def recall(self, now: float) -> None:
        """Begins where other processes are: what takes no alarms of theirs is probed first."""
        if self._slots is not None and self._slots.is_out(now):
            self.breaker.begin_open()

    def may_try(self, now: float) -> bool:
        """In an outage: whether it is this process's turn to try; if not, its next look is put off a little."""
        if self._holds_turn or self._slots is None or self._slots.may_try(now):
            self._holds_turn = False
            return True
        self.breaker.put_off(now)
        return False

    def connected(self, now: float) -> None:
        """Somebody listens again: the turn goes on with an alarm."""
        self.breaker.connected(now)
        self._holds_turn = True

    def note_try(self, now: float, *, well: bool) -> None:
        """Tells the machine's other tasks how a try in an outage went."""
        if self._slots is not None:
            self._slots.note(now, well=well)

    def send(self, alarm: Alarm) -> DeliveryError | None:
        """Hands ``alarm`` over; returns what was wrong, or ``None`` when it has arrived."""
        return self._use(lambda sink: sink.send(alarm))

    def knock(self) -> DeliveryError | None:
        """Connects and no more; returns why that was impossible."""
        return self._use(lambda sink: sink.knock())

    def rest(self) -> None:
        """Lets go of the connections that nobody uses."""
        while True:
            try:
                self._idle.popleft().close()
            except IndexError:
                return

    def _use(self, work: Callable[[Sink], None]) -> DeliveryError | None:
        try:
            sink = self._idle.pop()
        except IndexError:
            sink = self._make_sink()
        try:
            work(sink)
        except DeliveryError as e:
            return e
        except Exception as e:  # noqa: BLE001  a sink that breaks must not hold up the alarms behind this one
            _log.exception("sink %s", self.name)
            return DeliveryError(f"{self.name}: {e!r}")
        finally:
            self._idle.append(sink)
        return None
