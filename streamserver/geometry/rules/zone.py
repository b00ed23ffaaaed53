"""Who is in an area that somebody drew: several polygons, what of an object counts, and calm at the edge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import FloatRows, as_rows, center_points, foot_points
from streamserver.geometry.polygons import (
    Points,
    distances_to_polygon,
    open_at_border,
    points_in_polygon,
    shares_in_polygons,
)
from streamserver.geometry.tripwire import band_px

_ALL = 1.0 - 1e-6
_LEAST_SIDE_PX = 1e-3

Mask = npt.NDArray[np.bool_]


class Zone:
    """The union of some polygons, or everywhere when there is none; it remembers nobody.

    A polygon drawn up to the frame's border is open there, and what is beyond the border is taken as on it
    (``open_at_border``): one round the whole frame holds everything, also feet below the picture. Of a box, what is
    visible of it is compared.

    Someone who is in stays in at the edge: until the point is further outside than ``tripwire.band_px``, or the share
    has fallen by what a move of so many pixels can change it, at most to its half.

    Args:
        polygons: corners, (k, 2) each, in pixels.
        anchor: ``foot`` or ``center`` has to be in one of them; ``box`` (all of it) or ``share`` in their union.
        share: with anchor ``share`` how much of the box's surface, from 0 (exclusive) to 1.
    """

    def __init__(self, polygons: Sequence[npt.ArrayLike], *, anchor: str = "foot", share: float = 0.5) -> None:
        self._polygons = [as_rows(polygon, 2).astype(np.float64) for polygon in polygons]
        self._points_of = {"foot": foot_points, "center": center_points}.get(anchor)
        self._share = min(share, _ALL) if anchor == "share" else _ALL

    def holds(self, boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int], already: Mask | None = None) -> Mask:
        """Which boxes (n, 4) are in, bool (n,); ``already``, (n,), says who was in before."""
        boxes = as_rows(boxes_xyxy)
        if not self._polygons:
            return np.ones(len(boxes), dtype=np.bool_)
        kept = np.zeros(len(boxes), dtype=np.bool_) if already is None else already
        polygons = [open_at_border(polygon, size_wh) for polygon in self._polygons]
        bands = np.array([band_px(height, size_wh[1]) for height in (boxes[:, 3] - boxes[:, 1]).tolist()])
        if self._points_of is None:
            return self._enough(boxes, polygons, size_wh, np.where(kept, bands, 0.0))
        points = np.clip(self._points_of(boxes), 0, size_wh)
        held = np.any([points_in_polygon(points, polygon) for polygon in polygons], axis=0)
        rows = np.flatnonzero(kept & ~held)
        if len(rows):
            gaps = np.min([distances_to_polygon(points[rows], polygon) for polygon in polygons], axis=0)
            held[rows] = gaps <= bands[rows]
        return np.asarray(held, dtype=np.bool_)

    def places(self, boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int]) -> npt.NDArray[np.intp]:
        """Which of the polygons boxes (n, 4) that are in belong to, (n,): of several the first; without polygons 0."""
        boxes = as_rows(boxes_xyxy)
        polygons = [open_at_border(polygon, size_wh) for polygon in self._polygons]
        if not polygons or not len(boxes):
            return np.zeros(len(boxes), dtype=np.intp)
        if self._points_of is None:
            misfits = [-shares_in_polygons(_visible(boxes, size_wh), [polygon]) for polygon in polygons]
        else:
            points = np.clip(self._points_of(boxes), 0, size_wh)
            misfits = [distances_to_polygon(points, polygon) for polygon in polygons]
        places: npt.NDArray[np.intp] = np.argmin(misfits, axis=0)
        return places

    def _enough(self, boxes: FloatRows, polygons: list[Points], size_wh: tuple[int, int], slack_px: Points) -> Mask:
        """Which boxes are covered enough, where each may have moved out by ``slack_px``, (n,)."""
        visible = _visible(boxes, size_wh)
        shares = shares_in_polygons(visible, polygons)
        sides = np.min(visible[:, 2:] - visible[:, :2], axis=1, initial=np.inf)
        needed = np.maximum(self._share - slack_px / sides, self._share * np.where(slack_px > 0, 0.5, 1.0))
        return np.asarray(shares >= needed, dtype=np.bool_)


def _visible(boxes_xyxy: FloatRows, size_wh: tuple[int, int]) -> Points:
    """What of boxes (n, 4) is in the frame; a thread on the border of one that is beyond it."""
    corners = np.clip(boxes_xyxy.astype(np.float64), 0, (*size_wh, *size_wh))
    return np.hstack((corners[:, :2], np.maximum(corners[:, 2:], corners[:, :2] + _LEAST_SIDE_PX)))
