"""Straight lines and segments in pictures: pixels, x to the right, y down.

Seen on the screen, going from ``start_xy`` to ``end_xy``, the *positive* side of a line is at the right hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import FloatRows, as_rows

PointXy = tuple[float, float]

_FAR_PX = 1e6
_NUDGE_XY = np.array((0.00137, 0.00071))
"""Added to every place, so that none is exactly on a line or in line with a corner, as half pixels often are."""

_APART_PX = 0.5


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment with two different ends."""

    start_xy: PointXy
    end_xy: PointXy

    def __post_init__(self) -> None:
        if self.start_xy == self.end_xy:
            raise ValueError(f"a segment needs two different ends, got {self.start_xy} twice")


def line_points(points_xy: npt.ArrayLike) -> FloatRows:
    """The points of a polyline without those that are the same as the one before, (k, 2), k >= 2.

    Raises:
        ValueError: the points are all the same, or not of shape (k, 2).
    """
    points = as_rows(points_xy, 2).astype(np.float64)
    different = points[np.any(np.diff(points, axis=0, prepend=np.nan) != 0, axis=1)]
    if len(different) < 2:
        raise ValueError(f"a line needs two different points, got {points.tolist()}")
    return different


class Fence:
    """A polyline as something to be crossed, with its ends drawn out straight, as far as nobody goes.

    Who goes round an end crosses the part drawn out there, so that a way through the line and back round its end is
    known for what it is. An end is not drawn out where that would meet the line itself, nor is a closed line.

    Args:
        points_xy: see ``line_points``; in pixels.
        reaches: whether what is drawn out from the first, and from the last point, is part of the line.

    Attributes:
        normals_xy: (m, 2), for each part one pixel towards its positive side.
        is_line: bool (m,), which parts are the line, and not drawn out.

    Raises:
        ValueError: see ``line_points``.
    """

    def __init__(self, points_xy: npt.ArrayLike, *, reaches: tuple[bool, bool] = (False, False)) -> None:
        points = line_points(points_xy)
        self._take(points)
        is_closed = np.array_equal(points[0], points[-1])
        before, after = (np.zeros((0, 2)) if is_closed else _drawn_out(*end, self) for end in _ends(points))
        self._take(np.vstack((before, points, after)))
        self.is_line = np.ones(len(self._starts), dtype=np.bool_)
        self.is_line[: len(before)] = reaches[0]
        self.is_line[len(self.is_line) - len(after) :] = reaches[1]

    def _take(self, points_xy: FloatRows) -> None:
        self._points, self._starts = points_xy, points_xy[:-1]
        self._ways = np.diff(points_xy, axis=0)
        self._squares = np.sum(self._ways**2, axis=1)
        self.normals_xy = np.column_stack((-self._ways[:, 1], self._ways[:, 0])) / np.sqrt(self._squares)[:, None]

    def crossings(self, before_xy: FloatRows, after_xy: FloatRows) -> npt.NDArray[np.int64]:
        """Which parts straight moves cross: +1 towards the positive side, -1 back, else 0; (n, m).

        A move through the point between two parts crosses one of them or, where it only touches the corner, both
        there and back or none. A move that begins where another ended begins on the side where that ended.
        """
        before, after = before_xy + _NUDGE_XY, after_xy + _NUDGE_XY
        offsets = np.concatenate((before, after))[:, None] - self._starts
        sides = _cross(self._ways, offsets) >= 0
        side_before, side_after = sides[: len(before)], sides[len(before) :]
        if (side_before == side_after).all():  # nearly always: nobody crosses anything
            return np.zeros(side_before.shape, dtype=np.int64)
        right_of_move = _cross((after - before)[:, None], self._points - before[:, None]) >= 0
        met = right_of_move[:, :-1] != right_of_move[:, 1:]
        changes: npt.NDArray[np.int64] = np.where(met, side_after.astype(np.int64) - side_before, 0)
        return changes

    def touches(self, boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which boxes (n, 4) the line itself meets, (n,)."""
        parts = np.flatnonzero(self.is_line).tolist()
        met = [segment_touches_boxes(self._points[part], self._points[part + 1], boxes_xyxy) for part in parts]
        any_met: npt.NDArray[np.bool_] = np.any(met, axis=0)
        return any_met

    def distances(self, points_xy: FloatRows) -> FloatRows:
        """How far points (n, 2) are from the nearest part, in pixels, (n,)."""
        offsets = points_xy[:, None] - self._starts[None]
        share = np.clip(np.sum(offsets * self._ways[None], axis=2) / self._squares, 0, 1)
        gaps = offsets - share[..., None] * self._ways[None]
        nearest: FloatRows = np.sqrt(np.sum(gaps**2, axis=2)).min(axis=1)
        return nearest


def _ends(points_xy: FloatRows) -> tuple[tuple[FloatRows, FloatRows], tuple[FloatRows, FloatRows]]:
    """The two end points, each with the way on from there."""
    return (points_xy[0], points_xy[0] - points_xy[1]), (points_xy[-1], points_xy[-1] - points_xy[-2])


def _drawn_out(end_xy: FloatRows, way_xy: FloatRows, line: Fence) -> FloatRows:
    """The far point of what is drawn out from an end, (1, 2), or none, (0, 2)."""
    unit = way_xy / np.hypot(*way_xy)
    far = end_xy + _FAR_PX * unit
    meets = (
        line.crossings((end_xy + unit)[None], far[None]).any() or line.distances((end_xy + unit)[None])[0] < _APART_PX
    )
    return np.zeros((0, 2)) if meets else far[None]


def _cross(first: FloatRows, second: FloatRows) -> FloatRows:
    """Above 0 where the second vector is at the right hand of the first, as seen on the screen."""
    turn: FloatRows = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return turn


def segment_touches_boxes(
    start_xy: npt.ArrayLike, end_xy: npt.ArrayLike, boxes_xyxy: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Which boxes a segment meets: an end inside or on a box, or any contact with an edge. Shape (n,).

    The segment may be a single point (``start_xy`` equal to ``end_xy``). Each axis allows a range of the way from
    start to end; a box is met when the ranges overlap (Liang and Barsky 1984).
    """
    boxes = as_rows(boxes_xyxy)
    start = np.asarray(start_xy, dtype=np.float64)
    way = np.asarray(end_xy, dtype=np.float64) - start
    enter, leave = np.zeros(len(boxes)), np.ones(len(boxes))
    for axis in (0, 1):
        low, high = boxes[:, axis] - start[axis], boxes[:, axis + 2] - start[axis]
        if way[axis] == 0:
            leave[(low > 0) | (high < 0)] = -1
        else:
            shares = np.stack((low, high)) / way[axis]
            enter = np.maximum(enter, shares.min(axis=0))
            leave = np.minimum(leave, shares.max(axis=0))
    return enter <= leave
