from __future__ import annotations

import io
import itertools
import logging
import socket
import threading
import time

import av
import numpy as np
import pytest

from streamserver.core.picture import Picture
from streamserver.media import pusher as pusher_module
from streamserver.media.encoding import Encoding
from streamserver.media.push_process import Order, send
from streamserver.media.pusher import WAITING, Pusher
from tests.descriptors import no_descriptors_left
from tests.media.servers import MediaServer, free_port, repeat_until


def picture(value: int = 120, size_wh: tuple[int, int] = (64, 48)) -> Picture:
    return Picture(size_wh, lambda: np.full((size_wh[1], size_wh[0], 3), value, np.uint8))


class Camera:
    """Goes on giving pictures to a pusher until it is stopped."""

    def __init__(self, pusher: Pusher) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(pusher,))
        self._thread.start()

    def _run(self, pusher: Pusher) -> None:
        while not self._stopped.wait(0.02):
            pusher.put(picture())

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def threads_that_push() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("push ")]


@pytest.fixture
def patient_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last frames have all the time that a busy machine needs."""
    monkeypatch.setattr(pusher_module, "_LAST_FRAMES_S", 60.0)


@pytest.mark.parametrize(("scheme", "codec"), [("rtsp", "h264"), ("rtsp", "h265"), ("rtmp", "h264"), ("rtmp", "h265")])
def test_a_server_gets_the_pictures_in_the_wanted_codec(scheme: str, codec: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding(codec=codec))
    try:
        with MediaServer(url) as server, Camera(pusher):
            frames = [server.frame() for _ in range(5)]
            pusher.close()
    finally:
        pusher.close(hurry=True)
    name, shape, mean, _, _ = frames[-1]
    assert name == {"h264": "h264", "h265": "hevc"}[codec]
    assert shape == (48, 64, 3) and all(abs(value - 120) < 6 for value in mean)
    times = [frame[3] for frame in frames if frame[3] is not None]
    assert len(times) > 2 and times == sorted(set(times))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp"])
def test_a_server_that_comes_late_goes_away_and_comes_back_gets_what_is_new(
    scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{scheme}://user:secret@127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding())
    try:
        with caplog.at_level(logging.INFO), Camera(pusher):
            repeat_until(lambda: "left out until" in caplog.text, lambda: time.sleep(0.02))
            with MediaServer(url) as server:
                server.frame()
            repeat_until(lambda: caplog.text.count("left out until") == 2, lambda: time.sleep(0.02))
            with MediaServer(url) as server:
                server.frame()
                assert caplog.text.count("left out until") == 2
    finally:
        pusher.close(hurry=True)
    assert pusher.dropped > 0
    assert "again; " in caplog.text and "secret" not in caplog.text


def test_each_reason_why_a_server_takes_nothing_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []
    monkeypatch.setattr(pusher_module, "backoff_s", lambda _: tries.append(0.01) or 0.01)
    port = free_port()
    pusher = Pusher(f"rtsp://127.0.0.1:{port}/live/0_0", Encoding())
    try:
        with Camera(pusher):
            repeat_until(lambda: len(tries) >= 2, lambda: time.sleep(0.02))
            monkeypatch.setattr(pusher_module, "_CONNECT_S", 0.2)
            with socket.create_server(("127.0.0.1", port)):
                repeat_until(lambda: len(tries) >= 5, lambda: time.sleep(0.02))
    finally:
        pusher.close(hurry=True)
    assert caplog.text.count("the connection was refused; frames are left out until the server takes them") == 1
    assert caplog.text.count("no answer in time; frames are still left out") == 1


def test_nobody_waits_for_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("rtsp", "rtmp"):
            pusher = Pusher(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/0_0", Encoding())
            for _ in range(200):
                pusher.put(picture())
            assert 200 - 2 * WAITING - 2 <= pusher.dropped < 200
            pusher.close(hurry=True)
            repeat_until(lambda: not threads_that_push(), lambda: time.sleep(0.02))


@pytest.mark.usefixtures("patient_end")
def test_what_waits_is_sent_before_the_stream_ends() -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding())
    with MediaServer(url) as server:
        with Camera(pusher):
            server.frame()
        for _ in range(WAITING):
            pusher.put(picture())
        pusher.close()
        assert server.frames_to_the_end() >= WAITING


@pytest.mark.usefixtures("patient_end")
def test_the_size_may_change_while_the_stream_goes_on() -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding())
    try:
        with MediaServer(url) as server:
            with Camera(pusher):
                server.frame()
            for value in range(6):
                pusher.put(picture(value, (200, 100)))
            pusher.close()
            assert server.frames_to_the_end() >= 6
    finally:
        pusher.close(hurry=True)


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_key_frames_come_by_the_clock_however_few_frames_there_are(codec: str) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/live/0_0"
    order = Order(url=url, codec=codec, pixel_format="yuv420p", rate=25.0, size_wh=(64, 48))
    frames = b"".join((500 * n).to_bytes(8) + bytes([100]) * order.frame_bytes for n in range(40))
    sent = threading.Event()

    def try_to_send() -> None:
        try:
            send(order, io.BytesIO(frames), io.BytesIO())
            sent.set()
        except av.FFmpegError:
            time.sleep(0.05)

    with MediaServer(url) as server:
        repeat_until(sent.is_set, try_to_send)
        keys = [number for number in range(33) if server.frame()[4]]
    assert len(keys) >= 8 and {b - a for a, b in itertools.pairwise(keys)} == {4}


def test_a_process_that_cannot_be_started_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    url = f"rtsp://127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding())
    try:
        with caplog.at_level(logging.WARNING), no_descriptors_left():
            pusher.put(picture())
            repeat_until(lambda: "cannot be started" in caplog.text, lambda: time.sleep(0.02))
        with MediaServer(url) as server, Camera(pusher):
            server.frame()
    finally:
        pusher.close(hurry=True)
    assert "cannot be started: Too many open files" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_picture_that_cannot_be_had_is_not_kept_from_the_caller() -> None:
    def fail() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        raise ValueError("no picture")

    url = f"rtsp://127.0.0.1:{free_port()}/live/0_0"
    pusher = Pusher(url, Encoding())
    try:
        with MediaServer(url), pytest.raises(RuntimeError, match="the thread that sends has died"):
            for _ in range(3000):
                pusher.put(Picture((64, 48), fail))
                time.sleep(0.02)
    finally:
        pusher.close(hurry=True)


def test_a_server_that_never_answers_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    absences: list[float] = []

    def backoff_s(away_s: float) -> float:
        absences.append(away_s)
        return 0.01

    monkeypatch.setattr(pusher_module, "backoff_s", backoff_s)
    monkeypatch.setattr(pusher_module, "_CONNECT_S", 0.2)
    monkeypatch.setattr(pusher_module, "_HEALTHY_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pusher = Pusher(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live/0_0", Encoding())
        try:
            with Camera(pusher):
                repeat_until(lambda: len(absences) >= 3, lambda: time.sleep(0.02))
        finally:
            pusher.close(hurry=True)
    assert absences[1] - absences[0] > 0.1 and absences[2] - absences[1] > 0.1


def test_a_picture_that_comes_after_the_end_is_ignored() -> None:
    pusher = Pusher(f"rtsp://127.0.0.1:{free_port()}/live/0_0", Encoding())
    pusher.close(hurry=True)
    pusher.put(picture())
    assert pusher.dropped == 0
