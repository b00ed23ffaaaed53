"""``osd``: draws what was found over the picture. Keys: docs/elements.md."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from streamserver.core.arrays import ImageBgr
from streamserver.elements._drawing import draw_over, findings_of, read_drawing, read_optional_names, read_writer
from streamserver.elements._model import read_choice, read_flag, read_names
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.vision.draw import algorithms
from streamserver.vision.draw.algorithms import Drawing
from streamserver.vision.draw.findings import Findings
from streamserver.vision.draw.palette import BLUE, RED
from streamserver.vision.draw.shapes import Style
from streamserver.vision.text import ColorBgr, TextWriter

logger = logging.getLogger(__name__)

_TEXT_PX = 30
"""How high the letters of ``osd_type`` TEXT are."""

_FARTHEST_PX = 30_000

_DRAWINGS: dict[str, Drawing] = {
    "DET": algorithms.DETECTIONS,
    "TRACK": algorithms.TRACKS,
    "POSE": algorithms.POSES,
    "AREA": algorithms.AREAS,
    "OBB": algorithms.TURNED_BOXES,
}
_NEED_NAMES = frozenset({"DET", "OBB"})
_ALGORITHM, _TEXT = "ALGORITHM", "TEXT"
_FORMER = "TRACK"
"""What sophon-stream takes an unknown ``osd_type`` for."""


class Osd(Element):
    """Gives each frame a ``drawing``; several of these in a row draw over each other, the frame's picture stays.

    Keeps the findings of a channel's last analysed frame with ``draw_interval``; drops them when the channel starts
    over or ends.
    """

    wants_skipped = True
    may_be_skipped = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._type = self._read_type()
        self._draw_interval = read_flag(context, "draw_interval", default=False)
        self._style = self._read_style()
        self._draw = self._read_draw()
        self._last: dict[int, Findings] = {}

    def process(self, frame: Frame, emit: Emit) -> None:
        """Remembers what to draw; the drawing itself is made when somebody asks for it."""
        if frame.discontinuity:
            self._last.pop(frame.channel_id, None)
        findings = self._findings(frame)
        if findings is not None and frame.picture is not None:
            frame.drawing = draw_over(frame, functools.partial(self._draw, findings))
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Forgets the channel."""
        self._last.pop(frame.channel_id, None)
        emit(frame)

    def close(self) -> None:
        """Forgets all channels."""
        self._last.clear()

    def _findings(self, frame: Frame) -> Findings | None:
        """What to draw into this frame; ``None`` for nothing."""
        if frame.skipped:
            return self._last.get(frame.channel_id) if self._draw_interval else None
        findings = findings_of(frame)
        if self._draw_interval:
            self._last[frame.channel_id] = findings
        return findings

    def _read_type(self) -> str:
        known = (*_DRAWINGS, _ALGORITHM, _TEXT)
        value = self.context.configure.get("osd_type")
        if not isinstance(value, str):
            raise self.context.error(
                "osd_type", f"expected a text, got {value!r}", cure=f"use one of {', '.join(known)}"
            )
        if value in known:
            return value
        logger.warning(
            "%s: element %d: osd_type '%s' is unknown and taken for %s; there are %s",
            self.context.config_file,
            self.context.element_id,
            value,
            _FORMER,
            ", ".join(known),
        )
        return _FORMER

    def _read_style(self) -> Style:
        red = read_choice(self.context, "draw_utils", ("OPENCV", "BMCV"), default="OPENCV") == "BMCV"
        heatmap_loss = self.context.configure.get("heatmap_loss", "MSELoss")
        if not isinstance(heatmap_loss, str):
            raise self.context.error("heatmap_loss", f"expected a text, got {heatmap_loss!r}")
        return Style(
            class_names=self._read_class_names(),
            recognised_names=read_optional_names(self.context, "recognice_names_file"),
            put_text=read_flag(self.context, "put_text", default=False) or self._type == _ALGORITHM,
            heatmap_loss=heatmap_loss,
            area_color=RED if red else BLUE,
            writer=read_writer(self.context),
        )

    def _read_class_names(self) -> tuple[str, ...]:
        if self._type in _NEED_NAMES:
            if "class_names_file" not in self.context.configure:
                raise self.context.error("class_names_file", f"is needed for osd_type {self._type}")
            return read_names(self.context)
        return read_optional_names(self.context, "class_names_file") if self._type == _ALGORITHM else ()

    def _read_draw(self) -> Callable[[Findings, ImageBgr], None]:
        if self._type == _TEXT:
            return _Texts(self.context, self._style.writer)
        drawing = read_drawing(self.context) if self._type == _ALGORITHM else _DRAWINGS[self._type]
        style = self._style

        def draw(findings: Findings, image_bgr: ImageBgr) -> None:
            drawing(image_bgr, findings, style)

        return draw


class _Texts:
    """Fixed texts at fixed places, whatever was found."""

    def __init__(self, context: ElementContext, writer: TextWriter) -> None:
        self._writer = writer
        self._color_bgr: ColorBgr = (_color(context, "b"), _color(context, "g"), _color(context, "r"))
        texts = _list(context, "texts", str, "texts")
        tops, lefts = (_list(context, key, int, "whole numbers") for key in ("tops", "lefts"))
        if not len(texts) == len(tops) == len(lefts):
            raise context.error(
                "tops, lefts, texts",
                f"have {len(tops)}, {len(lefts)} and {len(texts)} entries",
                cure="give each text one top and one left",
            )
        self._texts = list(zip(texts, zip(lefts, tops, strict=True), strict=True))

    def __call__(self, _findings: Findings, image_bgr: ImageBgr) -> None:
        """Writes them."""
        for text, left_top_xy in self._texts:
            self._writer.put(image_bgr, text, left_top_xy, size_px=_TEXT_PX, color_bgr=self._color_bgr)


def _list(context: ElementContext, key: str, kind: type[Any], noun: str) -> list[Any]:
    value = context.configure.get(key)
    fits = isinstance(value, list) and all(isinstance(one, kind) and not isinstance(one, bool) for one in value)
    if not fits or (kind is int and any(abs(one) > _FARTHEST_PX for one in value or ())):
        raise context.error(key, f"expected a list of {noun}, got {value!r:.80}")
    return list(value or ())


def _color(context: ElementContext, key: str) -> int:
    value = context.configure.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise context.error(key, f"expected a whole number from 0 to 255, got {value!r}")
    return int(value)


ELEMENT = Osd
