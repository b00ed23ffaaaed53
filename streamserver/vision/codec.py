"""Pictures to JPEG and back."""

from __future__ import annotations

import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr

JPEG_QUALITY = 85
"""As in sophon-stream: what reports and pushed frames use."""


def encode_jpeg(image_bgr: ImageBgr, *, quality: int = JPEG_QUALITY) -> bytes:
    """A complete JPEG (4:2:0) of ``image_bgr``.

    Raises:
        ValueError: the array is no picture.
    """
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.size == 0:
        raise ValueError(f"expected a picture of shape (height, width, 3), got {image_bgr.shape}")
    encoded, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ValueError(f"a picture of shape {image_bgr.shape} cannot be encoded as JPEG")
    return data.tobytes()


def decode_jpeg(data: bytes) -> ImageBgr:
    """The picture in ``data``, blue first and upright, 8 bits a colour; PNG, BMP and WebP will do, too.

    Grey pictures get three equal colours, transparency is left out.

    Raises:
        ValueError: it is none.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as e:  # more pixels than it will have
        raise ValueError(f"{len(data)} bytes that are no picture: {e.err}") from e
    if image is None:
        raise ValueError(f"{len(data)} bytes that are no picture")
    return np.asarray(image, dtype=np.uint8)
