"""The time of a recording itself: how far into it each picture is, however fast it is read."""

from __future__ import annotations

import math

_TICKS_A_SECOND = 2**20
"""Times are whole ticks: such numbers can be added and subtracted without rounding, so what lasts ten seconds lasts as
long wherever in a recording it begins, and in each of its loops."""

_LONGEST_STEP_S = 3600.0
"""A recording may have gaps; a longer step, or one back of that length, is a mistake in its timestamps."""

_FARTHEST_S = 1e10
"""No recording has timestamps beyond this; decoders hand out what is no number at all, too."""


class SourceClock:
    """Turns the timestamps of pictures, in the order in which they are shown, into seconds that never go back.

    Pictures without a timestamp follow each other at the recording's rate. So does the first of a new loop, and one
    after a jump of the timestamps.
    """

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._stamp_s: float | None = None
        self._offset_s = 0.0

    def new_loop(self) -> None:
        """The next picture's timestamp has nothing to do with those before."""
        self._stamp_s = None

    def at(self, stamp_s: float | None, *, rate: float) -> float:
        """The time of the next picture; 0 for the very first.

        Args:
            stamp_s: its timestamp in seconds; ``None`` where it has none.
            rate: pictures a second, where timestamps do not tell.
        """
        follows_s = 0.0 if self._last_s is None else self._last_s + whole_ticks(1 / rate)
        if stamp_s is None or not abs(stamp_s) < _FARTHEST_S:
            now_s = follows_s
        else:
            stamp_s = whole_ticks(stamp_s)
            if self._stamp_s is None or abs(stamp_s - self._stamp_s) > _LONGEST_STEP_S:
                self._offset_s = follows_s - stamp_s
            self._stamp_s = stamp_s
            now_s = stamp_s + self._offset_s
        self._last_s = now_s if self._last_s is None else max(self._last_s, now_s)
        return self._last_s


_DRIFT = 1e-3
"""How much faster or slower, at most, a camera's clock is taken to run than ours."""

_OTHER_CLOCK_S = 60.0
"""Timestamps that are further from those before, measured by when they came, begin anew."""


class ArrivalClock:
    """When packets of a live stream came, however long each had to wait until somebody read it.

    Whoever is busy reads late, and never early: the packet that came soonest by its timestamp tells when others did.
    """

    def __init__(self) -> None:
        self._last = -math.inf
        self._stamp_s = 0.0
        self._offset_s: float | None = None

    def at(self, stamp_s: float | None, *, now: float) -> float:
        """When the next packet came, on the clock of ``now``; not later than that, and never before another.

        Args:
            stamp_s: its timestamp in seconds; ``None`` where it has none.
            now: when it was read.
        """
        arrived = now
        if stamp_s is not None and abs(stamp_s) < _FARTHEST_S:
            waited_at_most = now - stamp_s
            if self._offset_s is None or abs(waited_at_most - self._offset_s) > _OTHER_CLOCK_S:
                self._offset_s = waited_at_most
            else:
                drifted = self._offset_s + _DRIFT * max(0.0, stamp_s - self._stamp_s)
                self._offset_s = min(waited_at_most, drifted)
            self._stamp_s = stamp_s
            arrived = stamp_s + self._offset_s
        self._last = max(self._last, min(arrived, now))
        return self._last


def whole_ticks(seconds: float) -> float:
    """The nearest time that is a whole number of ticks."""
    return round(seconds * _TICKS_A_SECOND) / _TICKS_A_SECOND
