"""Frames that come faster than they were filmed are held back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEFAULT_RATE = 25.0
"""Frames a second of a stream that does not say, or says something impossible."""

_HIGHEST_RATE = 240.0


def plausible_rate(rate: float) -> float:
    """``rate`` frames a second where that can be; ``DEFAULT_RATE`` where it cannot, as a clock's rate that is told."""
    return rate if 0 < rate <= _HIGHEST_RATE else DEFAULT_RATE


class Pacer:
    """Holds a file's frames back to ``rate`` a second.

    Whoever falls behind catches up at most ``max_lag_s``; a pause longer than that is forgotten.

    Args:
        rate: frames a second; 0 for no pacing.
        stopping: ends the wait.
    """

    def __init__(
        self,
        rate: float,
        stopping: threading.Event,
        *,
        max_lag_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period_s = 1.0 / rate if rate > 0 else 0.0
        self._stopping = stopping
        self._max_lag_s = max_lag_s
        self._clock = clock
        self._due = clock()

    def wait(self, frames: int = 1) -> bool:
        """Waits until a frame is due, the next unless some are passed over; returns False once ``stopping`` is set.

        Args:
            frames: how many after the one before it is.
        """
        self._due += (frames - 1) * self._period_s
        now = self._clock()
        delay_s = self._due - now
        self._due = max(self._due, now - self._max_lag_s) + self._period_s
        if delay_s > 0:
            self._stopping.wait(delay_s)
        return not self._stopping.is_set()


class TimestampPacer:
    """Holds frames back to their own timestamps, for live streams that arrive in bursts (HLS).

    The stream's clock and ours drift apart: a frame that would have to wait longer than ``max_wait_s``, or is late,
    becomes the new point of reference.

    Args:
        stopping: ends the wait.
    """

    def __init__(
        self,
        stopping: threading.Event,
        *,
        max_wait_s: float = 12.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopping = stopping
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._offset_s: float | None = None

    def wait(self, timestamp_s: float | None) -> None:
        """Waits until the frame of ``timestamp_s`` (seconds in the stream) is due; ``None`` does not wait."""
        if timestamp_s is None:
            return
        now = self._clock()
        delay_s = 0.0 if self._offset_s is None else timestamp_s + self._offset_s - now
        if self._offset_s is None or not 0 < delay_s <= self._max_wait_s:
            self._offset_s = now - timestamp_s
            return
        self._stopping.wait(delay_s)
