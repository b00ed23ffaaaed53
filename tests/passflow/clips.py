"""Parts of real clips, cut for tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr
from tests import assets

RIGHT_THIRD = [(512, 0), (768, 0), (768, 432), (512, 432)]
"""Of the one-by-one clip: where people leave."""


def one_person(path: Path, *, backwards: bool = False) -> Path:
    """The first of the six of the one-by-one clip leaves the table to the right: 70 frames at 10 a second."""
    path.write_bytes(_one_person(path.suffix, backwards))
    return path


@cache
def _one_person(ending: str, backwards: bool) -> bytes:
    images = _frames("one-by-one-person-detection.mp4", 140, 210)
    with TemporaryDirectory() as folder:
        return _write(Path(folder) / f"clip{ending}", images[::-1] if backwards else images, rate=10).read_bytes()


def _frames(name: str, begin: int, end: int) -> list[ImageBgr]:
    video = cv2.VideoCapture(str(assets.clip(name)))
    try:
        images = [np.asarray(video.read()[1], dtype=np.uint8) for _ in range(end)]
        return images[begin:]
    finally:
        video.release()


def _write(path: Path, images: list[ImageBgr], *, rate: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "18"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.max_b_frames = 0
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path
