"""Colours, and which joints of a pose are joined."""

from __future__ import annotations

from streamserver.vision.text import ColorBgr

Edges = tuple[tuple[int, int], ...]

RED: ColorBgr = (0, 0, 255)
BLUE: ColorBgr = (255, 0, 0)
GREEN: ColorBgr = (0, 200, 0)
WHITE: ColorBgr = (255, 255, 255)
BLACK: ColorBgr = (0, 0, 0)

_COLORS: tuple[ColorBgr, ...] = (
    (60, 76, 231),
    (219, 152, 52),
    (113, 204, 46),
    (15, 196, 241),
    (182, 89, 155),
    (34, 126, 230),
    (156, 188, 26),
    (180, 105, 255),
    (43, 57, 192),
    (185, 128, 41),
    (96, 174, 39),
    (173, 68, 142),
    (0, 84, 211),
    (133, 160, 22),
    (147, 20, 255),
    (79, 79, 47),
)


def color_of(number: int) -> ColorBgr:
    """A colour that a class or a track keeps."""
    return _COLORS[number % len(_COLORS)]


def on_top_of(color_bgr: ColorBgr) -> ColorBgr:
    """Black or white, whichever can be read on ``color_bgr``."""
    blue, green, red = color_bgr
    return BLACK if 0.114 * blue + 0.587 * green + 0.299 * red > 150 else WHITE


_COCO_17: Edges = (
    *((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10)),
    *((5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16)),
)
_COCO_18: Edges = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((0, 14), (14, 16), (0, 15), (15, 17)),
)
_BODY_25: Edges = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13)),
    *((13, 14), (0, 15), (15, 17), (0, 16), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24)),
)
_HALPE_26: Edges = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10), (17, 18), (18, 5), (18, 6), (18, 19)),
    *((19, 11), (19, 12), (11, 13), (13, 15), (12, 14), (14, 16), (15, 20), (20, 22), (15, 24)),
    *((16, 21), (21, 23), (16, 25)),
)
_SKELETONS: dict[int, Edges] = {17: _COCO_17, 18: _COCO_18, 25: _BODY_25, 26: _HALPE_26}


def skeleton_of(joints: int) -> Edges:
    """Which joints are joined in a pose of so many; none when the set of joints is unknown."""
    return _SKELETONS.get(joints, ())
