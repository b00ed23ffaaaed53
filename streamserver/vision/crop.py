"""Parts of a picture around an object."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.results import BoxXyxy

MARGIN_PX = 20
"""What an object's picture shows beyond the object (CONTRACT 5.4)."""


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


def _span(centre: float, half: float, size: int) -> tuple[int, int]:
    low = min(max(math.floor(centre - half), 0), size - 1)
    high = max(min(math.ceil(centre + half), size), low + 1)
    return low, high
