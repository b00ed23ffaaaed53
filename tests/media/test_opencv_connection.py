from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media import live, opencv_connection
from streamserver.media.opencv_connection import OpenCvConnector
from streamserver.media.opencv_reader import NO_KEY_FRAME
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip
from tests.media.streams import MJPEG, Camera, multipart
from tests.servers.clips import Clip, frame_number, make_clip
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspServer

PATIENCE_S = 60.0
PASSWORD = "hidden/?#@ pass"

States = list[tuple[SourceState, str]]


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.01)
    monkeypatch.setattr(live, "backoff_after_refusal_s", lambda: 0.01)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return make_clip(size_wh=(160, 120), seconds=2.0)


def spec(url: str, source_type: str, *, transport: str = "auto", stalled_after_s: float = 10.0) -> SourceSpec:
    return SourceSpec(
        url=url, source_type=source_type, transport=transport, decoder="opencv", stalled_after_s=stalled_after_s
    )


@contextmanager
def reading(what: SourceSpec, note: Callable[[SourceState, str], None]) -> Iterator[Iterator[SourceFrame]]:
    stopping = threading.Event()
    frames = open_source(what, stopping=stopping, monitor=SourceMonitor(note))
    try:
        yield frames
    finally:
        stopping.set()
        frames.close()  # type: ignore[attr-defined]


def read_some(what: SourceSpec, count: int) -> tuple[list[SourceFrame], States]:
    states: States = []
    with reading(what, lambda state, reason: states.append((state, reason))) as frames:
        return list(itertools.islice(frames, count)), states


def why_not(what: SourceSpec) -> str:
    """Why one connection does not come about."""
    connector = OpenCvConnector(what, stopping=threading.Event(), monitor=SourceMonitor())
    with closing(connector), pytest.raises(SourceError) as caught:
        connector.connect()
    assert "hidden" not in str(caught.value)
    return caught.value.message


def test_after_a_connection_without_a_key_frame_the_next_one_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    probed_s: list[float] = []

    def blind(*_: object, options: dict[str, str], **__: object) -> None:
        probed_s.append(int(options["analyzeduration"]) / 1e6)
        raise SourceError(NO_KEY_FRAME)

    monkeypatch.setattr(opencv_connection, "OpenCvReader", blind)
    what = spec("http://127.0.0.1:9/cam", "HTTP")
    connector = OpenCvConnector(what, stopping=threading.Event(), monitor=SourceMonitor())
    for _ in range(2):
        with pytest.raises(SourceError, match="no key frame has come yet"):
            connector.connect()
    assert probed_s == [0.3, 12.0]


@pytest.mark.usefixtures("quick_backoff")
def test_a_stream_that_breaks_off_is_connected_again_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Camera(write_clip(tmp_path / "a.ts", frames=12).read_bytes()) as camera:
        frames, states = read_some(spec(camera.url, "HTTP"), 30)
    assert [frame.frame_id for frame in frames] == [*range(12), *range(12), *range(6)]
    assert [frame.discontinuity for frame in frames] == [True] + [False] * 29
    assert [state for state, _ in states] == [
        SourceState.CONNECTING,
        *[SourceState.STREAMING, SourceState.RECONNECTING] * 2,
        SourceState.STREAMING,
    ]
    assert all(reason for state, reason in states if state == SourceState.RECONNECTING)
    assert frames[20].picture.bgr[4, 4].argmax() == 2
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("quick_backoff")
def test_an_mjpeg_camera_is_read() -> None:
    with Camera(multipart([encode_jpeg(picture(number)) for number in range(8)]), content_type=MJPEG) as camera:
        frames, _ = read_some(spec(camera.url, "HTTP"), 10)
    assert {frame.picture.size_wh for frame in frames} == {(64, 48)}
    assert frames[0].picture.bgr[4, 4].argmax() == 2


@pytest.mark.parametrize(("transport", "raw"), [("udp", False), ("auto", True)])
def test_an_rtsp_camera_is_read_over_each_transport(clip: Clip, transport: str, raw: bool) -> None:
    with RtspServer(clip, user="user", password=PASSWORD) as camera:
        url = camera.url_with("user", PASSWORD, raw=raw)
        frames, states = read_some(spec(url, "RTSP", transport=transport), 10)
    assert {frame.picture.size_wh for frame in frames} == {clip.size_wh}
    assert len({frame_number(frame.picture.bgr) for frame in frames}) == 10
    assert states == [(SourceState.CONNECTING, ""), (SourceState.STREAMING, "")]


