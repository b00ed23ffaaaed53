"""Which address an alarm goes to next, and what becomes of it when none took it: decisions only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from streamserver.business.breaker import Breaker
from streamserver.core.errors import AlarmRefusedError, DeliveryError

BACKOFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""The longest wait after the first, second, … failure of an alarm; the last one holds for all that follow."""

REFUSALS = 5
"""So often every address refuses an alarm for its own sake before it is a dead letter."""


def retry_delay_s(attempt: int, jitter: Callable[[float, float], float]) -> float:
    """The wait after attempt number ``attempt`` (1 for the first): anything between 0 and the limit of its step."""
    return jitter(0.0, BACKOFF_S[min(max(attempt, 1), len(BACKOFF_S)) - 1])


def is_refused(errors: Sequence[DeliveryError], addresses: int) -> bool:
    """Whether every one of so many addresses refused an alarm for a reason that lies in the alarm."""
    return len(errors) == addresses and all(isinstance(error, AlarmRefusedError) for error in errors)


class Routing:
    """Turns among the addresses of a task.

    Each alarm starts at the next address (round robin) and goes to the following ones. Open breakers are left out, but
    for one whose probe is due: an alarm that comes to it by turns is its probe. In an outage, when all are open, an
    address is asked only as a probe.

    Args:
        breakers: one an address.
    """

    def __init__(self, breakers: Sequence[Breaker]) -> None:
        self._breakers = breakers
        self._next = 0

    @property
    def outage(self) -> bool:
        """No address takes alarms."""
        return bool(self._breakers) and all(breaker.open for breaker in self._breakers)

    def begin(self) -> int:
        """Where the next alarm starts."""
        start = self._next
        self._next = (start + 1) % len(self._breakers)
        return start

    def candidates(self, start: int, asked: Collection[int], now: float) -> list[int]:
        """The addresses that an alarm may go to now, the best first.

        Args:
            start: where the alarm started.
            asked: those that had it in this round.
            now: the breakers' clock, in seconds.
        """
        count, outage = len(self._breakers), self.outage
        turns = [(start + offset) % count for offset in range(count)]
        return [i for i in turns if i not in asked and self._may_be_asked(i, now, outage)]

    def is_closed_left(self, asked: Collection[int]) -> bool:
        """Whether an address that is well is not among ``asked``."""
        return any(not breaker.open for i, breaker in enumerate(self._breakers) if i not in asked)

    def probes_due(self, now: float) -> list[int]:
        """In an outage: the addresses that are to be tried now."""
        return [i for i, breaker in enumerate(self._breakers) if breaker.probe_in(now, outage=True) <= 0]

    def probe_in(self, now: float) -> float:
        """In an outage: seconds until the next probe; infinite while one is under way at each address."""
        return min(breaker.probe_in(now, outage=True) for breaker in self._breakers)

    def _may_be_asked(self, i: int, now: float, outage: bool) -> bool:
        breaker = self._breakers[i]
        return not breaker.open or breaker.probe_in(now, outage=outage) <= 0
