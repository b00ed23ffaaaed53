"""ByteTrack (Zhang et al. 2022, arXiv 2110.06864): detections of one channel to tracks, frame by frame.

Written from the paper's description with the options and defaults of sophon-stream's element. Where that element's
habits cost tracks, ours does what the paper means, or more where only every third or tenth frame is looked at:

* boxes are matched where the motion model expects them now, not where they were last seen;
* what is left over after the paper's three rounds is matched once more with grown boxes (the idea of C-BIoU, Yang et
  al. 2023, arXiv 2211.14317), so that somebody who starts to run keeps the number;
* the box that is output is the detection's own, for the smoothed one lags behind;
* a track gets its number when it is first output, so the numbers that people see have no holes;
* of two tracks of one object the older keeps its number and goes on at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import lap
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.geometry.boxes import FloatRows, area, clip, cxcywh_to_xyxy, iou_matrix, xyxy_to_cxcywh
from streamserver.geometry.tracking.kalman import BoxMotion, Rows

_SCORE_FLOOR = 0.1
_WEAK_COST_LIMIT = 0.5
_NEW_COST_LIMIT = 0.7
_GROWN_COST_LIMIT = 0.7
_DUPLICATE_DISTANCE = 0.15

_GROWTH_PER_S, _MOST_GROWTH = 2.5, 1.25
"""Somebody on foot goes about two widths of its box in a second; what is grown more meets its neighbours."""

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteTrackOptions:
    """The keys of the element's ``configure`` object.

    Attributes:
        frame_rate: with ``track_buffer``, how long a lost track is remembered.
        track_buffer: processed frames at a frame rate of 30.
        min_box_area: tracks whose box is not larger, in square pixels, are not output.
        track_thresh: detections from this score on are matched first; those below only continue visible tracks.
        high_thresh: a detection starts a track from this score on.
        match_thresh: the largest distance, 1 - IoU, of a first match.
        correct_box: round output boxes to whole pixels and clip them to the frame.
        growth: how much of its width and height each side of a box gains for the last round, at least: with more than
            0.2 s between two frames it is more, up to 1.25. Small things that move by more than their own size between
            two frames, such as number plates, need more.
        agnostic: let detections continue tracks of another class; a track keeps the class it began with either way.
    """

    frame_rate: float = 30
    track_buffer: float = 30
    min_box_area: float = 10
    track_thresh: float = 0.5
    high_thresh: float = 0.6
    match_thresh: float = 0.7
    correct_box: bool = True
    growth: float = 0.5
    agnostic: bool = True

    @property
    def max_time_lost(self) -> int:
        """Processed frames after which an unseen track is dropped."""
        return int(self.frame_rate / 30 * self.track_buffer)


class _Tracks:
    """Everything remembered; row i of each array is one track. A track is *lost* when ``last_seen`` is in the past.

    Args:
        numbers: ``ids``, ``class_ids``, ``first_seen`` and ``last_seen`` on top of each other, (4, n).
        boxes: ``measured_xyxy`` and ``born_xyxy``, (2, n, 4).
        motion: of the same boxes.
    """

    __slots__ = (
        "_boxes", "_numbers", "born_xyxy", "class_ids", "first_seen", "ids", "last_seen", "measured_xyxy", "motion"
    )  # fmt: skip

    def __init__(self, numbers: npt.NDArray[np.int64], boxes: FloatRows, motion: BoxMotion) -> None:
        self._numbers, self._boxes, self.motion = numbers, boxes, motion
        self.ids, self.class_ids, self.first_seen, self.last_seen = numbers
        self.measured_xyxy, self.born_xyxy = boxes

    @classmethod
    def start(cls, boxes_xyxy: npt.ArrayLike, class_ids: npt.NDArray[np.int64], *, step: int) -> Self:
        motion = BoxMotion.start(xyxy_to_cxcywh(boxes_xyxy))
        numbers = np.full((4, len(motion)), step, dtype=np.int64)
        numbers[0], numbers[1] = 0, class_ids
        boxes = cxcywh_to_xyxy(motion.position)
        return cls(numbers, np.stack((boxes, boxes)), motion)

    def select(self, rows: Rows) -> Self:
        return type(self)(self._numbers[:, rows], self._boxes[:, rows], self.motion.select(rows))

    def join(self, other: Self) -> Self:
        return type(self)(
            np.concatenate((self._numbers, other._numbers), axis=1),
            np.concatenate((self._boxes, other._boxes), axis=1),
            self.motion.join(other.motion),
        )


class ByteTracker:
    """Tracks the objects of one channel. Not for several threads at once.

    A track that was not seen for ``options.max_time_lost`` processed frames is dropped, and one that was seen in a
    single frame already in the next, so memory is bounded by what the last frames showed.

    Args:
        options: see ``ByteTrackOptions``.
        next_id: called once for each track when it is first output; shared by the trackers whose ids must differ.
    """

    def __init__(self, options: ByteTrackOptions, next_id: Callable[[], int]) -> None:
        self.options = options
        self._next_id = next_id
        self._step = 0
        self._clock_s, self._passed_s = 0.0, 0.0
        self._tracks = _Tracks.start(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), step=0)

    def __len__(self) -> int:
        """Tracks remembered: visible, lost and not yet confirmed."""
        return len(self._tracks.ids)

    def update(self, detections: Detections, size_wh: tuple[int, int], clock_s: float = 0.0) -> Detections:
        """Takes the detections of the next processed frame and returns those that belong to confirmed tracks.

        Args:
            detections: all of the frame's.
            size_wh: of the frame.
            clock_s: the source's own time; always 0 where nobody knows it.

        Returns:
            The tracked rows in the order of the input, each with its box, score and corners, the class its track
            began with and its track id (above 0), and for tracks told of for the first time where they were born.
        """
        return self.track(detections, size_wh, clock_s)[0]

    def track(
        self, detections: Detections, size_wh: tuple[int, int], clock_s: float = 0.0
    ) -> tuple[Detections, Indices]:
        """As ``update``, with the rows of ``detections`` that were tracked, growing."""
        self._passed_s, self._clock_s = clock_s - self._clock_s, clock_s
        self._step += 1
        if not len(self) and not len(detections):
            return detections, np.zeros(0, dtype=np.intp)
        track_rows, detection_rows = self._associate(detections)
        self._renew(track_rows, detections.boxes_xyxy[detection_rows])
        born = self._births(detections, detection_rows)
        source = np.full(len(self) + len(born), -1, dtype=np.intp)
        source[track_rows] = detection_rows
        source[len(self) :] = born
        if len(born):
            fresh = _Tracks.start(detections.boxes_xyxy[born], detections.class_ids[born], step=self._step)
            self._tracks = self._tracks.join(fresh)
        return self._output(detections, self._forget(source), size_wh)

    def _associate(self, detections: Detections) -> Indices:
        """Moves all tracks on and finds what continues them; (2, pairs): rows of tracks, rows of detections."""
        tracks = self._tracks
        visible = tracks.last_seen == self._step - 1
        tracks.motion.predict(unseen=~visible)
        if not len(self) or not len(detections):
            return np.zeros((2, 0), dtype=np.intp)
        confirmed = tracks.ids > 0
        strong = detections.scores >= max(self.options.track_thresh, _SCORE_FLOOR)
        likely = detections.scores > _SCORE_FLOOR
        weak = likely & ~strong
        found_xyxy = detections.boxes_xyxy.astype(np.float64)
        seen, fresh = confirmed & visible, ~confirmed
        rounds = (
            (self._distance, confirmed, strong, self.options.match_thresh),
            (self._distance, seen, weak, _WEAK_COST_LIMIT),
            (self._distance, fresh, strong, _NEW_COST_LIMIT),
            (self._grown_distance, seen, likely, _GROWN_COST_LIMIT),
            (self._grown_distance, fresh, strong, _GROWN_COST_LIMIT),
        )
        distances: dict[Callable[..., FloatRows], FloatRows] = {}
        partner = np.full(len(self), -1, dtype=np.intp)
        alone = np.ones(len(self), dtype=np.bool_)
        free = np.ones(len(detections), dtype=np.bool_)
        for measure, who, what, cost_limit in rounds:
            (rows,), (found,) = (who & alone).nonzero(), (what & free).nonzero()
            if len(rows) and len(found):
                if measure not in distances:
                    distances[measure] = measure(found_xyxy, detections)
                matched = _match(distances[measure][rows[:, None], found], cost_limit=cost_limit)
                rows, found = rows[matched[0]], found[matched[1]]
                partner[rows], alone[rows], free[found] = found, False, False
        (paired,) = (~alone).nonzero()
        return np.array((paired, partner[paired]))

    def _distance(self, found_xyxy: FloatRows, detections: Detections) -> FloatRows:
        """1 - IoU of where tracks are expected and of detections, (tracks, detections)."""
        return self._by_class(1 - iou_matrix(cxcywh_to_xyxy(self._tracks.motion.position), found_xyxy), detections)

    def _grown_distance(self, found_xyxy: FloatRows, detections: Detections) -> FloatRows:
        """The same of grown boxes, tried where the track is expected and where it was last seen.

        For what has just begun or stopped moving is not where it is expected.
        """
        share = max(self.options.growth, min(_GROWTH_PER_S * self._passed_s, _MOST_GROWTH))
        found = _grow(found_xyxy, share)
        places = cxcywh_to_xyxy(self._tracks.motion.position), self._tracks.measured_xyxy
        return self._by_class(1 - np.maximum(*(iou_matrix(_grow(boxes, share), found) for boxes in places)), detections)

    def _by_class(self, distance: FloatRows, detections: Detections) -> FloatRows:
        """With 2 between what must not mix."""
        if not self.options.agnostic:
            distance[self._tracks.class_ids[:, None] != detections.class_ids[None, :]] = 2
        return distance

    def _births(self, detections: Detections, taken: Indices) -> Indices:
        """Rows of the detections that start tracks."""
        worthy = detections.scores >= max(self.options.high_thresh, self.options.track_thresh, _SCORE_FLOOR)
        worthy[taken] = False
        return np.flatnonzero(worthy)

    def _renew(self, rows: Indices, boxes_xyxy: npt.NDArray[np.float32]) -> None:
        tracks = self._tracks
        tracks.motion.correct(rows, xyxy_to_cxcywh(boxes_xyxy))
        tracks.last_seen[rows] = self._step
        tracks.measured_xyxy[rows] = boxes_xyxy
        for row in rows[tracks.ids[rows] == 0]:
            tracks.ids[row] = self._next_id()

    def _forget(self, source: Indices) -> Indices:
        """Drops what is over: one-frame tracks, long lost ones and doubles; returns ``source`` of those that stay."""
        tracks = self._tracks
        if self._step == 1:
            tracks.ids[:] = [self._next_id() for _ in range(len(self))]
        unseen_frames: npt.NDArray[np.int64] = self._step - tracks.last_seen
        if not unseen_frames.any():
            return source
        keep = unseen_frames <= np.where(tracks.ids > 0, self.options.max_time_lost, 0)
        keep[self._merge_doubles(keep)] = False
        if keep.all():
            return source
        self._tracks = tracks.select(keep)
        return source[keep]

    def _merge_doubles(self, alive: npt.NDArray[np.bool_]) -> Indices:
        """Finds lost tracks where a visible one is; the older identity goes on. Returns the rows that are to go."""
        tracks = self._tracks
        seen = tracks.last_seen == self._step
        visible = np.flatnonzero(alive & seen & (tracks.ids > 0))
        lost = np.flatnonzero(alive & ~seen)
        if not len(visible) or not len(lost):
            return lost[:0]
        overlaps = iou_matrix(tracks.measured_xyxy[visible], cxcywh_to_xyxy(tracks.motion.position[lost]))
        doubles = overlaps.max(axis=0) > 1 - _DUPLICATE_DISTANCE
        if not doubles.any():
            return lost[:0]
        partners = visible[overlaps.argmax(axis=0)]
        for young, old in zip(partners[doubles], lost[doubles], strict=True):
            if tracks.first_seen[old] < tracks.first_seen[young]:
                for array in (tracks.ids, tracks.class_ids, tracks.first_seen, tracks.born_xyxy):
                    array[[young, old]] = array[[old, young]]
        gone: Indices = lost[doubles]
        return gone

    def _output(self, detections: Detections, source: Indices, size_wh: tuple[int, int]) -> tuple[Detections, Indices]:
        tracks = self._tracks
        boxes = tracks.measured_xyxy
        if self.options.correct_box:
            boxes = clip(boxes, size_wh)
            np.rint(boxes, out=boxes)
        shown = (source >= 0) & (tracks.ids > 0) & (area(boxes) > self.options.min_box_area)
        (rows,) = shown.nonzero()
        rows = rows[source[rows].argsort(kind="stable")]
        seen = source[rows]
        corners = detections.corners_xy
        tracked = Detections(
            boxes[rows].astype(np.float32),
            detections.scores[seen],
            tracks.class_ids[rows],
            tracks.ids[rows],
            None if corners is None else corners[seen],
            self._births_of(rows),
        )
        return tracked, seen

    def _births_of(self, rows: Indices) -> npt.NDArray[np.float32] | None:
        """``Detections.born_xyxy`` of tracks: those of the first frame were told of at once."""
        fresh = (self._tracks.first_seen[rows] == self._step - 1) & (self._step > 2)
        if not fresh.any():
            return None
        return np.where(fresh[:, None], self._tracks.born_xyxy[rows], np.nan).astype(np.float32)


def _grow(boxes_xyxy: FloatRows, share: float) -> FloatRows:
    """Boxes with a share of their width and height added on each side."""
    margin = share * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])
    grown = boxes_xyxy.copy()
    grown[:, :2] -= margin
    grown[:, 2:] += margin
    return grown


def _match(distance: FloatRows, *, cost_limit: float) -> Indices:
    """The cheapest assignment of rows to columns, no pair above ``cost_limit``; (2, pairs): rows, then columns."""
    close = distance <= cost_limit
    pairs = close.nonzero()
    rows, columns = (places.tolist() for places in pairs)
    if len(set(rows)) == len(rows) and len(set(columns)) == len(columns) and cost_limit not in distance[pairs]:
        return np.array(pairs)  # nobody has a choice
    _, partner, _ = lap.lapjv(distance, extend_cost=True, cost_limit=cost_limit)
    (paired,) = (partner >= 0).nonzero()
    return np.array((paired, partner[paired]))
