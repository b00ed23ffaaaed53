"""Boxes as rows of arrays: pixels, x to the right, y down, right and bottom exclusive (width = right - left).

``xyxy`` is left, top, right, bottom; ``xywh`` is left, top, width, height; ``cxcywh`` is centre and size. Every
function keeps floating types, turns integers into float64 and accepts zero rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatRows = npt.NDArray[np.floating]


def as_rows(values: npt.ArrayLike, columns: int = 4) -> FloatRows:
    """``values`` as a floating array of shape (n, columns); an empty list gives zero rows."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.size == 0:
        return array.reshape(0, columns)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"expected an array of shape (n, {columns}), got {array.shape}")
    return array


def xywh_to_xyxy(boxes_xywh: npt.ArrayLike) -> FloatRows:
    """Left, top, width, height to left, top, right, bottom; (n, 4) both."""
    boxes = as_rows(boxes_xywh)
    return np.hstack((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]))


def xyxy_to_xywh(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """Left, top, right, bottom to left, top, width, height; (n, 4) both."""
    boxes = as_rows(boxes_xyxy)
    return np.hstack((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]))


def cxcywh_to_xyxy(boxes_cxcywh: npt.ArrayLike) -> FloatRows:
    """Centre and size to left, top, right, bottom; (n, 4) both."""
    boxes = as_rows(boxes_cxcywh)
    centers, half = boxes[:, :2], boxes[:, 2:] / 2
    corners = np.empty_like(boxes)
    np.subtract(centers, half, out=corners[:, :2])
    np.add(centers, half, out=corners[:, 2:])
    return corners


def xyxy_to_cxcywh(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """Left, top, right, bottom to centre and size; (n, 4) both."""
    boxes = as_rows(boxes_xyxy)
    first, last = boxes[:, :2], boxes[:, 2:]
    middles = np.empty_like(boxes)
    np.divide(first + last, 2, out=middles[:, :2])
    np.subtract(last, first, out=middles[:, 2:])
    return middles


def area(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """Areas in square pixels, shape (n,); an inside-out box has area 0."""
    return _area(as_rows(boxes_xyxy))


def _area(boxes_xyxy: FloatRows) -> FloatRows:
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    np.maximum(sides, 0, out=sides)
    areas: FloatRows = sides[:, 0] * sides[:, 1]
    return areas


def iou_matrix(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> FloatRows:
    """Intersection over union of each pair, shape (n, m), 0 to 1; two boxes without area have 0."""
    first, second = as_rows(first_xyxy), as_rows(second_xyxy)
    shared: FloatRows = _shared_length(first[:, ::2], second[:, ::2])
    shared *= _shared_length(first[:, 1::2], second[:, 1::2])
    union = _area(first)[:, None] + _area(second)
    union -= shared
    if union.min(initial=1) > 0:  # numpy divides faster where it need not look where
        np.divide(shared, union, out=shared)
        return shared
    overlaps: FloatRows = np.zeros(shared.shape, dtype=shared.dtype)
    np.divide(shared, union, out=overlaps, where=union > 0)
    return overlaps


def _shared_length(first: FloatRows, second: FloatRows) -> FloatRows:
    """How long each range of ``first`` (n, 2), from and to, lies within each of ``second`` (m, 2); shape (n, m)."""
    starts, ends = np.ascontiguousarray(second.T)  # or numpy would go through them one by one
    length: FloatRows = np.minimum(first[:, 1:], ends)
    length -= np.maximum(first[:, :1], starts)
    np.maximum(length, 0, out=length)
    return length


def center_points(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """The middle of each box, shape (n, 2) as x, y."""
    boxes = as_rows(boxes_xyxy)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def foot_points(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """The middle of each box's bottom edge, where an object stands on the ground; (n, 2) as x, y, not clipped."""
    boxes = as_rows(boxes_xyxy)
    return np.column_stack(((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]))


def corner_points(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """The corners of each box, shape (n, 4, 2): top left, top right, bottom right, bottom left."""
    boxes = as_rows(boxes_xyxy)
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def clip(boxes_xyxy: npt.ArrayLike, size_wh: tuple[int, int]) -> FloatRows:
    """The part of each box inside a frame, (n, 4); a box outside it collapses onto the border."""
    inside: FloatRows = np.minimum(np.maximum(as_rows(boxes_xyxy), 0), np.array(size_wh * 2))
    return inside


def contains(boxes_xyxy: npt.ArrayLike, points_xy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which boxes hold which points, shape (n, m); left and top edge belong to the box, right and bottom do not."""
    boxes, points = as_rows(boxes_xyxy)[:, None], as_rows(points_xy, 2)[None]
    inside: npt.NDArray[np.bool_] = np.all((points >= boxes[..., :2]) & (points < boxes[..., 2:]), axis=-1)
    return inside
