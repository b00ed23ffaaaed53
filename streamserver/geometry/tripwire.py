"""A line on the ground and who walked across it: remembers each track's way and finds each crossing once.

A track crosses when its *foot point* (middle of the box's bottom edge) goes from one side of the line to the other and
its path meets the line between its ends. Seven things make that hold on real detections:

* the path is followed step by step from side to side, also over frames in which the track was missing, so passing
  around an end of the line is told from passing through it;
* a side counts only once the foot is beyond a band along the line (``band_px``), so trembling boxes on the line cross
  once or not at all;
* a track comes from where its foot was when it was first seen, within the band or not, even in the frame before the
  tracker told of it (``Detections.born_xyxy``); it has no side as long as its foot is all but on the line;
* a track first seen with its box on the line that moves on at once by more than the band is wide, as people do of whom
  only every fifth frame is looked at, comes from where the same move would have begun a frame before;
* feet that somebody else hides are where they would be under a box of the usual height;
* what may be only an arm that reaches in at the picture's border crosses nothing before it turns out to be more
  (``geometry.reach``);
* an end of the line at the frame's border reaches on beyond the border, where the feet of people are who are
  cut off by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import FloatRows, as_rows, foot_points
from streamserver.geometry.lines import Fence, PointXy, Segment, line_points
from streamserver.geometry.reach import Reach

_BAND_MIN_PX = 4.5
"""Boxes that tremble by 3 px both ways are up to 4.3 px off a slanting line."""

_BAND_BOX_SHARE = 0.08
_BAND_FRAME_SHARE = 0.04
_BIRTH_SHARE = 0.25
_BORDER_SHARE = 0.02
_PARALLEL = 1e-9

_FASTEST_PER_S = 2.0
"""Longer sides of its box that a runner, or a car in a street, goes in a second: a box from farther was another's."""

_HIDDEN_BELOW = 0.8
"""A box is cut off from below if it has become lower than this share of its usual height, most of it at its foot."""

_HEIGHT_RATE = 0.2
_DOUBT = 0.97
"""By so much the usual height is taken to be lower with each frame in which the feet are hidden."""


def band_px(box_height: float, frame_height: float) -> float:
    """Half the width of the band around a line in which a foot is on neither side, for a box of this height.

    Boxes tremble with their size, by up to a twelfth of their height; near the camera that would be too wide a band,
    so it is also bound to the frame.
    """
    return max(_BAND_MIN_PX, min(_BAND_BOX_SHARE * box_height, _BAND_FRAME_SHARE * frame_height))


@dataclass(frozen=True, slots=True)
class Crossing:
    """A track has crossed a line.

    Attributes:
        row: of the frame's objects.
        side: where it is now: 1 for the positive side (at the right hand, from the line's start to its end), -1.
        normal_xy: of the part of the line that it crossed, one pixel towards the positive side.
    """

    row: int
    side: int
    normal_xy: PointXy


@dataclass(slots=True)
class _View:
    """How a track was seen when it last was whole: its upper and lower edge, and its usual height."""

    top: float
    bottom: float
    height: float

    def foot_y(self, top: float, bottom: float) -> float:
        """Takes in the edges of its box now; where its foot is."""
        is_hidden = bottom - top < _HIDDEN_BELOW * self.height and self.bottom - bottom > 2 * abs(top - self.top)
        if is_hidden and top > 0:
            self.height *= _DOUBT
            return max(bottom, top + self.height)
        self.top, self.bottom = top, bottom
        self.height += _HEIGHT_RATE * (bottom - top - self.height)
        return bottom


@dataclass(slots=True)
class _Passage:
    """What is remembered of one track.

    ``is_new`` says that it has not moved since it was first seen, with its box on the line, and ``is_placed`` that its
    foot was on a side at all; ``through`` and ``round`` are the crossings of the line and
    of what its ends are drawn out to, forth minus back, since it was last clearly on a side; ``normals`` those of the
    last parts it crossed, by the side they were crossed to.
    """

    foot_xy: PointXy
    last_step: int
    last_s: float
    view: _View
    reach: Reach
    is_placed: bool
    is_new: bool
    frames: int = 0
    through: int = 0
    round: int = 0
    normals: dict[int, PointXy] = field(default_factory=dict)
    waiting: list[tuple[int, PointXy]] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Nothing hangs on how far it is from the line."""
        return self.is_placed and self.through == 0 == self.round

    def wait(self, side: int, *, may_be_arm: bool) -> None:
        """Notes a crossing that is to be told; an arm that goes forth and back has been nowhere."""
        if may_be_arm and self.waiting:
            self.waiting.pop()
        else:
            self.waiting.append((side, self.normals[side]))


class LineWatch:
    """Follows the tracks of one channel across one polyline. Not for several threads at once.

    Args:
        points_xy: of the polyline, (k, 2), in pixels.
        first: a track must have been seen in so many processed frames; until then its crossings wait, and go if the
            track does.
        max_lost: processed frames without a track after which it is forgotten.

    Raises:
        ValueError: the points make no line.
    """

    def __init__(self, points_xy: npt.ArrayLike, *, first: int = 0, max_lost: int = 100) -> None:
        self._points = line_points(points_xy)
        self._fence = Fence(self._points)
        self._size_wh = (0, 0)
        self._clock_s = 0.0
        self._first = first
        self._max_lost = max_lost
        self._passages: dict[int, _Passage] = {}

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._passages)

    def __contains__(self, track_id: int) -> bool:
        """Whether a track is remembered."""
        return track_id in self._passages

    def reset(self) -> None:
        """Forgets all tracks: what comes next has nothing to do with what was."""
        self._passages.clear()

    def update(
        self,
        step: int,
        track_ids: npt.NDArray[np.int64],
        boxes_xyxy: npt.ArrayLike,
        size_wh: tuple[int, int],
        *,
        clock_s: float = 0.0,
        born_xyxy: npt.ArrayLike | None = None,
        counted: npt.NDArray[np.bool_] | None = None,
    ) -> list[Crossing]:
        """Takes the tracks of one processed frame; returns the crossings to tell now, at most a few for each track.

        Args:
            step: number of the processed frame; grows from call to call.
            track_ids: (n,), those not above 0 are passed over.
            boxes_xyxy: (n, 4), pixels.
            size_wh: of the frame.
            clock_s: the source's own time; always 0 where nobody knows it.
            born_xyxy: (n, 4), see ``Detections``.
            counted: (n,), whose crossings in this frame count; the others are only followed. ``None`` for all.
        """
        self._forget(step)
        before_s, self._clock_s = self._clock_s, clock_s
        rows = np.flatnonzero(track_ids > 0)
        if not len(rows):
            return []
        self._fit(size_wh)
        boxes = as_rows(boxes_xyxy).astype(np.float64)[rows]
        births = None if born_xyxy is None else as_rows(born_xyxy).astype(np.float64)[rows]
        edges = boxes.tolist()
        bands = [band_px(bottom - top, size_wh[1]) for _, top, _, bottom in edges]
        passages = self._passages_of(track_ids[rows].tolist(), step, before_s, boxes, births, bands)
        feet = [
            ((left + right) / 2, passage.view.foot_y(top, bottom))
            for passage, (left, top, right, bottom) in zip(passages, edges, strict=True)
        ]
        self._move(passages, step, feet, bands)
        told = []
        for row, box, passage, band in zip(rows.tolist(), edges, passages, bands, strict=True):
            side = 0 if passage.is_settled else self._side_reached(passage, band)
            may_be_arm = passage.reach.may_be_arm(box, size_wh)
            if side and (counted is None or counted[row]):
                passage.wait(side, may_be_arm=may_be_arm)
            if passage.waiting and passage.frames >= self._first and not may_be_arm:
                told += [Crossing(row, *crossing) for crossing in passage.waiting]
                passage.waiting.clear()
        return told

    def _passages_of(
        self,
        track_ids: list[int],
        step: int,
        before_s: float,
        boxes_xyxy: FloatRows,
        births_xyxy: FloatRows | None,
        bands: list[float],
    ) -> list[_Passage]:
        """What is remembered of tracks, begun for new ones where they were born, at the latest here."""
        fresh = [i for i, key in enumerate(track_ids) if key not in self._passages]
        if fresh:
            births = np.full((len(fresh), 4), np.nan) if births_xyxy is None else births_xyxy[fresh]
            born = np.asarray(np.isfinite(births).all(axis=1))
            boxes = np.where(born[:, None], births, boxes_xyxy[fresh])
            feet, touches = foot_points(boxes), self._fence.touches(boxes).tolist()
            distances = self._fence.distances(feet).tolist()
            for row, i in enumerate(fresh):
                is_placed = distances[row] >= _BIRTH_SHARE * bands[i]
                top, bottom = boxes[row, [1, 3]].tolist()
                x, y = feet[row].tolist()
                passage = _Passage(
                    (x, y),
                    step - int(born[row]),
                    before_s if born[row] else self._clock_s,
                    _View(top, bottom, bottom - top),
                    Reach(tuple(boxes[row].tolist())),
                    is_placed=is_placed,
                    is_new=is_placed and touches[row],
                )
                self._passages[track_ids[i]] = passage
        return [self._passages[key] for key in track_ids]

    def _move(self, passages: list[_Passage], step: int, feet_xy: list[PointXy], bands: list[float]) -> None:
        """Moves tracks on to where their feet are now."""
        before = [_came_from(*known, step, self._clock_s) for known in zip(passages, feet_xy, bands, strict=True)]
        moves = self._fence.crossings(np.array(before), np.array(feet_xy))
        if moves.any():
            for i in np.flatnonzero(moves.any(axis=1)).tolist():
                self._note(passages[i], moves[i])
        for passage, foot_xy in zip(passages, feet_xy, strict=True):
            passage.foot_xy, passage.last_step, passage.last_s = foot_xy, step, self._clock_s
            passage.frames += 1

    def _note(self, passage: _Passage, moves: npt.NDArray[np.int64]) -> None:
        is_line = self._fence.is_line
        passage.through += int(moves[is_line].sum())
        passage.round += int(moves[~is_line].sum())
        for part in np.flatnonzero(moves * is_line).tolist():
            x, y = self._fence.normals_xy[part].tolist()
            passage.normals[int(moves[part])] = (x, y)

    def _side_reached(self, passage: _Passage, band: float) -> int:
        """The side, 1 or -1, on which a track is that has just crossed and left the band; else 0."""
        (distance_px,) = self._fence.distances(np.array((passage.foot_xy,))).tolist()
        if not passage.is_placed:
            passage.through = passage.round = 0
            passage.is_placed = distance_px >= _BIRTH_SHARE * band
        if distance_px <= band:
            return 0
        side = passage.through if abs(passage.through) == 1 and passage.round == 0 else 0
        passage.through = passage.round = 0
        return side

    def _fit(self, size_wh: tuple[int, int]) -> None:
        """Lets the ends of the line that are at the border of a frame of this size reach beyond it."""
        if size_wh != self._size_wh:
            self._size_wh = size_wh
            self._fence = Fence(self._points, reaches=_reaches(self._points, size_wh))

    def _forget(self, step: int) -> None:
        gone = [key for key, passage in self._passages.items() if step - passage.last_step > self._max_lost]
        for key in gone:
            del self._passages[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class TripwireOptions:
    """How crossings turn into alarms.

    Attributes:
        direction_xy: only crossings whose change of side goes along this arrow count; (0, 0), or an arrow along the
            line itself, which tells no side from the other, counts both.
        min_frames: ``first`` of ``LineWatch``.
        repeat_frames: after an alarm, crossings of the same track within so many processed frames are passed over.
        max_lost: that of ``LineWatch``.
    """

    direction_xy: PointXy = (0.0, 0.0)
    min_frames: int = 0
    repeat_frames: int = 1
    max_lost: int = 100


class Tripwire:
    """One line of one of sophon-stream's filters: which tracks to report as they cross it."""

    def __init__(self, line: Segment, options: TripwireOptions) -> None:
        self._options = options
        self._watch = LineWatch((line.start_xy, line.end_xy), first=options.min_frames, max_lost=options.max_lost)
        self._alarms: dict[int, int] = {}

    def __len__(self) -> int:
        """How many tracks are remembered."""
        return len(self._watch)

    def reset(self) -> None:
        """Forgets all tracks: what comes next has nothing to do with what was."""
        self._watch.reset()
        self._alarms.clear()

    def update(
        self,
        step: int,
        track_ids: npt.NDArray[np.int64],
        boxes_xyxy: npt.ArrayLike,
        size_wh: tuple[int, int],
        clock_s: float = 0.0,
    ) -> list[int]:
        """Takes the tracks of one processed frame, as ``LineWatch``; returns the ids of those to report now."""
        crossings = self._watch.update(step, track_ids, boxes_xyxy, size_wh, clock_s=clock_s)
        self._alarms = {key: last_step for key, last_step in self._alarms.items() if key in self._watch}
        due = []
        for crossing in crossings:
            track_id = int(track_ids[crossing.row])
            last_step = self._alarms.get(track_id, step - self._options.repeat_frames)
            if along(crossing, self._options.direction_xy) >= 0 and step - last_step >= self._options.repeat_frames:
                self._alarms[track_id] = step
                due.append(track_id)
        return due


