"""Letterboxing: a picture scaled into a fixed size with its proportions kept, the rest padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr

_EPSILON = 1e-6
"""Keeps the side that fills the canvas from losing a pixel to rounding."""

Anchor = Literal["top_left", "center"]


@dataclass(frozen=True, slots=True)
class LetterboxMap:
    """Where a picture went: point in the box = point in the picture * ``scale`` + offset.

    Attributes:
        scale: how much smaller (below 1) or larger the picture became.
        offset_xy: where its top left corner is in the box, in pixels.
    """

    scale: float
    offset_xy: tuple[int, int]

    def boxes_to_picture(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (n, 4) in pixels of the box to boxes in pixels of the picture, not clipped."""
        offset = np.array([*self.offset_xy, *self.offset_xy], dtype=np.float32)
        return (boxes_xyxy - offset) / np.float32(self.scale)


class Letterbox:
    """Scales pictures into one canvas that is used again and again; not to be shared between threads.

    Args:
        size_wh: width and height of the canvas in pixels.
        pad: grey value of what the picture does not cover.
        anchor: where the picture lies in the canvas.
    """

    def __init__(self, size_wh: tuple[int, int], *, pad: int = 114, anchor: Anchor = "top_left") -> None:
        self.size_wh = size_wh
        self._pad = pad
        self._anchor = anchor
        self._canvas: ImageBgr = np.full((size_wh[1], size_wh[0], 3), pad, dtype=np.uint8)
        self._covered: tuple[int, int, int, int] | None = None

    def __call__(self, image_bgr: ImageBgr) -> tuple[ImageBgr, LetterboxMap]:
        """Puts a picture of shape (height, width, 3) into the canvas.

        Returns:
            The canvas, valid until the next call, and where the picture is in it.
        """
        height, width = image_bgr.shape[:2]
        scale = min(self.size_wh[0] / width, self.size_wh[1] / height)
        inner_w, inner_h = (max(1, int(side * scale + _EPSILON)) for side in (width, height))
        left, top = self._offset(inner_w, inner_h)
        covered = (left, top, inner_w, inner_h)
        if covered != self._covered:
            self._canvas.fill(self._pad)
            self._covered = covered
        view = self._canvas[top : top + inner_h, left : left + inner_w]
        cv2.resize(image_bgr, (inner_w, inner_h), dst=view, interpolation=cv2.INTER_LINEAR)
        return self._canvas, LetterboxMap(scale, (left, top))

    def _offset(self, inner_w: int, inner_h: int) -> tuple[int, int]:
        if self._anchor == "top_left":
            return 0, 0
        return (self.size_wh[0] - inner_w) // 2, (self.size_wh[1] - inner_h) // 2
