"""When a report address is asked and when it is left alone: a circuit breaker without clock or threads."""

from __future__ import annotations

import random
from collections.abc import Callable

FAILURES = 3
"""So many failures in a row open the breaker; one may be bad luck."""

FIRST_PROBE_S = 2.0
LONGEST_PROBE_S = 60.0
"""While other addresses take alarms, a broken one is tried after the first, twice as long, … at most the second."""

OUTAGE_PROBE_S = 1.5
"""While no address takes alarms, so long after its last failure each is tried again, if it is this process's turn."""

PATIENCE_S = 1.0
_USUAL_TIMES = 3.0
"""Another address gets the alarm too when one has not answered for so long, or for so many times its usual time."""

LONGEST_HOLD_S = 1800.0
"""A longer Retry-After is not believed."""

_SMOOTHING = 0.2
_REMEMBERED = 1000


class Breaker:
    """What is known of one address. Closed: it is asked. Open: it is left out, but for a probe now and then.

    It opens after ``FAILURES`` in a row, or so many alarms refused and none taken, and at once when the address is
    late or asks to be left alone; whatever shows that the address is well closes it. All times are seconds on one
    monotonic clock, given by the caller.

    Args:
        jitter: a random number between two limits; tasks that share an address do not probe it in step.
    """

    def __init__(self, *, jitter: Callable[[float, float], float] = random.uniform) -> None:
        self.open = False
        self.unreachable = False
        """The last failure was that nobody could be connected to, so a connection is probe enough."""
        self._jitter = jitter
        self._failures = 0
        self._under_way = 0
        self._wait_s = FIRST_PROBE_S
        self._probe_at = 0.0
        self._outage_probe_at = 0.0
        self._held_until = float("-inf")
        self._usual_s = 0.0
        self._has_taken = False
        self._refused: set[str] = set()
        """What it refused since it last took an alarm; at most ``_REMEMBERED``."""
        self._to_blame: dict[str, None] = {}
        """Alarms that were to blame before, so that their next refusals say nothing of the address; the newest."""
        self._unforeseen = 0

    @property
    def patience_s(self) -> float:
        """How long the address may take to answer before another one is asked as well."""
        return max(PATIENCE_S, _USUAL_TIMES * self._usual_s)

    def probe_in(self, now: float, *, outage: bool) -> float:
        """Seconds until an open address may be tried again, 0 for now; never while a try is under way.

        Args:
            now: the caller's clock.
            outage: no address takes alarms.
        """
        if self._under_way:
            return float("inf")
        return max(0.0, max(self._held_until, self._outage_probe_at if outage else self._probe_at) - now)

    def begun(self) -> bool:
        """A try begins; returns whether it is a probe, which goes back to ``late`` or ``failed``."""
        self._under_way += 1
        return self.open

    def ended(self) -> None:
        """A try is over; ``took``, ``refused``, ``connected`` or ``failed`` follows."""
        self._under_way -= 1

    def begin_open(self) -> None:
        """Others have found that it takes no alarms: it is probed before it is asked."""
        self.open = True

    def took(self, after_s: float) -> None:
        """It took an alarm, and that so long after it had been asked."""
        self._usual_s = after_s if self._usual_s == 0 else self._usual_s + _SMOOTHING * (after_s - self._usual_s)
        self._has_taken = True
        self._refused.clear()
        self._unforeseen = 0
        self._close()

    def refused(self, now: float, alarm_id: str, *, probe: bool) -> bool:
        """It refused an alarm for the alarm's own sake, as it says.

        One that refuses several and takes none is broken itself: its disk is full, or a proxy before it has its limits.
        Alarms that were to blame before do not count among these.

        Args:
            now: the caller's clock.
            alarm_id: which alarm.
            probe: as ``begun`` said.

        Returns:
            Whether the alarm is to blame: the address has taken another since it last refused this one.
        """
        is_first = alarm_id not in self._refused and len(self._refused) < _REMEMBERED
        if is_first:
            self._refused.add(alarm_id)
            self._unforeseen += alarm_id not in self._to_blame
        if self._unforeseen < FAILURES:
            self._close()
            return is_first and self._has_taken and self._blame(alarm_id)
        self.unreachable = False
        self._leave_out(now, probe)
        return False

    def connected(self, now: float) -> None:
        """Somebody listens again; whether alarms are taken is to be tried at once."""
        self.unreachable = False
        self._probe_at = self._outage_probe_at = now

    def failed(
        self, now: float, *, probe: bool = False, unreachable: bool = False, retry_after_s: float | None = None
    ) -> None:
        """It did not take an alarm, or nobody knows.

        Args:
            now: the caller's clock.
            probe: as ``begun`` said; a probe that was ``late`` has been counted by that.
            unreachable: nobody could be connected to.
            retry_after_s: how long it asked to be left alone.
        """
        self._failures += 1
        self.unreachable = unreachable
        if retry_after_s is not None:
            self._held_until = max(self._held_until, now + min(retry_after_s, LONGEST_HOLD_S))
        if self.open or retry_after_s is not None or self._failures >= FAILURES:
            self._leave_out(now, probe)

    def late(self, now: float, *, probe: bool) -> None:
        """It has not answered for longer than ``patience_s``, and another address is asked in its place."""
        self._leave_out(now, probe)

    def put_off(self, now: float) -> None:
        """In an outage: another process tries in this one's place."""
        self._outage_probe_at = now + self._jitter(0.5, 1.0) * OUTAGE_PROBE_S

    def hope(self) -> None:
        """An outage is over, for another address is well: this one is probed as if it had just begun to fail."""
        self._wait_s = FIRST_PROBE_S
        self._probe_at = min(self._probe_at, self._outage_probe_at)

    def hurry(self, now: float) -> None:
        """Makes the next probe due; what Retry-After asked for stays."""
        self._probe_at = self._outage_probe_at = now

    def _blame(self, alarm_id: str) -> bool:
        self._to_blame.pop(alarm_id, None)
        self._to_blame[alarm_id] = None
        if len(self._to_blame) > _REMEMBERED:
            del self._to_blame[next(iter(self._to_blame))]
        return True

    def _close(self) -> None:
        self.open = self.unreachable = False
        self._failures, self._wait_s = 0, FIRST_PROBE_S

    def _leave_out(self, now: float, probe: bool) -> None:
        if probe:
            self._wait_s = min(2 * self._wait_s, LONGEST_PROBE_S)
        self.open = True
        self._probe_at = now + self._jitter(0.75, 1.0) * self._wait_s
        self._outage_probe_at = now + self._jitter(0.5, 1.0) * OUTAGE_PROBE_S
