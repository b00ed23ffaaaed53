"""A line on the ground and who walked across it: remembers each track's side and reports each crossing once.

A track crosses when its *foot point* (middle of the box's bottom edge) goes from one side of the line to the other and
its path meets the line between its ends. Three things make that hold on real detections:

* the path is followed step by step from side to side, also over frames in which the track was missing, so passing
  around an end of the line is told from passing through it;
* a side counts only once the foot is beyond a band along the line (``band_px``), so trembling boxes on the line cross
  once or not at all; a track first seen within the band gets its side when it leaves it;
* an end of the line at the frame's border reaches on beyond the border, where the feet of people are who are
  cut off by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import foot_points
from streamserver.geometry.lines import PointXy, Segment, crossing_place

_BAND_MIN_PX = 3.0
_BAND_BOX_SHARE = 0.08
_BAND_FRAME_SHARE = 0.04
_BORDER_SHARE = 0.02


def band_px(box_height: float, frame_height: float) -> float:
    """Half the width of the band around a line in which a foot is on neither side, for a box of this height.

    Boxes tremble with their size, by up to a twelfth of their height; near the camera that would be too wide a band,
    so it is also bound to the frame.
    """
    return max(_BAND_MIN_PX, min(_BAND_BOX_SHARE * box_height, _BAND_FRAME_SHARE * frame_height))


@dataclass(frozen=True, slots=True, kw_only=True)
class TripwireOptions:
    """How crossings turn into alarms.

    Attributes:
        direction_xy: only crossings whose change of side goes along this arrow count; (0, 0), or an arrow along the
            line itself, which tells no side from the other, counts both.
        min_frames: a track must have been seen in so many processed frames; until then its crossing waits, and goes
            if the track does.
        repeat_frames: after an alarm, crossings of the same track within so many processed frames are passed over.
        max_lost: processed frames without a track after which it is forgotten.
    """

    direction_xy: PointXy = (0.0, 0.0)
    min_frames: int = 0
    repeat_frames: int = 1
    max_lost: int = 100


@dataclass(slots=True)
class _Passage:
    """What is remembered of one track.

    ``side`` is the last side it was clearly on (+1, -1; 0 before any), ``crossings`` the crossings of the line since
    then, forth minus back, ``place`` its last foot as ``Segment.locate`` gives it.
    """

    place: PointXy
    last_step: int
    side: int = 0
    crossings: int = 0
    frames: int = 0
    waiting: bool = False
    last_alarm: int | None = None


class Tripwire:
    """One line of one channel. Tracks are forgotten ``max_lost`` processed frames after they were last seen."""

    def __init__(self, line: Segment, options: TripwireOptions) -> None:
        self._line = line
        self._options = options
        self._wanted = _wanted_side(line, options.direction_xy)
        self._passages: dict[int, _Passage] = {}

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._passages)

    def reset(self) -> None:
        """Forgets all tracks: what comes next has nothing to do with what was."""
        self._passages.clear()

    def update(
        self, step: int, track_ids: npt.NDArray[np.int64], boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int]
    ) -> list[int]:
        """Takes the tracks of one processed frame; returns the ids of those to report now.

        Args:
            step: number of the processed frame; grows from call to call.
            track_ids: (n,), those not above 0 are passed over.
            boxes_xyxy: (n, 4), pixels.
            size_wh: of the frame.
        """
        self._forget(step)
        reach = _reach(self._line, size_wh)
        boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
        heights = (boxes[:, 3] - boxes[:, 1]).tolist()
        due = []
        for track_id, (x, y), height in zip(track_ids.tolist(), foot_points(boxes).tolist(), heights, strict=True):
            place, band = self._line.locate((x, y)), band_px(height, size_wh[1])
            if track_id > 0 and self._follow(track_id, step, place, band, reach):
                due.append(track_id)
        return due

    def _follow(self, track_id: int, step: int, place: PointXy, band: float, reach: PointXy) -> bool:
        """Moves one track on; true if it is to be reported now."""
        passage = self._passages.get(track_id)
        if passage is None:
            passage = self._passages[track_id] = _Passage(place, step)
        if _has_crossed(passage, place, band, reach) and self._counts(passage, step):
            passage.waiting = True
        passage.frames += 1
        passage.last_step = step
        if not passage.waiting or passage.frames < self._options.min_frames:
            return False
        passage.waiting = False
        passage.last_alarm = step
        return True

    def _counts(self, passage: _Passage, step: int) -> bool:
        right_way = self._wanted in (0, passage.side)
        repeated = passage.last_alarm is not None and step - passage.last_alarm < self._options.repeat_frames
        return right_way and not repeated

    def _forget(self, step: int) -> None:
        gone = [key for key, passage in self._passages.items() if step - passage.last_step > self._options.max_lost]
        for key in gone:
            del self._passages[key]


def _has_crossed(passage: _Passage, place: PointXy, band: float, reach: PointXy) -> bool:
    """Follows the foot to ``place``; true when it is now clearly on the other side and came through the line."""
    crossed_at = crossing_place(passage.place, place)
    if crossed_at is not None and reach[0] <= crossed_at <= reach[1]:
        passage.crossings += 1 if place[1] >= 0 else -1
    passage.place = place
    if abs(place[1]) <= band:
        return False
    side = 1 if place[1] > 0 else -1
    crossed = side == -passage.side and passage.crossings == side
    passage.side = side
    passage.crossings = 0
    return crossed


def _reach(line: Segment, size_wh: tuple[int, int]) -> PointXy:
    """From where to where along the line, in pixels from its start, a path must meet it."""
    step = _BORDER_SHARE * max(size_wh)
    along_x, along_y = line.unit_xy
    beyond_start = (line.start_xy[0] - step * along_x, line.start_xy[1] - step * along_y)
    beyond_end = (line.end_xy[0] + step * along_x, line.end_xy[1] + step * along_y)
    return (
        0.0 if _on_screen(beyond_start, size_wh) else -math.inf,
        line.length if _on_screen(beyond_end, size_wh) else math.inf,
    )


def _on_screen(point_xy: PointXy, size_wh: tuple[int, int]) -> bool:
    return 0 <= point_xy[0] < size_wh[0] and 0 <= point_xy[1] < size_wh[1]


def _wanted_side(line: Segment, direction_xy: PointXy) -> int:
    """The side on which a crossing along ``direction_xy`` ends: +1, -1 or, for both, 0."""
    toward = direction_xy[0] * line.normal_xy[0] + direction_xy[1] * line.normal_xy[1]
    return int(np.sign(toward))
