"""Clips drawn for tests: the upper half red, the lower half blue, and a white square that moves to the right."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from streamserver.core.arrays import ImageBgr


def picture(number: int, size_wh: tuple[int, int] = (64, 48)) -> ImageBgr:
    """Frame ``number`` of every clip."""
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2] = (0, 0, 255)
    image[height // 2 :] = (255, 0, 0)
    left = 8 + 4 * number % (width - 24)
    image[height // 2 - 6 : height // 2 + 6, left : left + 12] = 255
    return image


def write_clip(
    path: Path,
    *,
    frames: int = 10,
    size_wh: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    rotation: int = 0,
) -> Path:
    """Writes a clip in the container that the file's ending names."""
    with av.open(str(path), "w", format="mpegts" if path.suffix == ".ts" else None) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size_wh
        stream.pix_fmt = pixel_format
        stream.codec_context.max_b_frames = 0  # a decoder that holds frames back loses them when a stream breaks off
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="bgr24")
            container.mux(stream.encode(frame.reformat(format=pixel_format)))
        container.mux(stream.encode())
    return path


def write_damaged_clip(path: Path, *, frames: int = 100) -> Path:
    """Writes an MP4 whose third quarter holds noise instead of pictures."""
    data = bytearray(write_clip(path, frames=frames).read_bytes())
    begin, end = data.index(b"mdat"), data.index(b"moov")
    damaged = slice(begin + (end - begin) // 2, begin + (end - begin) * 3 // 4)
    data[damaged] = np.random.default_rng(1).bytes(damaged.stop - damaged.start)
    path.write_bytes(data)
    return path
