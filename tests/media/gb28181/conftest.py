"""Clips for the simulator: the beginning of a real one as it is, and a part of it as H.265."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from tests.assets import clip
from tests.media.gb28181.ps_muxer import Clip, read_clip


@dataclass(frozen=True)
class Recorded:
    """What the camera sees, and what decoding the file itself gives."""

    clip: Clip
    images_bgr: Sequence[ImageBgr]


def _recorded(path: Path, *, limit: int | None = None) -> Recorded:
    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), limit)
        images = [frame.to_ndarray(format="bgr24", threads=1) for frame in frames]
    return Recorded(read_clip(path, limit=limit), images)


@pytest.fixture(scope="session")
def h264() -> Recorded:
    """Twenty seconds with a key frame every 60 pictures."""
    return _recorded(clip("car-detection.mp4"), limit=250)


@pytest.fixture(scope="session")
def hevc(h264: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Every picture of five seconds, at half the size, with two pictures between references as cameras do it."""
    path = tmp_path_factory.mktemp("gb28181") / "hevc.mp4"
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=25:bframes=2"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 384, 216, "yuv420p"
        for image in h264.images_bgr[:125]:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[::2, ::2]), format="bgr24")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return _recorded(path)
