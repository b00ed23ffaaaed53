"""Numbers processed frames, also for engines that only say a frame's position in the source."""

from __future__ import annotations

from dataclasses import dataclass

from streamserver.core.results import WireFrame


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame stands.

    Attributes:
        sequence: processed frames before it; never smaller than that of an earlier frame of the same start.
        loop: how often the source has started over.
        started_over: this is the first frame after the source started over.
    """

    sequence: int
    loop: int
    started_over: bool


class FrameCounter:
    """Places the frames of one algorithm, in the order they come.

    Our engine sends ``mSequence`` and ``mLoop``. For a sophon-stream binary, which sends neither, the number is
    ``mFrameId // interval`` plus an offset that makes up for each start, and a smaller ``mFrameId`` is a new loop.

    Args:
        interval: the algorithm's DetectInterval; below 1 counts as 1.
    """

    def __init__(self, interval: int) -> None:
        self._interval = max(1, interval)
        self._last: Place | None = None
        self._last_frame = (0, 0)
        self._offset = 0
        self._loop = 0

    def place(self, frame: WireFrame) -> Place:
        """The place of ``frame``, which comes after all frames given before."""
        last = self._last
        started_over = last is not None and self._goes_back(frame, last)
        if frame.sequence is not None:
            place = Place(frame.sequence, frame.loop, started_over)
        else:
            if last is not None and started_over:
                self._offset = last.sequence + 1
                self._loop += 1
            place = Place(self._offset + frame.frame_id // self._interval, self._loop, started_over)
        self._last, self._last_frame = place, (frame.loop, frame.frame_id)
        return place

    def _goes_back(self, frame: WireFrame, last: Place) -> bool:
        loop, frame_id = self._last_frame
        if frame.sequence is not None:
            return frame.loop != loop or frame.sequence < last.sequence
        return frame.loop != loop or frame.frame_id < frame_id
