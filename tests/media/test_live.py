from __future__ import annotations

import itertools
import logging
import socket
import threading
from pathlib import Path

import pytest

from streamserver.core.states import SourceState
from streamserver.media import live
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip
from tests.media.streams import MJPEG, Camera, multipart, stopping_at_the_end

States = list[tuple[SourceState, str]]


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda failures: 0.01)


@pytest.fixture
def stream_bytes(tmp_path: Path) -> bytes:
    return write_clip(tmp_path / "a.ts", frames=12).read_bytes()


def read_some(url: str, count: int, states: States) -> list[SourceFrame]:
    with stopping_at_the_end() as stopping:
        frames = open_source(
            SourceSpec(url=url, source_type="HTTP"),
            stopping=stopping,
            on_state=lambda state, reason: states.append((state, reason)),
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
        assert list(open_source(spec, stopping=stopping, on_state=note)) == []
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
        assert list(open_source(spec, stopping=stopping, on_state=note)) == []
    assert reasons == ["the connection was refused"]
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_an_mjpeg_camera_is_read() -> None:
    body = multipart([encode_jpeg(picture(number)) for number in range(8)])
    with Camera(body, content_type=MJPEG) as camera:
        frames = read_some(camera.url, 10, [])
    assert {frame.picture.size_wh for frame in frames} == {(64, 48)}
    assert frames[0].picture.bgr[4, 4].argmax() == 2


def test_backoff_grows_to_half_a_minute_and_never_hammers() -> None:
    for failures, longest in [(1, 1.0), (2, 2.0), (4, 8.0), (6, 30.0), (500, 30.0)]:
        waits = [live.backoff_s(failures) for _ in range(200)]
        assert 0.1 <= min(waits) <= max(waits) <= longest
        assert max(waits) > 0.7 * longest


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

    assert list(open_source(SourceSpec(url=url, source_type=source_type), stopping=stopping, on_state=note)) == []
    return reasons


@pytest.mark.usefixtures("quick_backoff")
def test_data_without_a_picture_says_so_instead_of_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_BLIND_S", 0.0)
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
    monkeypatch.setattr(live, "_OPTIONS", {kind: {} for kind in live.SOURCE_TYPES})
    monkeypatch.setattr(live, "_OPEN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(live, "_READ_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/cam"
        assert reasons_of_failures(url, scheme.upper()) == ["no answer in time"]
