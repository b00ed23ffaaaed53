"""``resize``: cuts a rectangle out of each picture and brings it to another size (CONTRACT 3.7)."""

from __future__ import annotations

import logging

import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.picture import Picture
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.vision.crop import clip_box

logger = logging.getLogger(__name__)

_LARGEST = 16384


class Resize(Element):
    """Replaces a frame's picture, and what was drawn on it, by a part in the wanted size.

    Frames that are only passed on are resized too: whoever shows them wants pictures of one size.
    """

    wants_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._size_wh = self._read("dst_w", least=1), self._read("dst_h", least=1)
        left, top = self._read("crop_left", least=0), self._read("crop_top", least=0)
        self._part_xyxy = left, top, left + self._read("crop_w", least=1), top + self._read("crop_h", least=1)
        self._cut_short = False

    def process(self, frame: Frame, emit: Emit) -> None:
        """Emits the frame with its new picture; what was found keeps its place in pixels of the old one."""
        if frame.picture is not None:
            frame.picture = self._resized(frame.picture)
        if frame.drawing is not None:
            frame.drawing = self._resized(frame.drawing)
        emit(frame)

    def _resized(self, picture: Picture) -> Picture:
        inside = clip_box(self._part_xyxy, picture.size_wh)
        frame_size = f"{picture.size_wh[0]}x{picture.size_wh[1]}"
        if inside is None:
            where = f"({self._part_xyxy[0]}, {self._part_xyxy[1]})"
            raise self.context.error("crop_left, crop_top", f"{where} lies outside of the picture of {frame_size}")
        if inside != self._part_xyxy and not self._cut_short:
            self._cut_short = True
            logger.warning(
                "%s: element %d: the part to cut out reaches beyond the picture of %s; it is cut at the edge",
                self.context.config_file,
                self.context.element_id,
                frame_size,
            )
        x1, y1, x2, y2 = inside
        shrinks = self._size_wh[0] < x2 - x1 and self._size_wh[1] < y2 - y1

        def load() -> ImageBgr:
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            return np.asarray(cv2.resize(picture.bgr[y1:y2, x1:x2], self._size_wh, interpolation=how), dtype=np.uint8)

        return Picture(self._size_wh, load)

    def _read(self, key: str, *, least: int) -> int:
        value = self.context.configure.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
            raise self.context.error(key, f"expected pixels from {least} to {_LARGEST}, got {value!r}")
        return value


ELEMENT = Resize
