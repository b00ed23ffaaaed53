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
    if not np.issubdtype(array.dtype, np.floating):
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
    half = boxes[:, 2:] / 2
    return np.hstack((boxes[:, :2] - half, boxes[:, :2] + half))


def xyxy_to_cxcywh(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """Left, top, right, bottom to centre and size; (n, 4) both."""
    boxes = as_rows(boxes_xyxy)
    return np.hstack(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]))


def area(boxes_xyxy: npt.ArrayLike) -> FloatRows:
    """Areas in square pixels, shape (n,); an inside-out box has area 0."""
    boxes = as_rows(boxes_xyxy)
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    areas: FloatRows = np.prod(sides, axis=1)
    return areas


def iou_matrix(first_xyxy: npt.ArrayLike, second_xyxy: npt.ArrayLike) -> FloatRows:
    """Intersection over union of each pair, shape (n, m), 0 to 1; two boxes without area have 0."""
    first, second = as_rows(first_xyxy), as_rows(second_xyxy)
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.clip(bottom_right - top_left, 0, None)
    shared = sides[..., 0] * sides[..., 1]
    union = area(first)[:, None] + area(second)[None, :] - shared
    overlaps: FloatRows = np.zeros(shared.shape, dtype=shared.dtype)
    np.divide(shared, union, out=overlaps, where=union > 0)
    return overlaps


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
    width, height = size_wh
    return np.clip(as_rows(boxes_xyxy), 0, (width, height, width, height))


def contains(boxes_xyxy: npt.ArrayLike, points_xy: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which boxes hold which points, shape (n, m); left and top edge belong to the box, right and bottom do not."""
    boxes, points = as_rows(boxes_xyxy)[:, None], as_rows(points_xy, 2)[None]
    inside: npt.NDArray[np.bool_] = np.all((points >= boxes[..., :2]) & (points < boxes[..., 2:]), axis=-1)
    return inside