def test_a_server_that_has_only_udp_is_asked_that_way_next_and_from_then_on(clip: Clip) -> None:
    with RtspServer(clip, transports=("udp",)) as camera:
        what = spec(camera.url, "RTSP")
        with closing(OpenCvConnector(what, stopping=threading.Event(), monitor=SourceMonitor())) as connector:
            with pytest.raises(SourceError, match="the server knows the stream, but gives no video over TCP"):
                connector.connect()
            for _ in range(2):
                with closing(connector.connect()) as connection:
                    assert connection.stream.startswith("h264 160x120 ")
        assert "over TCP" in why_not(spec(camera.url, "RTSP", transport="tcp"))


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_what_an_rtsp_server_refuses_is_named(clip: Clip, auth: str) -> None:
    with RtspServer(clip, user="user", password=PASSWORD, auth=auth) as camera:
        wrong = spec(camera.url_with("user", "hidden"), "RTSP")
        assert why_not(wrong) == "the user name or the password was refused (401)"
        assert why_not(spec(f"{camera.url}/absent", "RTSP")) == "there is no such stream (404)"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "there is no such stream (404)"),
        (401, "the user name or the password was refused (401)"),
        (403, "access was refused (403)"),
        (200, "this is not a video that can be read"),
    ],
)
def test_what_an_http_server_refuses_is_named(status: int, reason: str) -> None:
    with Camera(b"nothing to see " * 20) as camera:
        camera.status = status
        assert why_not(spec(camera.url, "HTTP")) == reason


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_camera_that_is_off_is_named(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}://user:hidden@127.0.0.1:{taken.getsockname()[1]}/live/cam"
        assert why_not(spec(url, scheme.upper())) == "the connection was refused"


def test_a_name_that_nobody_knows_is_named() -> None:
    reason = why_not(spec("rtsp://user:hidden@no-such-host.invalid/cam", "RTSP"))
    assert reason == "the name 'no-such-host.invalid' cannot be resolved"


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_host_that_never_answers_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv_connection, "_OPEN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(opencv_connection, "_ASK_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/live/cam"
        assert why_not(spec(url, scheme.upper(), stalled_after_s=0.5)) == "no answer in time"


def test_a_port_where_nothing_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv_connection, "_OPEN_TIMEOUT_S", 0.3)
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert why_not(spec(url, "UDP", stalled_after_s=0.5)) == "nothing has come at this port"


def test_a_port_that_another_program_has_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{taken.getsockname()[1]}"
        assert why_not(spec(url, "UDP")) == "the port is taken by another program"


@pytest.mark.usefixtures("quick_backoff")
def test_a_camera_that_freezes_is_given_up(clip: Clip) -> None:
    states: States = []
    seen = threading.Event()

    def note(state: SourceState, reason: str) -> None:
        states.append((state, reason))
        if state == SourceState.RECONNECTING:
            seen.set()

    with RtspServer(clip) as camera, reading(spec(camera.url, "RTSP", stalled_after_s=0.0), note) as frames:
        assert len(list(itertools.islice(frames, 5))) == 5
        camera.freeze()
        threading.Thread(target=lambda: seen.wait(PATIENCE_S) and camera.thaw()).start()
        assert any(frame.frame_id == 0 for frame in frames)
    assert (SourceState.RECONNECTING, "no answer in time") in states


def test_cameras_of_this_machine_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert why_not(spec(f"{tmp_path}/video7", "CAMERA")) == "there is no such device; is the camera plugged in?"
    assert why_not(spec(f"{tmp_path}/file", "CAMERA")) == "this device is not a camera"


def test_srt_is_refused_for_good_where_opencv_has_none() -> None:
    what = spec("srt://user:hidden@127.0.0.1:9999", "SRT")
    connector = OpenCvConnector(what, stopping=threading.Event(), monitor=SourceMonitor())
    if opencv_connection._may_have_protocol("srt"):
        pytest.skip("this OpenCV has SRT")
    with pytest.raises(SourceMissingError, match=r"has no SRT; let a media server") as caught:
        connector.connect()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "in_bursts"),
    [
        ("http://127.0.0.1/live/cam.m3u8", True),
        ("http://127.0.0.1/live/cam.M3U8?token=x", True),
        ("http://127.0.0.1/archive/clip.mp4", True),
        ("http://127.0.0.1/live/cam.flv", False),
        ("http://127.0.0.1/m3u8/cam", False),
    ],
)
def test_addresses_of_what_comes_in_bursts_are_known(url: str, in_bursts: bool) -> None:
    assert opencv_connection.comes_in_bursts(url) is in_bursts
