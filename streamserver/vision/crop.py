"""Parts of a picture: around an object, of its box alone, straightened by its corners, or a face set upright."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.results import BoxXyxy

MARGIN_PX = 20
"""What an object's picture shows beyond the object (CONTRACT 5.4)."""

FACE_SIZE_WH = (112, 112)
"""The picture of an aligned face."""

_FACE_POINTS_XY = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where ArcFace and its kin want the eyes, the nose and the corners of the mouth; CONTRACT 3.6 has the same points for
a picture of 96 by 112, which lies in the middle of this one."""

_LONGEST_SIDE_PX = 4096
_TALL = 1.5


def square_around(
    box_xyxy: FloatArray | Sequence[float], size_wh: tuple[int, int], *, margin_px: int = MARGIN_PX
) -> BoxXyxy:
    """The square around a box's centre that holds the box and a margin, cut to the picture.

    Args:
        box_xyxy: four numbers in pixels; may reach beyond the picture or lie outside it.
        size_wh: width and height of the picture.
        margin_px: what is added on each side.

    Returns:
        integers inside the picture, at least one pixel wide and high.
    """
    left, top, right, bottom = (float(value) for value in box_xyxy)
    half = max(right - left, bottom - top) / 2 + margin_px
    x1, x2 = _span((left + right) / 2, half, size_wh[0])
    y1, y2 = _span((top + bottom) / 2, half, size_wh[1])
    return x1, y1, x2, y2


def crop_square(image_bgr: ImageBgr, box_xyxy: FloatArray | Sequence[float], *, margin_px: int = MARGIN_PX) -> ImageBgr:
    """The part of ``image_bgr`` that ``square_around`` names; a view, not a copy."""
    height, width = image_bgr.shape[:2]
    x1, y1, x2, y2 = square_around(box_xyxy, (width, height), margin_px=margin_px)
    return image_bgr[y1:y2, x1:x2]


def clip_box(box_xyxy: FloatArray | Sequence[float], size_wh: tuple[int, int]) -> BoxXyxy | None:
    """All whole pixels that a box touches, inside the picture; ``None`` for a box that lies outside or is no box."""
    if not np.isfinite(box_xyxy).all():
        return None
    left, top, right, bottom = (float(value) for value in box_xyxy)
    x1, y1 = max(math.floor(left), 0), max(math.floor(top), 0)
    x2, y2 = min(math.ceil(right), size_wh[0]), min(math.ceil(bottom), size_wh[1])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def quad_size_wh(corners_xy: FloatArray) -> tuple[int, int]:
    """How large the picture is that ``warp_quad`` makes, unturned: the longer of each two sides that face each other.

    Args:
        corners_xy: (4, 2), see ``warp_quad``.
    """
    sides = np.linalg.norm(np.roll(corners_xy, -1, axis=0).astype(np.float64) - corners_xy, axis=1)
    width, height = (min(max(round(float(side)), 1), _LONGEST_SIDE_PX) for side in (max(sides[::2]), max(sides[1::2])))
    return width, height


def is_quad(corners_xy: FloatArray) -> bool:
    """True if four corners, in turn, hold at least a pixel; only such a thing can be straightened."""
    if not np.isfinite(corners_xy).all():
        return False
    x, y = corners_xy.astype(np.float64).T
    return bool(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) >= 2)


def warp_quad(image_bgr: ImageBgr, corners_xy: FloatArray, *, turn_tall: bool = False) -> ImageBgr:
    """What lies between four corners, straightened to an upright rectangle.

    Args:
        image_bgr: the picture; beyond its edge its outermost pixels go on.
        corners_xy: (4, 2), from the object's own top left in its reading direction (top right, bottom right, bottom
            left), in pixels; ``is_quad`` holds.
        turn_tall: turn a result at least 1.5 times as high as wide by a quarter, counter-clockwise: such a line of text
            runs downwards.
    """
    width, height = quad_size_wh(corners_xy)
    upright = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(np.ascontiguousarray(corners_xy, dtype=np.float32), upright)
    straight = cv2.warpPerspective(
        image_bgr, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    if turn_tall and is_tall((width, height)):
        straight = cv2.rotate(straight, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.asarray(straight, dtype=np.uint8)


def is_tall(size_wh: tuple[int, int]) -> bool:
    """True for what ``turn_tall`` turns."""
    return size_wh[1] >= _TALL * size_wh[0]


def align_face(image_bgr: ImageBgr, points_xy: FloatArray) -> ImageBgr:
    """A face as recognition networks want it, (112, 112, 3): turned, scaled and moved, never mirrored or sheared.

    Args:
        image_bgr: the picture; what lies beyond its edge is black.
        points_xy: (5, 2), see ``core.objects.Face``; ``are_face_points`` holds.
    """
    matrix = _similarity(points_xy.astype(np.float64), _FACE_POINTS_XY)
    return np.asarray(cv2.warpAffine(image_bgr, matrix, FACE_SIZE_WH, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def are_face_points(points_xy: FloatArray) -> bool:
    """True if five points are apart, so that a face can be aligned by them."""
    return bool(points_xy.shape == (5, 2) and np.isfinite(points_xy).all() and points_xy.var(axis=0).sum() >= 0.1)


def _similarity(source_xy: npt.NDArray[np.float64], target_xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The turn, scale and shift, (2, 3), that bring points nearest to their targets by least squares.

    In complex numbers the best factor is the sum of conj(source) * target over the sum of abs(source)^2, about means.
    """
    source, target = source_xy @ (1, 1j), target_xy @ (1, 1j)
    centred = source - source.mean()
    factor = np.vdot(centred, target - target.mean()) / np.vdot(centred, centred).real
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _span(centre: float, half: float, size: int) -> tuple[int, int]:
    low = min(max(math.floor(centre - half), 0), size - 1)
    high = max(min(math.ceil(centre + half), size), low + 1)
    return low, high
