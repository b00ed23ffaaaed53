"""Clips for media servers: cut from a shared clip, small, with a frame number that can be read from each picture."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from streamserver.core.arrays import ImageBgr
from tests import assets
from tests.servers.packages import needs

_BITS = 8
_CELL_PX = 16

_ENCODERS = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20", "-x264-params", "aud=1:bframes=0:scenecut=0"],
    "h265": [
        *("-c:v", "libx265", "-preset", "ultrafast", "-crf", "20", "-tag:v", "hvc1"),
        *("-x265-params", "aud=1:bframes=0:scenecut=0:repeat-headers=1:log-level=error"),
    ],
}


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip that can be played round and round.

    Attributes:
        path: as MP4.
        elementary: the same pictures as a plain H.264 or H.265 stream, an access unit delimiter before each.
        codec: ``h264`` or ``h265``.
        size_wh: of its pictures.
        fps: its rate.
        frames: how many it has.
    """

    path: Path
    elementary: Path
    codec: str
    size_wh: tuple[int, int]
    fps: int
    frames: int


@functools.cache
def make_clip(
    *,
    codec: str = "h264",
    size_wh: tuple[int, int] = (320, 240),
    fps: int = 25,
    gop: int = 25,
    seconds: float = 4.0,
    source: str = "vtest.avi",
) -> Clip:
    """A clip without B-frames, made once a session; its pictures carry their number, see ``frame_number``.

    Args:
        codec: ``h264`` or ``h265``.
        size_wh: at least 128 pixels wide.
        fps: frames a second.
        gop: frames from one key frame to the next.
        seconds: how long it is.
        source: the shared clip that it is cut from.
    """
    needs("ffmpeg")
    frames = round(seconds * fps)
    path = _folder() / f"{Path(source).stem}_{codec}_{size_wh[0]}x{size_wh[1]}_{fps}_{gop}_{frames}.mp4"
    elementary = path.with_suffix(f".{codec}")
    width, height = size_wh
    filters = f"fps={fps},scale={width}:{height},setsar=1,format=yuv420p,{_number_filters()}"
    _ffmpeg(
        *("-stream_loop", "-1", "-i", str(assets.clip(source)), "-an", "-vf", filters),
        *("-frames:v", str(frames), "-g", str(gop), "-keyint_min", str(gop), *_ENCODERS[codec], str(path)),
    )
    muxer = {"h264": "h264", "h265": "hevc"}[codec]
    _ffmpeg("-i", str(path), "-c", "copy", "-f", muxer, str(elementary))
    return Clip(path, elementary, codec, size_wh, fps, frames)


def frame_number(image_bgr: ImageBgr) -> int:
    """The number modulo 256 that stands in the corner of every picture, eight squares, the lowest bit first."""
    middle = _CELL_PX // 2
    row = image_bgr[middle - 3 : middle + 3]
    cells = (row[:, bit * _CELL_PX + middle - 3 : bit * _CELL_PX + middle + 3] for bit in range(_BITS))
    return sum(int(cell.mean() > 127) << bit for bit, cell in enumerate(cells))


def _number_filters() -> str:
    box = "drawbox=x={x}:y=0:w={w}:h={h}:t=fill:color={color}"
    black = box.format(x=0, w=_BITS * _CELL_PX, h=_CELL_PX, color="black")
    white = [
        box.format(x=bit * _CELL_PX, w=_CELL_PX, h=_CELL_PX, color="white")
        + f":enable='gte(mod(floor(n/{2**bit}),2),1)'"
        for bit in range(_BITS)
    ]
    return ",".join([black, *white])


def _ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=120)


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="clips-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
