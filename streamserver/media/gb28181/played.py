"""How much of a recording has been played, and how fast its pictures follow each other."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from streamserver.media.gb28181.program_stream import CLOCK_HZ, ticks_between

logger = logging.getLogger(__name__)

_LONGEST_STEP_S = 10.0
_HIGHEST_RATE = 240.0
_END_TOLERANCE_S = 2.0
"""A recording of which no more than this is missing has been played."""

_TRIES_WITHOUT_PROGRESS = 3


class PlayedTime:
    """Adds up the steps between presentation times.

    Pictures may come in another order than they are shown, and a recording may have gaps: only steps forward count, and
    none that is longer than ``_LONGEST_STEP_S``.

    Attributes:
        seconds: of the recording, from the first picture to the latest.
        key_distance_s: the longest time from one key frame to the next, or from the latest on.
        rate: pictures a second; ``None`` before two different times have come.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.key_distance_s = 0.0
        self.rate: float | None = None
        self._latest: int | None = None
        self._before: int | None = None
        self._key_at_s = 0.0

    def note(self, pts: int | None, *, is_key: bool = False) -> None:
        """The video goes on with a picture that is due at ``pts`` (ticks of 90 kHz); ``None``: it does not say."""
        if pts is None or pts == self._before:
            return
        if self._before is not None:
            between_s = abs(ticks_between(self._before, pts)) / CLOCK_HZ
            if between_s * _HIGHEST_RATE >= 1:
                self.rate = max(self.rate or 0.0, 1 / between_s)
        self._before = pts
        step_s = 0.0 if self._latest is None else ticks_between(self._latest, pts) / CLOCK_HZ
        if self._latest is None or abs(step_s) > _LONGEST_STEP_S:
            self._latest = pts
        elif step_s > 0:
            self.seconds += step_s
            self._latest = pts
        self.key_distance_s = max(self.key_distance_s, self.seconds - self._key_at_s)
        if is_key:
            self._key_at_s = self.seconds


class Recording:
    """What is asked for in playback, and how far it has been played, over all connections.

    A device begins at a key frame before the time that it is asked for and does not say which. So what has been played
    for certain is less than what has come, by the distance of key frames; a connection that breaks off goes on there.

    Args:
        begin: its start.
        end: its end.
    """

    def __init__(self, begin: datetime, end: datetime) -> None:
        self._begin = begin
        self._length_s = (end - begin).total_seconds()
        self._asked_s = 0
        self._played = PlayedTime()
        self._in_vain = 0
        self._has_shown = False

    @property
    def rest_begins(self) -> datetime:
        """What to ask for: everything from here on."""
        return self._begin + timedelta(seconds=self._asked_s)

    @property
    def is_played(self) -> bool:
        """Nothing worth mentioning is missing."""
        return self._asked_s + self._played.seconds >= self._length_s - _END_TOLERANCE_S

    def plays(self, played: PlayedTime) -> None:
        """A connection has begun; ``played`` is what it counts."""
        self._played = played

    def hung_up(self) -> bool:
        """The device has ended a connection without a reason; True if it has done so too often without anything new.

        Some devices end a recording that is shorter than what was asked for in no other way. One of which nothing has
        been seen has not ended.
        """
        before = self._asked_s
        self.broke_off()
        self._in_vain = self._in_vain + 1 if self._has_shown and self._asked_s == before else 0
        if self._in_vain >= _TRIES_WITHOUT_PROGRESS:
            logger.warning("the recording has ended after %d s of %d s", self._asked_s, self._length_s)
        return self._in_vain >= _TRIES_WITHOUT_PROGRESS

    def broke_off(self) -> None:
        """A connection has ended: the next one goes on after what has certainly been played."""
        self._has_shown = self._has_shown or self._played.seconds > 0
        certain_s = self._asked_s + self._played.seconds - self._played.key_distance_s
        self._asked_s = max(self._asked_s, int(certain_s))
        self._played = PlayedTime()
