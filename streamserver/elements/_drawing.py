"""Draws what a frame holds, when somebody asks for the picture."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import ConfigError
from streamserver.core.picture import Picture
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.models.registry import read_labels
from streamserver.vision.draw.algorithms import Drawing, drawing
from streamserver.vision.draw.findings import Findings, Part
from streamserver.vision.text import FontError, TextWriter

logger = logging.getLogger(__name__)


def findings_of(frame: Frame) -> Findings:
    """What a frame holds now; whatever later elements put in its place does not change it."""
    return Findings(
        detections=frame.detections,
        poses=tuple(frame.poses),
        recognitions=tuple(frame.recognitions),
        faces=tuple(frame.faces),
        turned_boxes=tuple(frame.turned_boxes),
        segments=tuple(frame.segments),
        touched_areas=tuple(frame.touched_areas),
        parts=tuple(Part(part.sub_id, part.track_id, findings_of(part)) for part in frame.sub_frames),
    )


def shown(frame: Frame) -> Picture:
    """What a frame shows: the picture that was drawn over, or else its own."""
    picture = frame.drawing or frame.picture
    assert picture is not None
    return picture


def draw_over(frame: Frame, draw: Callable[[ImageBgr], None]) -> Picture:
    """A picture of what the frame shows so far with ``draw`` over it; nothing is done before somebody looks at it."""
    base = shown(frame)

    def load() -> ImageBgr:
        image = np.array(base.bgr, order="C")
        draw(image)
        return image

    return Picture(base.size_wh, load)


def read_drawing(context: ElementContext) -> Drawing:
    """The drawing that ``draw_func_name`` names."""
    name = context.configure.get("draw_func_name", "default")
    if not isinstance(name, str):
        raise context.error("draw_func_name", f"expected a text, got {name!r}")
    try:
        return drawing(name)
    except ValueError as e:
        raise context.error("draw_func_name", f"there is no drawing '{name}'", cure=str(e)) from e


def read_optional_names(context: ElementContext, key: str) -> tuple[str, ...]:
    """The names in the file that ``key`` names; without it, or when it cannot be read, classes show as numbers."""
    value = context.configure.get(key)
    if value in (None, ""):
        return ()
    try:
        return read_labels(context.base_dir / Path(str(value)))
    except ConfigError as e:
        logger.warning(
            "%s: element %d: %s: %s; numbers stand for the names", context.config_file, context.element_id, key, e
        )
        return ()


def read_writer(context: ElementContext) -> TextWriter:
    """What writes text, with the font that ``font_library`` names."""
    value = context.configure.get("font_library")
    if value not in (None, "") and not isinstance(value, str):
        raise context.error("font_library", f"expected the path of a font file, got {value!r}")
    try:
        return TextWriter(context.base_dir / value if value else None)
    except FontError as e:
        raise context.error(
            "font_library", str(e), cure="name a .ttf, .ttc or .otf file, or leave the key out for the built-in fonts"
        ) from e
