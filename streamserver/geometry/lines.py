"""Straight lines and segments in pictures: pixels, x to the right, y down.

Seen on the screen, going from ``start_xy`` to ``end_xy``, the *positive* side of a line is at the right hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import as_rows

PointXy = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment with two different ends; its length in pixels and unit vector come with it."""

    start_xy: PointXy
    end_xy: PointXy

    def __post_init__(self) -> None:
        if self.start_xy == self.end_xy:
            raise ValueError(f"a segment needs two different ends, got {self.start_xy} twice")

    @property
    def length(self) -> float:
        """In pixels."""
        return math.dist(self.start_xy, self.end_xy)

    @property
    def unit_xy(self) -> PointXy:
        """The way from start to end, one pixel long."""
        return (
            (self.end_xy[0] - self.start_xy[0]) / self.length,
            (self.end_xy[1] - self.start_xy[1]) / self.length,
        )

    @property
    def normal_xy(self) -> PointXy:
        """One pixel towards the positive side."""
        along_x, along_y = self.unit_xy
        return -along_y, along_x

    def offside(self, point_xy: PointXy) -> float:
        """Above 0 on the positive side, exactly 0 on the line: twice the area of the triangle with the segment."""
        (x1, y1), (x2, y2) = self.start_xy, self.end_xy
        return (x2 - x1) * (point_xy[1] - y1) - (y2 - y1) * (point_xy[0] - x1)

    def locate(self, point_xy: PointXy) -> PointXy:
        """Where a point is, seen from the segment: how far along it from its start, and how far off its line.

        Both in pixels; the second is above 0 on the positive side.
        """
        x, y = point_xy[0] - self.start_xy[0], point_xy[1] - self.start_xy[1]
        along_x, along_y = self.unit_xy
        return x * along_x + y * along_y, self.offside(point_xy) / self.length


def crossing_place(before: PointXy, after: PointXy) -> float | None:
    """Where a straight move crosses a segment's line.

    Args:
        before: the place before the move, as ``Segment.locate`` gives it.
        after: the place after it.

    Returns:
        The distance along the segment from its start, in pixels, below 0 or above its length beyond its ends; ``None``
        when the move stays on one side. A point on the line itself belongs to the positive side, so a path that
        touches the line and goes on counts once.
    """
    (along_before, off_before), (along_after, off_after) = before, after
    if (off_before >= 0) == (off_after >= 0):
        return None
    share = off_before / (off_before - off_after)
    return along_before + share * (along_after - along_before)


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
