"""What may be posted to an endpoint for pictures, and how large it may be."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.arrays import ImageBgr
from streamserver.media.picture_request import MAX_PICTURES, BadPictureError, pictures_in
from streamserver.media.picture_size import is_picture, size_of
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture

JPEG = encode_jpeg(picture(1))


def png(image: ImageBgr) -> bytes:
    encoded, data = cv2.imencode(".png", image)
    assert encoded
    return data.tobytes()


PNG = png(picture(2))


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "body",
    [
        PNG,
        {"data": text_of(PNG)},
        {"ImageBase64": text_of(PNG), "other": 1},
        {"ImageBase64": f"data:image/png;base64,{text_of(PNG)}"},
        {"ImageBase64": base64.encodebytes(PNG).decode()},
        [{"ImageBase64": [text_of(PNG)]}],
    ],
)
def test_a_picture_is_taken_in_every_form(body: Any) -> None:
    (found,) = pictures_in(body if isinstance(body, bytes) else b" \n" + json.dumps(body).encode())
    assert np.array_equal(found, picture(2))


def test_several_pictures_keep_their_order() -> None:
    files = [png(picture(number)) for number in range(4)]
    body = [{"ImageBase64": [text_of(files[0]), text_of(files[1])]}, {"data": text_of(files[2])}]
    found = pictures_in(json.dumps([*body, {"ImageBase64": text_of(files[3])}]).encode())
    assert all(np.array_equal(one, picture(number)) for number, one in enumerate(found))
    assert len(found) == 4


def bomb(width: int, height: int) -> bytes:
    """The head of a PNG that would fill the memory."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


def hidden_bomb(width: int, height: int) -> bytes:
    """A JPEG of 16x16 pixels to who takes FF 00 for a marker, and of another size to libjpeg, which does not."""
    whole = encode_jpeg(np.zeros((16, 16, 3), np.uint8))
    frame = whole.index(b"\xff\xc0")
    large = whole[2 : frame + 5] + struct.pack(">HH", height, width) + whole[frame + 9 :]
    return b"\xff\xd8\xff\x00" + struct.pack(">H", 2 + len(large)) + large + whole[frame:]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "neither a JPEG, a PNG nor JSON"),
        (b"GIF89a", "post a JPEG or PNG as it is"),
        (b"--x\r\nContent-Disposition: form-data", "neither"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[" * 9_000, "not JSON: maximum recursion"),
        (b"[" + b"{}," * 10_000 + b"{}]", "more than 10000 entries"),
        (b'{"data": "A B\\tC\\r\\nD"}', "3 bytes that are neither"),
        (b"[]", "0 pictures"),
        (b'{"ImageBase64": []}', "0 pictures"),
        (b'{"image": "x"}', "'ImageBase64' or 'data'"),
        (b"[1]", "'ImageBase64' or 'data'"),
        (b'{"data": 1}', "picture 0: expected a text of Base64, got int"),
        (b'{"data": "?"}', "picture 0: not Base64"),
        (b'{"data": "\xc3\xa4"}', "picture 0: not Base64"),
        (json.dumps({"data": [text_of(JPEG), "AAAA"]}).encode(), "picture 1: 3 bytes that are neither"),
        (json.dumps({"data": [text_of(JPEG)] * (MAX_PICTURES + 1)}).encode(), f"send 1 to {MAX_PICTURES}"),
        (JPEG[:20], "breaks off"),
        (bomb(30_000, 30_000), "more than 40000000 pixels"),
        (hidden_bomb(900, 900), "breaks off before its size"),
        (bomb(10, 10), "send a whole JPEG or PNG"),
        (bomb(0, 10), "send a whole JPEG or PNG"),
    ],
)
def test_what_holds_no_picture_is_told_why(body: bytes, says: str) -> None:
    with pytest.raises(BadPictureError) as caught:
        pictures_in(body)
    assert says in str(caught.value)


def test_a_jpeg_of_a_thousand_passes_over_its_pixels_is_refused_before_the_first() -> None:
    encoded, data = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    whole = data.tobytes()
    scan = whole[whole.rfind(b"\xff\xda") : -2]
    assert encoded and pictures_in(whole)
    with pytest.raises(BadPictureError, match="more than 100 scans"):
        pictures_in(whole[:-2] + scan * 1000 + whole[-2:])
    noise = png(np.random.default_rng(1).integers(0, 256, (2000, 2000, 3), np.uint8))
    assert noise.count(b"\xff\xda") > 100
    assert pictures_in(noise)


@pytest.mark.parametrize("size_wh", [(64, 48), (1, 1), (33, 1), (640, 360)])
@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]])
def test_the_size_is_read_from_the_head(size_wh: tuple[int, int], flags: list[int]) -> None:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    encoded, data = cv2.imencode(".jpg", image, flags)
    assert encoded and is_picture(data.tobytes())
    assert size_of(data.tobytes()) == size_of(png(image)) == size_wh


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_damaged_head_never_does_worse_than_an_error(noise: bytes, at: int) -> None:
    for whole in (JPEG, PNG):
        damaged = whole[:at] + noise + whole[at + len(noise) :]
        try:
            width, height = size_of(damaged)
        except ValueError:
            continue
        assert width >= 0 and height >= 0
