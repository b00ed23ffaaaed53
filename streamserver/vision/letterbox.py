"""Letterboxing: a picture scaled into a fixed size with its proportions kept, the rest padded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from streamserver.core.arrays import FloatArray, ImageBgr
from streamserver.core.picture import Pixels, Plane, Planes, size_wh_of

_EPSILON = 1e-6
"""Keeps the side that fills the canvas from losing a pixel to rounding."""

Anchor = Literal["top_left", "center"]


@dataclass(frozen=True, slots=True)
class LetterboxMap:
    """Where a picture went: point in the box = point in the picture * ``scale_xy`` + ``offset_xy``.

    Attributes:
        scale_xy: how much smaller (below 1) or larger the picture became; along one axis up to a pixel less than along
            the other, for its sides in the box are whole pixels.
        offset_xy: where its top left corner is in the box, in pixels.
    """

    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]

    def boxes_to_picture(self, boxes_xyxy: FloatArray) -> FloatArray:
        """Boxes (n, 4) in pixels of the box to boxes in pixels of the picture, not clipped."""
        return self.points_to_picture(boxes_xyxy.reshape(-1, 2)).reshape(-1, 4)

    def points_to_picture(self, points_xy: FloatArray) -> FloatArray:
        """Points (..., 2) in pixels of the box to points in pixels of the picture."""
        offset, scale = np.array(self.offset_xy, dtype=np.float32), np.array(self.scale_xy, dtype=np.float32)
        points: FloatArray = (points_xy - offset) / scale
        return points


class Letterbox:
    """Scales pictures into one canvas that is used again and again; not to be shared between threads.

    Args:
        size_wh: width and height of the canvas in pixels.
        pad: grey value of what the picture does not cover.
        anchor: where the picture lies in the canvas.
        max_scale: pictures do not become larger than this many times.

    Attributes:
        covered: left, top, width and height of the latest picture in the canvas; around it all is padding.
    """

    def __init__(
        self,
        size_wh: tuple[int, int],
        *,
        pad: int = 114,
        anchor: Anchor = "top_left",
        max_scale: float = math.inf,
    ) -> None:
        self.size_wh = size_wh
        self._max_scale = max_scale
        self._pad = pad
        self._anchor = anchor
        self._canvas: ImageBgr = np.full((size_wh[1], size_wh[0], 3), pad, dtype=np.uint8)
        self.covered: tuple[int, int, int, int] | None = None
        self._scaled: list[Plane] = []
        self._merged: ImageBgr = np.empty((0, 0, 3), dtype=np.uint8)

    def __call__(self, pixels: Pixels) -> tuple[ImageBgr, LetterboxMap]:
        """Puts a picture, planes or BGR of shape (height, width, 3), into the canvas.

        Of planes, only what is left after scaling is converted.

        Returns:
            The canvas, valid until the next call, and where the picture is in it.
        """
        width, height = size_wh_of(pixels)
        scale = min(self.size_wh[0] / width, self.size_wh[1] / height, self._max_scale)
        inner_w, inner_h = (max(1, int(side * scale + _EPSILON)) for side in (width, height))
        left, top = self._offset(inner_w, inner_h)
        covered = (left, top, inner_w, inner_h)
        if covered != self.covered:
            self._canvas.fill(self._pad)
            self.covered = covered
        view = self._canvas[top : top + inner_h, left : left + inner_w]
        if isinstance(pixels, Planes):
            self._convert(pixels, view)
        else:
            cv2.resize(pixels, (inner_w, inner_h), dst=view, interpolation=cv2.INTER_LINEAR)
        return self._canvas, LetterboxMap((inner_w / width, inner_h / height), (left, top))

    def _convert(self, planes: Planes, view: ImageBgr) -> None:
        """Scales the planes to the size of ``view`` (height, width, 3), and writes their BGR there."""
        if self._merged.shape != view.shape:
            self._merged = np.empty_like(view, order="C")
            self._scaled = [np.empty(view.shape[:2], dtype=np.uint8) for _ in range(3)]
        inner_wh = (view.shape[1], view.shape[0])
        for plane, scaled in zip((planes.y, planes.u, planes.v), self._scaled, strict=True):
            cv2.resize(plane, inner_wh, dst=scaled, interpolation=cv2.INTER_LINEAR)
        cv2.merge(self._scaled, dst=self._merged)
        cv2.transform(self._merged, planes.bgr_matrix(), dst=view)

    def _offset(self, inner_w: int, inner_h: int) -> tuple[int, int]:
        if self._anchor == "top_left":
            return 0, 0
        return (self.size_wh[0] - inner_w) // 2, (self.size_wh[1] - inner_h) // 2
