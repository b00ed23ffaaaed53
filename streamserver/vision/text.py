"""Writes text of any script into pictures.

OpenCV 5 carries fonts for Latin, Greek, Cyrillic and Chinese letters; other fonts are used through Pillow, which reads
all kinds of font files.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamserver.core.arrays import ImageBgr

logger = logging.getLogger(__name__)

ColorBgr = tuple[int, int, int]

MAX_CHARACTERS = 200
"""Longer texts are cut: a label is never so long, and a picture is never so wide."""

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
_CJK_FONTS = (
    "wqy-",
    "NotoSansCJK",
    "NotoSansSC",
    "NotoSerifCJK",
    "SourceHanSans",
    "DroidSansFallback",
    "uming",
    "ukai",
)
_ENDINGS = frozenset({".ttf", ".ttc", ".otf"})

_BUILT_IN = "sans"
_WEIGHT = 400


class FontError(ValueError):
    """A font file that cannot be used; says why."""


def has_unicode_font() -> bool:
    """Whether this OpenCV was built with a font for more than Latin letters."""
    lines = (line.split(":", 1) for line in cv2.getBuildInformation().splitlines() if "nicode font" in line)
    return any(line[1].strip() == "YES" for line in lines if len(line) == 2)


def find_cjk_font(folders: Iterable[Path] = FONT_FOLDERS) -> Path | None:
    """A font with Chinese characters that this machine has, or ``None``."""
    fonts = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    return next((path for path in fonts if path.name.startswith(_CJK_FONTS)), None)


class TextWriter:
    """Writes text into pictures; may be used by several threads.

    Args:
        font_library: a font file for all text; ``None`` for OpenCV's own fonts.
        unicode_built_in: whether those know more than Latin letters.
        folders: where else a font may be found when they do not.

    Raises:
        FontError: ``font_library`` cannot be read.
    """

    def __init__(
        self,
        font_library: Path | None = None,
        *,
        unicode_built_in: bool | None = None,
        folders: Iterable[Path] = FONT_FOLDERS,
    ) -> None:
        self._for_all = font_library is not None
        self._font_path = font_library
        self._unicode = has_unicode_font() if unicode_built_in is None else unicode_built_in
        if font_library is None and not self._unicode:
            self._font_path = find_cjk_font(folders)
        if self._font_path is not None:
            _font(self._font_path, 20)
        self._warned = False

    def size_wh(self, text: str, size_px: int) -> tuple[int, int]:
        """Width and height of what ``put`` will cover."""
        text = self._printable(text)
        path = self._path_for(text)
        if path is not None:
            left, top, right, bottom = _font(path, size_px).getbbox(text)
            return int(np.ceil(right - min(left, 0))), int(np.ceil(bottom - min(top, 0)))
        x, _, width, height = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(_BUILT_IN), size_px, _WEIGHT)
        return int(x + width), int(height)

    def put(
        self, image_bgr: ImageBgr, text: str, left_top_xy: tuple[int, int], *, size_px: int, color_bgr: ColorBgr
    ) -> None:
        """Writes ``text`` with its upper left corner at ``left_top_xy``; what lies outside the picture is cut off."""
        text = self._printable(text)
        path = self._path_for(text)
        if path is not None:
            self._put_with_pillow(image_bgr, text, left_top_xy, font=_font(path, size_px), color_bgr=color_bgr)
            return
        face = cv2.FontFace(_BUILT_IN)
        _, top, _, _ = cv2.getTextSize((0, 0), text, (0, 0), face, size_px, _WEIGHT)
        origin = (left_top_xy[0], left_top_xy[1] - int(top))
        cv2.putText(image_bgr, text, origin, color_bgr, face, size_px, _WEIGHT)

    def _path_for(self, text: str) -> Path | None:
        return self._font_path if self._for_all or not text.isascii() else None

    def _printable(self, text: str) -> str:
        """One line that the font can show."""
        line = "".join(char if char.isprintable() else " " for char in text[:MAX_CHARACTERS])
        if line.isascii() or self._unicode or self._font_path is not None:
            return line
        if not self._warned:
            self._warned = True
            logger.warning(
                "'%s' cannot be shown: this OpenCV has no font for it and neither has this machine; name one in "
                "'font_library', or install one (Debian: fonts-wqy-microhei)",
                line,
            )
        return line.encode("ascii", "replace").decode("ascii")

    @staticmethod
    def _put_with_pillow(
        image_bgr: ImageBgr,
        text: str,
        left_top_xy: tuple[int, int],
        *,
        font: ImageFont.FreeTypeFont,
        color_bgr: ColorBgr,
    ) -> None:
        left, top = left_top_xy
        box = font.getbbox(text)
        x1, y1 = max(left, 0), max(top, 0)
        x2 = min(left + int(np.ceil(box[2])) + 1, image_bgr.shape[1])
        y2 = min(top + int(np.ceil(box[3])) + 1, image_bgr.shape[0])
        if x1 >= x2 or y1 >= y2:
            return
        part = Image.fromarray(np.ascontiguousarray(image_bgr[y1:y2, x1:x2]))  # channels stay as they are: blue first
        ImageDraw.Draw(part).text((left - x1, top - y1), text, font=font, fill=color_bgr)
        image_bgr[y1:y2, x1:x2] = np.asarray(part)


@functools.lru_cache(maxsize=32)
def _font(path: Path, size_px: int) -> ImageFont.FreeTypeFont:
    try:
        return ImageFont.truetype(path, size_px)
    except OSError as e:
        raise FontError(f"'{path}' is no font that can be read: {e}") from e
