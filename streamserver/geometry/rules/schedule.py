"""Windows of the day in which alarms are wanted, in the machine's local time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

_TIME = re.compile(r"\s*(\d{1,2})[ :]+(\d{1,2})[ :]+(\d{1,2})\s*")
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """Part of a day, in seconds of the day; the whole of ``end_s`` belongs to it.

    ``start_s`` after ``end_s`` means over midnight.
    """

    start_s: int
    end_s: int

    def holds(self, second_of_day: int) -> bool:
        """True if a moment within this second is inside the window."""
        if self.start_s <= self.end_s:
            return self.start_s <= second_of_day <= self.end_s
        return second_of_day >= self.start_s or second_of_day <= self.end_s


def parse_time_of_day(text: str) -> int:
    """Seconds of the day of ``HH MM SS`` or ``HH:MM:SS``, up to ``24:00:00``.

    Raises:
        ValueError: the text is no time of day.
    """
    match = _TIME.fullmatch(text)
    if match:
        hours, minutes, seconds = (int(part) for part in match.groups())
        total = hours * 3600 + minutes * 60 + seconds
        if minutes < 60 and seconds < 60 and total <= _DAY_S:
            return total
    raise ValueError(f"expected a time of day as 'HH MM SS' or 'HH:MM:SS', got '{text}'")


def is_on(windows: tuple[DailyWindow, ...], timestamp_us: int) -> bool:
    """True if any window holds the local time of ``timestamp_us``, microseconds since the epoch.

    Timestamp 0, a picture without a time of its own, is inside any window. Without windows nothing is ever on.
    """
    if timestamp_us == 0:
        return bool(windows)
    local = time.localtime(timestamp_us // 1_000_000)
    second_of_day = local.tm_hour * 3600 + local.tm_min * 60 + min(local.tm_sec, 59)
    return any(window.holds(second_of_day) for window in windows)
