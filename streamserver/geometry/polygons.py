"""Polygons as corners of shape (k, 2): pixels, x to the right, y down, the last corner joined to the first.

Why a polygon that somebody drew has no clear inside is told by ``core.shapes.polygon_fault``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamserver.geometry.boxes import as_rows, clip
from streamserver.geometry.lines import segment_touches_boxes

BORDER_TOLERANCE_PX = 2.0
"""A corner this close to the frame's border was meant to be on it: drawing tools and scaling miss by a pixel or two."""

_ON_EDGE_PX = 1e-6

Points = npt.NDArray[np.float64]


def points_in_polygon(points_xy: npt.ArrayLike, polygon_xy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points, shape (n, 2), are inside; shape (n,). Edges and corners belong to the polygon.

    Where edges cross each other the even-odd rule holds.
    """
    points, polygon = as_rows(points_xy, 2).astype(np.float64), as_rows(polygon_xy, 2).astype(np.float64)
    if not len(polygon):
        return np.zeros(len(points), dtype=np.bool_)
    start = polygon
    way = np.roll(polygon, -1, axis=0) - start
    offset = points[:, None, :] - start[None]
    # An edge counts when its ends are on different sides of the point's row, the upper end included and the lower
    # not: a ray through a corner thus meets exactly one of the two edges there, or both or none at a peak.
    spans = (offset[..., 1] >= 0) != (offset[..., 1] >= way[None, :, 1])
    cross = way[None, :, 0] * offset[..., 1] - way[None, :, 1] * offset[..., 0]
    right_of_point = (cross > 0) == (way[None, :, 1] > 0)
    odd = np.logical_xor.reduce(spans & right_of_point, axis=1)
    return np.logical_or(odd, _on_edge(offset, way))


def boxes_in_polygon(boxes_xyxy: npt.ArrayLike, polygon_xy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which boxes lie inside a polygon with all four corners and touch none of its edges; shape (n,)."""
    boxes, polygon = as_rows(boxes_xyxy), as_rows(polygon_xy, 2)
    inside = points_in_polygon(boxes[:, :2], polygon)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        inside &= ~segment_touches_boxes(start, end, boxes)
    return inside


def open_at_border(
    polygon_xy: npt.ArrayLike, size_wh: tuple[int, int], *, tolerance_px: float = BORDER_TOLERANCE_PX
) -> Points:
    """The polygon with the corners at the frame's border moved a little outside of it.

    An area drawn up to the border means everything there, also a box or a foot that touches the border; so a polygon
    drawn round the whole frame holds all that is visible, with its far corner at (width, height) or at the last pixel.
    """
    polygon = as_rows(polygon_xy, 2).astype(np.float64)
    far = np.asarray(size_wh, dtype=np.float64)
    polygon = np.where(polygon <= tolerance_px, np.minimum(polygon, -tolerance_px), polygon)
    return np.where(polygon >= far - tolerance_px, np.maximum(polygon, far + tolerance_px), polygon)


def boxes_in_zone(
    boxes_xyxy: npt.ArrayLike, polygon_xy: npt.ArrayLike, size_wh: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Like ``boxes_in_polygon`` for what is visible of each box, with the zone open at the frame's border."""
    return boxes_in_polygon(clip(boxes_xyxy, size_wh), open_at_border(polygon_xy, size_wh))


def points_in_zone(
    points_xy: npt.ArrayLike, polygon_xy: npt.ArrayLike, size_wh: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Like ``points_in_polygon`` with points outside the frame moved onto its border and the zone open there."""
    on_screen = np.clip(as_rows(points_xy, 2), 0, size_wh)
    return points_in_polygon(on_screen, open_at_border(polygon_xy, size_wh))


def _on_edge(offset: Points, way: Points) -> npt.NDArray[np.bool_]:
    """Which points lie on any edge: offsets (n, k, 2) from the start of k edges, whose ways are (k, 2)."""
    squared = np.sum(way * way, axis=1)
    share = np.clip(np.sum(offset * way[None], axis=2) / np.where(squared > 0, squared, 1), 0, 1)
    gap = offset - share[..., None] * way[None]
    on_edge: npt.NDArray[np.bool_] = np.any(np.sum(gap * gap, axis=2) <= _ON_EDGE_PX**2, axis=1)
    return on_edge
