"""The pixels of one object, from the coefficients and prototypes of a YOLOv8 Seg network."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray
from streamserver.core.objects import Segment
from streamserver.vision.letterbox import LetterboxMap


def cut_segment(
    coefficients: FloatArray,
    prototypes: FloatArray,
    box_xyxy: FloatArray,
    *,
    picture_wh: tuple[int, int],
    network_wh: tuple[int, int],
    mapping: LetterboxMap,
) -> Segment:
    """The mask of one object inside its box, at the resolution of the picture.

    The weighted sum of the prototypes is interpolated at the middle of each pixel; above 0 (a probability above one
    half) is object.

    Args:
        coefficients: float32 (m,).
        prototypes: float32 (m, h, w), covering the network's input.
        box_xyxy: in pixels of the picture; what lies outside the picture is cut off.
        picture_wh: width and height of the picture.
        network_wh: of the network's input.
        mapping: where the picture is in the network's input.
    """
    left, right = _span(float(box_xyxy[0]), float(box_xyxy[2]), picture_wh[0])
    top, bottom = _span(float(box_xyxy[1]), float(box_xyxy[3]), picture_wh[1])
    if right == left or bottom == top:
        return Segment((left, top), np.zeros((bottom - top, right - left), dtype=np.bool_))
    rows, columns = prototypes.shape[1:]
    xs = _places(left, right, mapping.scale_xy[0], mapping.offset_xy[0], columns / network_wh[0], columns)
    ys = _places(top, bottom, mapping.scale_xy[1], mapping.offset_xy[1], rows / network_wh[1], rows)
    x0, y0 = int(xs[0]), int(ys[0])
    part = prototypes[:, y0 : int(ys[-1]) + 2, x0 : int(xs[-1]) + 2]
    logits = np.tensordot(coefficients, part, axes=1)
    smooth = _interpolated(_interpolated(logits, ys - y0).T, xs - x0).T
    return Segment((left, top), smooth > 0)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """The pixels that an interval touches, inside the picture; empty when there are none."""
    first = min(max(math.floor(low), 0), size)
    return first, max(first, min(math.ceil(high), size))


def _places(first: int, end: int, scale: float, offset: int, share: float, count: int) -> npt.NDArray[np.float64]:
    """Where the middles of the pixels ``first`` to ``end`` lie along one side of the prototypes, in their points."""
    middles = (np.arange(first, end) + 0.5) * scale + offset
    return np.clip(middles * share - 0.5, 0, count - 1)


def _interpolated(rows: FloatArray, places: npt.NDArray[np.float64]) -> FloatArray:
    """(h, w) at fractional row numbers (n,): (n, w)."""
    low = np.minimum(places.astype(np.intp), len(rows) - 1)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low).astype(np.float32)[:, None]
    values: FloatArray = rows[low] * (1 - share) + rows[high] * share
    return values
