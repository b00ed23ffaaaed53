from __future__ import annotations

import itertools
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import SourceError
from streamserver.core.settings import PROJECT_DIR
from streamserver.media.opencv_reader import OpenCvReader, _OpeningGate
from tests.media.clips import write_clip, write_damaged_clip
from tests.media.streams import Camera
from tests.servers.process import wait_until

PATIENCE_S = 60.0
RED, BLUE = (0, 0, 255), (255, 0, 0)


def test_it_says_what_it_reads(tmp_path: Path) -> None:
    with OpenCvReader(str(write_clip(tmp_path / "a.mp4", rate=30))) as reader:
        assert reader.stream == "h264 64x48 30 fps"
        assert reader.rate == 30
        times = [decoded.time_s for decoded in reader.frames()]
    assert times == pytest.approx([number / 30 for number in range(10)], abs=0.002)


def test_brightness_comes_without_harm_to_the_picture(tmp_path: Path) -> None:
    with OpenCvReader(str(write_clip(tmp_path / "a.mp4"))) as reader:
        decoded = next(reader.frames())
        luma = decoded.luma()
        assert luma.shape == (6, 8)
        assert luma[0, 0] == pytest.approx(76, abs=6)
        assert luma[5, 7] == pytest.approx(29, abs=6)
        np.testing.assert_allclose(decoded.picture.bgr[4, 4], RED, atol=12)


class Counting:
    """A capture that counts how often it converts."""

    def __init__(self, capture: Any) -> None:
        self.retrieved = 0
        self._capture = capture

    def retrieve(self) -> Any:
        self.retrieved += 1
        return self._capture.retrieve()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)


def test_only_pictures_that_somebody_wants_are_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenCvReader(str(write_clip(tmp_path / "a.mp4"))) as reader:
        counting = Counting(reader._capture)
        monkeypatch.setattr(reader, "_capture", counting)
        for number, decoded in enumerate(reader.frames()):
            if number % 5:
                decoded.picture.give_up()
    assert counting.retrieved == 2


def test_the_last_picture_stays_right_after_the_reader_was_closed(tmp_path: Path) -> None:
    with OpenCvReader(str(write_clip(tmp_path / "a.mp4"))) as reader:
        picture = next(reader.frames()).picture
    np.testing.assert_allclose(picture.bgr[4, 4], RED, atol=12)
    np.testing.assert_allclose(picture.bgr[-4, -4], BLUE, atol=12)


def test_packets_that_cannot_be_decoded_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_damaged_clip(tmp_path / "a.mp4", frames=100)
    broken: list[int] = []
    with OpenCvReader(str(path), on_broken=broken.append) as reader:
        times = [decoded.time_s or 0 for decoded in reader.frames()]
    assert times[-1] == pytest.approx(99 / 25, abs=0.1)
    assert sum(broken) > 0
    assert 50 < len(times) < 100


