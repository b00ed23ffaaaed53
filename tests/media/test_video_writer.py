from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.media.encoding import Encoding
from streamserver.media.video_writer import VideoWriter

PROJECT = Path(__file__).resolve().parents[2]


def grey(number: int, size_wh: tuple[int, int] = (64, 48)) -> ImageBgr:
    return np.full((size_wh[1], size_wh[0], 3), 10 + 5 * number, np.uint8)


def read(path: Path) -> list[ImageBgr]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "h264"), ("clip.mp4", "h264"), ("clip.mp4", "h265")])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12"])
def test_every_picture_is_in_the_file_once_and_in_order(
    tmp_path: Path, name: str, codec: str, pixel_format: str
) -> None:
    writer = VideoWriter(tmp_path / name, Encoding(codec=codec, pixel_format=pixel_format, rate=12.5))
    for number in range(40):
        writer.write(grey(number))
    writer.close()
    images = read(tmp_path / name)
    assert [round((float(image.mean()) - 8.5) / 5) for image in images] == list(range(40))
    assert {image.shape for image in images} == {(48, 64, 3)}
    with av.open(str(tmp_path / name)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == {"h264": "h264", "h265": "hevc"}[codec]
        assert float(stream.average_rate) == pytest.approx(12.5, rel=0.01)


def test_colours_come_back_as_they_were(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", Encoding())
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32], image[:, 32:] = (0, 0, 255), (255, 0, 0)
    writer.write(image)
    writer.close()
    (back,) = read(tmp_path / "clip.mp4")
    assert np.abs(back[10:40, 8:24].astype(int) - (0, 0, 255)).max() < 25
    assert np.abs(back[10:40, 40:56].astype(int) - (255, 0, 0)).max() < 25


def test_pictures_of_other_sizes_are_stretched_to_the_first(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.avi", Encoding())
    for number, size_wh in enumerate([(65, 49), (32, 32), (200, 100)]):
        writer.write(grey(number, size_wh))
    writer.close()
    assert [image.shape for image in read(tmp_path / "clip.avi")] == [(48, 64, 3)] * 3


def test_a_wanted_size_is_kept(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.avi", Encoding(size_wh=(32, 24)))
    writer.write(grey(0))
    writer.close()
    assert [image.shape for image in read(tmp_path / "clip.avi")] == [(24, 32, 3)]


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "h264"), ("clip.mp4", "h265")])
@pytest.mark.parametrize("size_wh", [(1, 1), (101, 57), (64, 8)])
def test_pictures_of_odd_and_tiny_sizes_can_be_written(
    tmp_path: Path, name: str, codec: str, size_wh: tuple[int, int]
) -> None:
    writer = VideoWriter(tmp_path / name, Encoding(codec=codec))
    for number in range(3):
        writer.write(grey(number, size_wh))
    writer.close()
    assert len(read(tmp_path / name)) == 3


def test_a_file_without_a_picture_does_not_stay(tmp_path: Path) -> None:
    VideoWriter(tmp_path / "clip.avi", Encoding()).close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "h264"), ("clip.mp4", "h265")])
def test_what_a_killed_process_has_written_can_be_played(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    code = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from streamserver.media.encoding import Encoding; from streamserver.media.video_writer import VideoWriter\n"
        f"writer = VideoWriter(Path({str(path)!r}), Encoding(codec={codec!r}, rate=25))\n"
        "for number in range(160): writer.write(np.full((48, 64, 3), number, np.uint8))\n"
        "os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert len(read(path)) >= 100
