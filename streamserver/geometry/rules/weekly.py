"""A week's hours in which alarms are wanted, in a time zone: minutes, over midnight, across changes of the clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

MINUTES_A_DAY = 1440

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """Part of one weekday.

    Attributes:
        day: the day on which it begins, 0 for Monday.
        start: its first minute of the day, from 0 to 1439.
        end: the minute of the day before which it ends, from 1 to 1440; not above ``start`` means on the next day.
    """

    day: int
    start: int
    end: int

    def holds(self, day: int, minute: int) -> bool:
        """True if the minute ``minute`` of weekday ``day``, as a clock on the wall shows it, is inside."""
        if self.start < self.end:
            return day == self.day and self.start <= minute < self.end
        next_day = (self.day + 1) % 7
        return (day == self.day and minute >= self.start) or (day == next_day and minute < self.end)


@dataclass(frozen=True, slots=True)
class WeeklySchedule:
    """Windows of the week on the wall clock of a place; without windows it is never on.

    An hour that comes twice when the clock is set back is inside both times; one that is left out never comes.
    """

    zone: ZoneInfo
    windows: tuple[WeeklyWindow, ...]
    _latest: dict[int, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def is_on(self, timestamp_us: int) -> bool:
        """True if ``timestamp_us``, microseconds since the epoch, is inside a window; 0, no time at all, is always."""
        if timestamp_us == 0:
            return True
        minute = timestamp_us // _MINUTE_US
        answer = self._latest.get(minute)
        if answer is None:
            self._latest.clear()
            answer = self._latest[minute] = self._is_on_at(minute)
        return answer

    def _is_on_at(self, epoch_minute: int) -> bool:
        # The offsets of today's zones are whole minutes, so a minute begins everywhere at once.
        local = datetime.fromtimestamp(epoch_minute * 60, UTC).astimezone(self.zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        return any(window.holds(day, minute) for window in self.windows)