def test_a_stream_that_does_not_tell_its_size_is_not_read_as_empty_pictures(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", frames=200)
    whole = path.read_bytes()
    path.write_bytes(whole[len(whole) // 188 // 2 * 188 :])
    with pytest.raises(SourceError, match="no key frame has come yet"):
        OpenCvReader(str(path), options={"probesize": "32"})


def test_another_size_in_mid_stream_is_stretched_to_the_first(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "a.ts", frames=12).read_bytes()
    large = write_clip(tmp_path / "b.ts", frames=12, size_wh=(128, 96)).read_bytes()
    (tmp_path / "both.ts").write_bytes(small + large)
    with OpenCvReader(str(tmp_path / "both.ts")) as reader:
        images = [decoded.picture.bgr for decoded in reader.frames()]
    assert len(images) == 24
    assert {image.shape for image in images} == {(48, 64, 3)}
    for image in (images[0], images[-1]):
        np.testing.assert_allclose(image[4, 4], RED, atol=12)
        np.testing.assert_allclose(image[-4, -4], BLUE, atol=12)


def test_a_host_that_never_answers_holds_up_nobody_who_opens_with_the_same_options(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    outcome: list[SourceError] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"

        def wait_in_vain() -> None:
            try:
                OpenCvReader(address, timeout_s=(PATIENCE_S, PATIENCE_S))
            except SourceError as e:
                outcome.append(e)

        waiting = threading.Thread(target=wait_in_vain)
        waiting.start()
        connection, _ = silent.accept()
        with OpenCvReader(str(path)) as reader:
            assert next(reader.frames()).picture.size_wh == (64, 48)
        assert waiting.is_alive()
        stopping = threading.Event()
        stopping.set()
        with pytest.raises(SourceError, match="not wanted"):
            OpenCvReader(str(path), options={"rtsp_transport": "udp"}, stopping=stopping)
        connection.close()
    waiting.join(PATIENCE_S)
    assert len(outcome) == 1


def test_a_host_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SourceError):
        OpenCvReader(f"http://127.0.0.1:{silent.getsockname()[1]}/cam", timeout_s=(0.3, 0.3))


def test_a_stream_that_goes_silent_is_given_up(tmp_path: Path) -> None:
    body = write_clip(tmp_path / "a.ts", frames=40).read_bytes()
    with Camera(body, hold=True) as camera, OpenCvReader(camera.url, timeout_s=(PATIENCE_S, 1.0)) as reader:
        frames = reader.frames()
        assert len(list(itertools.islice(frames, 20))) == 20
        with pytest.raises(SourceError, match="no answer in time"):
            list(frames)


def test_nothing_is_written_to_standard_error(tmp_path: Path) -> None:
    """FFmpeg and OpenCV would write what they cannot open, with its password."""
    (tmp_path / "hidden-name.mp4").write_bytes(b"no video " * 1000)
    with socket.create_server(("127.0.0.1", 0)) as silent, Camera(b"no video " * 1000) as camera:
        port = silent.getsockname()[1]
        addresses = [
            *(f"{scheme}://user:hiddenpw@127.0.0.1:{port}/cam" for scheme in ("rtsp", "rtmp", "http", "srt", "rtsps")),
            camera.url,
            "http://user:hiddenpw@127.0.0.1:1/cam",
            "nonsense://user:hiddenpw@127.0.0.1/cam",
            str(tmp_path / "hidden-name.mp4"),
            str(tmp_path / "absent-hidden-name.mp4"),
        ]
        code = (
            "import sys\n"
            "from streamserver.core.errors import SourceError\n"
            "from streamserver.media.opencv_reader import OpenCvReader\n"
            "for line in sys.stdin:\n"
            "    for camera in (False, True):\n"
            "        try:\n"
            "            OpenCvReader(line.strip(), timeout_s=(0.2, 0.2), camera=camera)\n"
            "        except SourceError as e:\n"
            "            print(e)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=PROJECT_DIR,
            input="\n".join(addresses),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout == "OpenCV cannot open it\n" * 2 * len(addresses)


def test_who_waits_to_open_with_other_options_is_not_overtaken_for_ever() -> None:
    gate, order = _OpeningGate(), []

    def open_with(options: str) -> None:
        gate.enter(options, threading.Event())
        order.append(options)

    gate.enter("a", threading.Event())
    threads = []
    for options in ("b", "a"):
        threads.append(threading.Thread(target=open_with, args=(options,)))
        threads[-1].start()
        wait_until(gate._door.locked, lambda: "somebody holds the door")
    threads[1].join(0.3)
    gate.leave()
    threads[0].join(PATIENCE_S)
    assert order == ["b"]
    gate.leave()
    threads[1].join(PATIENCE_S)
    assert order == ["b", "a"]


def test_a_stream_of_gigantic_pictures_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.media.picture_size.MAX_VIDEO_PIXELS", 64 * 48 - 1)
    with pytest.raises(SourceError, match="its pictures of 64x48 have over 3071 pixels; set the camera to"):
        OpenCvReader(str(write_clip(tmp_path / "a.mp4")))
