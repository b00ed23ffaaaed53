from __future__ import annotations

import numpy as np
import pytest

from streamserver.vision.codec import decode_jpeg, encode_jpeg


@pytest.mark.parametrize("size_wh", [(640, 360), (63, 47), (1, 1)])
def test_a_picture_survives_the_way_to_jpeg_and_back(size_wh: tuple[int, int]) -> None:
    column = np.linspace(0, 255, size_wh[0]).astype(np.uint8)
    image = np.broadcast_to(column[None, :, None], (size_wh[1], size_wh[0], 3)).copy()
    data = encode_jpeg(image)
    assert data.startswith(b"\xff\xd8")
    assert data.endswith(b"\xff\xd9")
    back = decode_jpeg(data)
    assert back.shape == image.shape
    np.testing.assert_allclose(back.astype(int), image.astype(int), atol=6)


def test_a_view_of_a_picture_can_be_encoded() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 10:30] = (0, 0, 255)
    back = decode_jpeg(encode_jpeg(image[10:20, 10:30]))
    assert back.shape == (10, 20, 3)
    np.testing.assert_allclose(back[5, 10], (0, 0, 255), atol=6)


@pytest.mark.parametrize("shape", [(0, 10, 3), (10, 0, 3), (10, 10), (10, 10, 4)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected a picture of shape"):
        encode_jpeg(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("data", [b"", b"no picture", encode_jpeg(np.zeros((8, 8, 3), np.uint8))[:20]])
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no picture"):
        decode_jpeg(data)
