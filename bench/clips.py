"""Clips that all tables share, made once and kept in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from bench.table import Missing
from streamserver.core.settings import PROJECT_DIR

FRAMES = 500
RATE = 25


def cache_dir() -> Path:
    """Where made clips and the peers' environments are kept between runs."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "streamserver-bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def street_1080p(*, gop: int = 50) -> Path:
    """A street with people, 1920x1080, 25 frames a second, H.264 at 4 Mb/s without B frames, 500 frames.

    It is OpenCV's vtest.avi scaled up with noise like a sensor's, as cameras send it.

    Args:
        gop: frames from key frame to key frame.
    """
    path = cache_dir() / f"street_1080p_g{gop}.mp4"
    if not path.is_file():
        _make(path, gop)
    return path


def _make(path: Path, gop: int) -> None:
    import av
    import cv2
    import numpy as np

    source = PROJECT_DIR.parent / "shared" / "media" / "video" / "vtest.avi"
    if not source.is_file():
        raise Missing(f"'{source}' is not there: it is OpenCV's samples/data/vtest.avi")
    random = np.random.default_rng(7)
    noise = [random.normal(0, 3, (1080, 1920, 1)).astype(np.int16) for _ in range(8)]
    part = path.with_suffix(".part.mp4")
    with av.open(str(source)) as reader, av.open(str(part), "w") as writer:
        stream = writer.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "bf": "0", "tune": "zerolatency"}
        )
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1920, 1080, "yuv420p", 4_000_000
        stream.codec_context.gop_size = gop
        for number, frame in enumerate(reader.decode(video=0)):
            if number == FRAMES:
                break
            image = cv2.resize(frame.to_ndarray(format="bgr24"), (1920, 1080), interpolation=cv2.INTER_CUBIC)
            noisy = np.clip(image + np.roll(noise[number % 8], number * 37, axis=1), 0, 255).astype(np.uint8)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="bgr24")))
        writer.mux(stream.encode(None))
    part.replace(path)
