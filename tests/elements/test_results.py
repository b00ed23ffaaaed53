from __future__ import annotations

import errno
import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamserver.core.errors import GraphError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.elements import _results
from streamserver.elements._outputs import ImageFolder, Output, VideoFile
from streamserver.elements._results import Disk, make_results
from streamserver.elements.download_image import DownloadImage
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.media.encoding import Encoding

NOISE = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)


def make_frame(number: int) -> Frame:
    return Frame(2, 1, number, picture=Picture((320, 240), lambda: NOISE))


def make_context(base_dir: Path) -> ElementContext:
    return ElementContext(
        element_id=9, name="encode", config_file="f.json", configure={}, settings=Settings(), base_dir=base_dir
    )


@contextmanager
def nearly_full_disk(largest_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond this: the kernel refuses as it does on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between the tries."""
    monkeypatch.setattr(_results, "_TRY_AGAIN_S", 0.0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("ending", ["avi", "mp4"])
def test_a_full_disk_costs_frames_of_a_video_which_goes_on_in_a_new_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    output = VideoFile(tmp_path / f"1_2.{ending}", Encoding(rate=5))
    with caplog.at_level(logging.INFO):
        with nearly_full_disk(100_000):
            for number in range(60):
                output.write(make_frame(number))
        for number in range(4):
            output.write(make_frame(number))
        output.close(hurry=False)
    assert frames_of(tmp_path / f"1_2.{ending}") >= 4
    assert (tmp_path / f"1_2.1.{ending}").stat().st_size > 50_000
    assert caplog.text.count("File too large; frames are left out until it can be written") >= 1
    assert "is written again; " in caplog.text and "frames were left out in all" in caplog.text


@pytest.mark.usefixtures("at_once")
def test_a_full_disk_costs_pictures_and_leaves_no_scraps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = ImageFolder(tmp_path / "1_2", (-1, -1))
    with caplog.at_level(logging.INFO):
        output.write(make_frame(0))
        with nearly_full_disk(1000):
            for number in range(1, 5):
                output.write(make_frame(number))
        output.write(make_frame(5))
        output.close(hurry=False)
    assert sorted(path.name for path in (tmp_path / "1_2").iterdir()) == ["0.jpg", "5.jpg"]
    assert caplog.text.count("frames are left out until") == 1
    assert "is written again; 4 frames were left out" in caplog.text


def test_a_full_disk_costs_download_image_pictures_too(tmp_path: Path) -> None:
    element = DownloadImage(make_context(tmp_path))
    emitted: list[Frame] = []

    def emit(frame: Frame, *, port: int | None = None) -> None:
        emitted.append(frame)

    element.open()
    with nearly_full_disk(1000):
        for number in range(3):
            element.process(make_frame(number), emit)
    assert len(emitted) == 3 and not list((tmp_path / "results").iterdir())


@pytest.mark.parametrize("make", [lambda folder: ImageFolder(folder / "1_2", (-1, -1))])
def test_a_folder_that_somebody_tidied_away_is_made_again(tmp_path: Path, make: Any) -> None:
    output: Output = make(tmp_path / "results")
    output.write(make_frame(0))
    for path in (tmp_path / "results" / "1_2" / "0.jpg", tmp_path / "results" / "1_2", tmp_path / "results"):
        path.unlink() if path.is_file() else path.rmdir()
    output.write(make_frame(1))
    assert (tmp_path / "results" / "1_2" / "1.jpg").exists()


def test_a_disk_that_failed_is_left_alone_for_a_while_and_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    disk = Disk(tmp_path / "not there" / "1_2.avi", clock=lambda: now[0])
    calls = []

    def write() -> None:
        calls.append(now[0])
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "full")

    for _ in range(3):
        disk.attempt(write)
    assert (len(calls), disk.left_out) == (1, 3)
    now[0] += 11
    with monkeypatch.context() as patch:
        patch.setattr(_results, "_LEAST_FREE_BYTES", 1 << 62)
        disk.attempt(write)
    assert (len(calls), disk.left_out) == (1, 4)
    now[0] += 11
    disk.attempt(write)
    disk.attempt(write)
    assert (len(calls), disk.left_out) == (3, 4)


def test_the_last_megabytes_of_a_disk_are_left_to_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_results, "_LEAST_FREE_BYTES", 1 << 62)
    output = ImageFolder(tmp_path / "1_2", (-1, -1))
    output.write(make_frame(0))
    assert not list(tmp_path.iterdir())
    assert "MB left, and 4611686018427 MB are kept for alarms; frames are left out" in caplog.text


def test_only_a_disks_errors_are_taken(tmp_path: Path) -> None:
    def write() -> None:
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        Disk(tmp_path).attempt(write)


def test_a_folder_that_nobody_may_write_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results.os, "access", lambda path, mode: False)  # the user of the tests may be root
    with pytest.raises(GraphError, match=r"'encode': encode_type: nothing can be written to the folder '.*results'"):
        make_results(make_context(tmp_path), "encode_type")
