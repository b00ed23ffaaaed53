"""Polygons as corners of shape (k, 2): pixels, x to the right, y down, the last corner joined to the first.

Why a polygon that somebody drew has no clear inside is told by ``core.shapes.polygon_fault``.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def distances_to_polygon(points_xy: npt.ArrayLike, polygon_xy: npt.ArrayLike) -> Points:
    """How far points (n, 2) are from the polygon, in pixels, (n,); 0 inside. Of no polygon at all: infinite."""
    points, polygon = as_rows(points_xy, 2).astype(np.float64), as_rows(polygon_xy, 2).astype(np.float64)
    if not len(polygon):
        return np.full(len(points), np.inf)
    squared = _squared_gaps(points[:, None, :] - polygon[None], np.roll(polygon, -1, axis=0) - polygon)
    return np.where(points_in_polygon(points, polygon), 0.0, np.sqrt(squared.min(axis=1)))


def shares_in_polygons(boxes_xyxy: npt.ArrayLike, polygons_xy: Sequence[npt.ArrayLike]) -> Points:
    """What share of each box's surface, (n,) from 0 to 1, the union of the polygons covers; exact, also if concave.

    Where a polygon's edges cross each other the even-odd rule holds. A box without surface counts as 0.
    """
    boxes = as_rows(boxes_xyxy).astype(np.float64)
    if not len(polygons_xy):
        return np.zeros(len(boxes))
    rings = [_edges_rightwards(polygon) for polygon in polygons_xy]
    edges = np.concatenate(rings)
    breaks = _columns_of_change(edges)
    return np.array([_covered_share(box, rings, edges, breaks) for box in boxes], dtype=np.float64)


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
    on_edge: npt.NDArray[np.bool_] = np.any(_squared_gaps(offset, way) <= _ON_EDGE_PX**2, axis=1)
    return on_edge


def _squared_gaps(offset: Points, way: Points) -> Points:
    """Squared distances (n, k) to k edges, of points at offsets (n, k, 2) from their starts; their ways are (k, 2)."""
    squared = np.sum(way * way, axis=1)
    share = np.clip(np.sum(offset * way[None], axis=2) / np.where(squared > 0, squared, 1), 0, 1)
    gap = offset - share[..., None] * way[None]
    gaps: Points = np.sum(gap * gap, axis=2)
    return gaps


def _edges_rightwards(polygon_xy: npt.ArrayLike) -> Points:
    """The edges of a polygon but the upright ones, each from its left to its right end; (k, 4) as xyxy."""
    corners = as_rows(polygon_xy, 2).astype(np.float64)
    edges = np.hstack((corners, np.roll(corners, -1, axis=0)))
    edges = np.where(edges[:, :1] <= edges[:, 2:3], edges, edges[:, [2, 3, 0, 1]])
    rightwards: Points = edges[edges[:, 0] < edges[:, 2]]
    return rightwards


def _columns_of_change(edges: Points) -> Points:
    """All x at which an edge begins, ends or meets another: between two of them the edges keep their order."""
    start, way = edges[:, :2], edges[:, 2:] - edges[:, :2]
    offset = start[None] - start[:, None]
    cross = way[:, None, 0] * way[None, :, 1] - way[:, None, 1] * way[None, :, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (offset[..., 0] * way[None, :, 1] - offset[..., 1] * way[None, :, 0]) / cross
    first, second = np.nonzero((along > 0) & (along < 1))
    meetings = start[first, 0] + along[first, second] * way[first, 0]
    return np.concatenate((edges[:, 0], edges[:, 2], meetings))


def _covered_share(box_xyxy: Points, rings: list[Points], edges: Points, breaks: Points) -> float:
    """Cuts the box at each x where something changes; in the slabs between, what is covered is made of trapezia."""
    left, top, right, bottom = box_xyxy
    surface = max(0.0, right - left) * max(0.0, bottom - top)
    if surface == 0:
        return 0.0
    slopes = (edges[:, 3] - edges[:, 1]) / (edges[:, 2] - edges[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = [edges[:, 0] + (level - edges[:, 1]) / slopes for level in (top, bottom)]
    columns = np.concatenate((breaks, *crossings, (left, right)))
    columns = np.unique(columns[(columns >= left) & (columns <= right)])
    middles = (columns[:-1] + columns[1:]) / 2
    covered = np.sum(_covered_lengths(middles, rings, (top, bottom)) * np.diff(columns))
    return float(min(1.0, covered / surface))


def _covered_lengths(columns: Points, rings: list[Points], between: tuple[float, float]) -> Points:
    """How much of each column, (m,), from ``between[0]`` to ``between[1]``, is inside any of the rings; (m,)."""
    ends = [_stretches(columns, ring, between) for ring in rings]
    signs = np.concatenate([np.tile((1, -1), ring_ends.shape[1] // 2) for ring_ends in ends])
    places = np.concatenate(ends, axis=1)
    order = np.argsort(places, axis=1)
    covering = np.cumsum(signs[order], axis=1)[:, :-1] > 0
    lengths: Points = np.sum(np.diff(np.take_along_axis(places, order, axis=1), axis=1) * covering, axis=1)
    return lengths


def _stretches(columns: Points, ring: Points, between: tuple[float, float]) -> Points:
    """Where each column, (m,), goes into the ring, out of it, in again and so on, (m, 2s), limited to ``between``."""
    x1, y1, x2, y2 = ring.T
    x = columns[:, None]
    places = np.where((x1 < x) & (x < x2), y1 + (x - x1) * ((y2 - y1) / (x2 - x1)), np.inf)
    odd = np.full((len(columns), len(ring) % 2), np.inf)
    stretches: Points = np.clip(np.sort(np.hstack((places, odd)), axis=1), *between)
    return stretches
