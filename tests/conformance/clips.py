"""Short real clips and picture folders for the graphs: from the shared recordings, small enough for a test."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.vision.codec import decode_jpeg, encode_jpeg
from tests.assets import clip, media

PEOPLE, FACES, PLATES, MIXED = "vtest.avi", "facenet_pytorch_video.mp4", "plates/street", "faces and plates"

_SIZE_WH = {FACES: (960, 540), PLATES: (960, 720)}
_FPS = 25


def make_clip(name: str, folder: Path, *, frames: int) -> Path:
    """A clip of so many frames of ``PEOPLE`` or ``FACES``, or of the pictures of ``PLATES``, one after another.

    Each third frame of ``MIXED`` shows faces, beginning with the first, the others plates.
    """
    target = folder / f"{Path(name).stem}_{frames}.avi"
    if not target.exists():
        write_clip(target, _pictures(name, frames))
    return target


def make_folder(name: str, folder: Path, *, pictures: int) -> Path:
    """A folder of so many pictures: those of ``PLATES`` as they are, of many sizes, else the first frames of a clip."""
    target = folder / f"{Path(name).stem}_{pictures}"
    if target.exists():
        return target
    target.mkdir(parents=True)
    if name == PLATES:
        for number, file in zip(range(pictures), itertools.cycle(_street_pictures()), strict=False):
            shutil.copy(file, target / f"{number:04}{file.suffix}")
        return target
    for number, picture in enumerate(_pictures(name, pictures)):
        (target / f"{number:04}.jpg").write_bytes(encode_jpeg(picture))
    return target


def write_clip(target: Path, pictures: Iterator[ImageBgr]) -> None:
    """Writes pictures of one size as a Motion-JPEG file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("mjpeg", rate=_FPS)
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.time_base = Fraction(1, _FPS)
        stream.options = {"q:v": "3"}
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pictures(name: str, frames: int) -> Iterator[ImageBgr]:
    if name == MIXED:
        faces, plates = (_pictures(part, frames) for part in (FACES, PLATES))
        for number in range(frames):
            yield _fitted(next(plates if number % 3 else faces), _SIZE_WH[PLATES])
        return
    if name == PLATES:
        files = _street_pictures()
        for number in range(frames):
            yield _fitted(decode_jpeg(files[number % len(files)].read_bytes()), _SIZE_WH[name])
        return
    with av.open(str(clip(name))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number == frames:
                return
            picture = frame.to_ndarray(format="bgr24")
            yield _fitted(picture, _SIZE_WH[name]) if name in _SIZE_WH else picture


def _street_pictures() -> list[Path]:
    """Those whose name is the plate's text come first."""
    return sorted(media("plates/street").glob("*.jpg"), key=lambda file: (file.name[0] != "_", file.name))


def _fitted(picture: ImageBgr, size_wh: tuple[int, int]) -> ImageBgr:
    """The picture on black of another size, made smaller if need be, its proportions kept."""
    scale = min(1.0, size_wh[0] / picture.shape[1], size_wh[1] / picture.shape[0])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas
