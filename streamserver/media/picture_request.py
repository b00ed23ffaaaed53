"""What a POST to an endpoint for pictures may hold, and the pictures in it.

Taken are a JPEG or PNG as it is; sophon-stream's ``{"data": "<Base64>"}``; ``{"ImageBase64": "<Base64>"}``, where a
list of Base64 may stand instead; and a list of such objects. What it is, its first bytes say, not the content type.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any

from streamserver.core.arrays import ImageBgr
from streamserver.media.picture_size import JPEG, is_picture, size_of
from streamserver.vision.codec import decode_jpeg

MAX_PICTURES = 8
"""Pictures in one request."""

MAX_PIXELS = 40_000_000
"""Pixels of one picture, and of all in one request together."""

MAX_SCANS = 100
"""Passes over its pixels that a JPEG may ask for; 10 are usual. A scan of 60 bytes can cost as much time as a whole one
would, and no decoder of ours can be stopped in the middle."""

_MAX_PARTS = 10_000
"""Entries of objects and lists in the JSON, whatever they are: each costs a hundred times the memory of its bytes."""

_START_OF_SCAN = b"\xff\xda"
_KEYS = ("ImageBase64", "data")
_BLANKS = b" \t\r\n"
_DATA_URL = re.compile(r"data:[\w/+.-]*;base64,")
_CURE = 'post a JPEG or PNG as it is, or {"ImageBase64": "…"}'


class BadPictureError(ValueError):
    """A request that holds no pictures that can be taken; says why, and what to send."""


def pictures_in(body: bytes) -> list[ImageBgr]:
    """The pictures of a request in order, each of shape (height, width, 3), upright.

    Raises:
        BadPictureError: there is none, one cannot be read, or they are too many or too large.
    """
    files = [body] if is_picture(body) else _files_in_json(body)
    if not 1 <= len(files) <= MAX_PICTURES:
        raise BadPictureError(f"{len(files)} pictures; send 1 to {MAX_PICTURES} in a request")
    pixels = 0
    for index, file in enumerate(files):
        pixels += _pixels_of(file, index)
        if pixels > MAX_PIXELS:
            raise BadPictureError(f"picture {index}: more than {MAX_PIXELS} pixels (together); send smaller ones")
    return [_decoded(file, index) for index, file in enumerate(files)]


def _files_in_json(body: bytes) -> list[bytes]:
    if body.lstrip()[:1] not in (b"{", b"["):
        raise BadPictureError(f"{len(body)} bytes that are neither a JPEG, a PNG nor JSON; {_CURE}")
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MAX_PARTS:
        raise BadPictureError(f"the body is not JSON of pictures: more than {_MAX_PARTS} entries; {_CURE}")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise BadPictureError(f"the body is not JSON: {str(e)[:80]}; {_CURE}") from e
    return [_file(text, index) for index, text in enumerate(_texts(content))]


def _texts(content: Any) -> Iterator[Any]:
    for entry in content if isinstance(content, list) else [content]:
        key = next((key for key in _KEYS if isinstance(entry, dict) and key in entry), None)
        if key is None:
            raise BadPictureError(f"expected an object with 'ImageBase64' or 'data'; {_CURE}")
        value = entry[key]
        yield from value if isinstance(value, list) else [value]


def _file(text: Any, index: int) -> bytes:
    if not isinstance(text, str):
        raise BadPictureError(f"picture {index}: expected a text of Base64, got {type(text).__name__}")
    head = _DATA_URL.match(text)
    try:
        return base64.b64decode(text[head.end() if head else 0 :].encode().translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError) as e:
        raise BadPictureError(f"picture {index}: not Base64: {e}") from e


def _pixels_of(file: bytes, index: int) -> int:
    if file.startswith(JPEG) and file.count(_START_OF_SCAN) > MAX_SCANS:
        raise BadPictureError(f"picture {index}: a JPEG of more than {MAX_SCANS} scans; save it anew")
    try:
        width, height = size_of(file)
    except ValueError as e:
        raise BadPictureError(f"picture {index}: {e}; send a JPEG or PNG") from e
    return width * height


def _decoded(file: bytes, index: int) -> ImageBgr:
    try:
        return decode_jpeg(file)
    except ValueError as e:
        raise BadPictureError(f"picture {index}: {e}; send a whole JPEG or PNG") from e
