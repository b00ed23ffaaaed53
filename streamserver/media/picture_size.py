"""How large pictures are, and may be: known before anybody spends memory on their pixels."""

from __future__ import annotations

MAX_VIDEO_PIXELS = 64_000_000
"""Of one picture of a video; 8K has 33 million. A camera, or who stands for it, can say 16000x16000 in a few bytes, and
each picture takes a gigabyte then."""

JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PNG_HEAD_BYTES = 24
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG markers that no length follows."""


def is_picture(data: bytes) -> bool:
    """True for what begins as a JPEG or PNG does."""
    return data.startswith((JPEG, _PNG))


def too_large(size_wh: tuple[int, int]) -> str:
    """Why no video of this size is read; empty where it is."""
    width, height = size_wh
    if width * height <= MAX_VIDEO_PIXELS:
        return ""
    return f"its pictures of {width}x{height} have over {MAX_VIDEO_PIXELS} pixels; set the camera to a smaller size"


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height in pixels, as stored (a JPEG may say that it wants to be shown turned).

    Raises:
        ValueError: it is neither a JPEG nor a PNG, or breaks off before its size.
    """
    if data.startswith(_PNG) and len(data) >= _PNG_HEAD_BYTES:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(JPEG):
        return _size_of_jpeg(data)
    raise ValueError(f"{len(data)} bytes that are neither a JPEG nor a PNG")


def _size_of_jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0:  # no marker: libjpeg would look for one in what follows, and find another size there
            break
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAME_MARKERS:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    raise ValueError(f"{len(data)} bytes of a JPEG that breaks off before its size")