def along(crossing: Crossing, direction_xy: PointXy) -> int:
    """1 for a crossing along an arrow, -1 against it, 0 where the arrow tells no side of the line from the other."""
    toward = direction_xy[0] * crossing.normal_xy[0] + direction_xy[1] * crossing.normal_xy[1]
    return 0 if abs(toward) <= _PARALLEL * math.hypot(*direction_xy) else int(np.sign(toward)) * crossing.side


def _came_from(passage: _Passage, foot_xy: PointXy, band: float, step: int, clock_s: float) -> PointXy:
    """Where a track's way to its foot in this frame begins: mostly where its foot was last."""
    if not passage.is_new or step == passage.last_step:
        return passage.foot_xy
    passage.is_new = False
    x, y = passage.foot_xy
    way = foot_xy[0] - x, foot_xy[1] - y
    steps, passed_s = step - passage.last_step, clock_s - passage.last_s
    move = way[0] / steps, way[1] / steps
    too_fast = passed_s > 0 and math.hypot(*way) > _FASTEST_PER_S * passage.reach.first_side_px * passed_s
    is_quick = math.hypot(*move) > 2 * band and not too_fast
    return (x - move[0], y - move[1]) if is_quick else passage.foot_xy


def _reaches(points_xy: FloatRows, size_wh: tuple[int, int]) -> tuple[bool, bool]:
    """Whether the line reaches on beyond its first, and its last point: where that is at the border or outside."""
    step = _BORDER_SHARE * max(size_wh)
    units = points_xy[[0, -1]] - points_xy[[1, -2]]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    beyond = points_xy[[0, -1]] + step * units
    start, end = (not np.all((point >= 0) & (point < size_wh)) for point in beyond)
    return start, end
