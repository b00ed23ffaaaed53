from __future__ import annotations

import itertools
import logging
import socket
import threading
from pathlib import Path

import pytest

from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media import av_connection, live
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip
from tests.media.streams import MJPEG, Camera, multipart, stopping_at_the_end

States = list[tuple[SourceState, str]]


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.01)


@pytest.fixture
def stream_bytes(tmp_path: Path) -> bytes:
    return write_clip(tmp_path / "a.ts", frames=12).read_bytes()


def read_some(url: str, count: int, states: States) -> list[SourceFrame]:
    with stopping_at_the_end() as stopping:
        frames = open_source(
            SourceSpec(url=url, source_type="HTTP"),
            stopping=stopping,
            monitor=SourceMonitor(lambda state, reason: states.append((state, reason))),
        )
        return list(itertools.islice(frames, count))


@pytest.mark.usefixtures("quick_backoff")
def test_a_stream_that_breaks_off_is_connected_again_and_goes_on(
    stream_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    states: States = []
    with Camera(stream_bytes) as camera:
        frames = read_some(camera.url, 30, states)
    assert [frame.frame_id for frame in frames] == [*range(12), *range(12), *range(6)]
    assert [frame.loop for frame in frames] == [0] * 30
    assert [frame.discontinuity for frame in frames] == [True] + [False] * 29
    assert states == [
        (SourceState.CONNECTING, ""),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, "the stream broke off"),
        (SourceState.STREAMING, ""),
        (SourceState.RECONNECTING, "the stream broke off"),
        (SourceState.STREAMING, ""),
    ]
    assert "127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_after_a_long_gap_the_stream_starts_over(stream_bytes: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CONTINUITY_S", -1.0)
    with Camera(stream_bytes) as camera:
        frames = read_some(camera.url, 24, [])
    assert [frame.loop for frame in frames] == [0] * 12 + [1] * 12
    assert [frame.frame_id for frame in frames if frame.discontinuity] == [0, 0]


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "there is no such stream (404)"),
        (401, "the user name or the password was refused (401)"),
        (200, "the stream broke off"),
    ],
)
def test_a_stream_that_is_refused_says_why_and_is_tried_again(status: int, reason: str) -> None:
    states: States = []
    stopping = threading.Event()

    def note(state: SourceState, why: str) -> None:
        states.append((state, why))
        if len(states) == 4:
            stopping.set()

    with Camera(b"nothing to see " * 20) as camera:
        camera.status = status
        spec = SourceSpec(url=camera.url, source_type="HTTP")
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    assert states == [(SourceState.CONNECTING, "")] + [(SourceState.RECONNECTING, reason)] * 3


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_camera_that_is_off_is_waited_for_without_an_error(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, why: str) -> None:
        if state == SourceState.RECONNECTING:
            reasons.append(why)
            stopping.set()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}://user:secret@127.0.0.1:{taken.getsockname()[1]}/live/cam"
        spec = SourceSpec(url=url, source_type=scheme.upper())
        assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    assert reasons == ["the connection was refused"]
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_an_mjpeg_camera_is_read() -> None:
    body = multipart([encode_jpeg(picture(number)) for number in range(8)])
    with Camera(body, content_type=MJPEG) as camera:
        frames = read_some(camera.url, 10, [])
    assert {frame.picture.size_wh for frame in frames} == {(64, 48)}
    assert frames[0].picture.bgr[4, 4].argmax() == 2


@pytest.mark.usefixtures("quick_backoff")
def test_another_picture_size_starts_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = write_clip(tmp_path / "a.ts", frames=12).read_bytes()
    large = write_clip(tmp_path / "b.ts", frames=12, size_wh=(96, 64)).read_bytes()
    with Camera(small + large) as camera:
        frames = read_some(camera.url, 30, [])
    sizes = [frame.picture.size_wh for frame in frames]
    assert sizes == [(64, 48)] * 12 + [(96, 64)] * 12 + [(64, 48)] * 6
    assert [row for row, frame in enumerate(frames) if frame.discontinuity] == [0, 12, 24]
    assert "the picture changed its size from (64, 48) to (96, 64)" in caplog.text


def reasons_of_failures(url: str, source_type: str, count: int = 1) -> list[str]:
    """Why the first connections of a stream that gives no picture fail."""
    stopping = threading.Event()
    reasons: list[str] = []

    def note(state: SourceState, why: str) -> None:
        reasons.extend([why] * (state == SourceState.RECONNECTING))
        if len(reasons) == count:
            stopping.set()

    spec = SourceSpec(url=url, source_type=source_type)
    assert list(open_source(spec, stopping=stopping, monitor=SourceMonitor(note))) == []
    return reasons


@pytest.mark.usefixtures("quick_backoff")
def test_data_without_a_picture_says_so_instead_of_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av_connection, "_BLIND_S", 0.0)
    clip = write_clip(tmp_path / "a.ts", frames=200).read_bytes()
    without_key_frame = clip[len(clip) // 188 // 2 * 188 :]
    with Camera(without_key_frame) as camera:
        reasons = reasons_of_failures(camera.url, "HTTP")
    assert reasons == ["data comes, but for 0 s no picture could be decoded from it"]


@pytest.mark.usefixtures("quick_backoff")
@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_host_that_never_answers_is_told_from_one_that_sends_no_video(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av_connection, "_OPTIONS", {kind: {} for kind in ("RTSP", "RTMP", "HTTP")})
    monkeypatch.setattr(av_connection, "_OPEN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(av_connection, "_READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/cam"
        assert reasons_of_failures(url, scheme.upper()) == ["no answer in time"]
