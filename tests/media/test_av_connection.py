from __future__ import annotations

import itertools
import logging
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import av
import pytest

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.av_connection import AvConnector
from streamserver.media.connection import Decoded
from streamserver.media.sources import SourceSpec
from tests.media.clips import write_clip
from tests.media.streams import Camera
from tests.servers.clips import make_clip
from tests.servers.http import HttpMediaServer
from tests.servers.nginx import NginxServer
from tests.servers.ports import free_port
from tests.servers.rtsp import RtspServer

LARGE = (96, 64)


@contextmanager
def connector(
    url: str, source_type: str, *, transport: str = "auto", stalled_after_s: float = 20.0
) -> Iterator[tuple[AvConnector, SourceMonitor]]:
    stopping = threading.Event()
    monitor = SourceMonitor()
    spec = SourceSpec(url=url, source_type=source_type, transport=transport, stalled_after_s=stalled_after_s)
    with closing(AvConnector(spec, stopping=stopping, monitor=monitor)) as made:
        yield made, monitor
        stopping.set()


def some_pictures(url: str, source_type: str, count: int, *, transport: str = "auto") -> tuple[list[Decoded], str]:
    """The first pictures, and what the connection says that they are."""
    with (
        connector(url, source_type, transport=transport) as (made, _),
        closing(made.connect()) as connection,
    ):
        pictures = list(itertools.islice(connection.pictures(), count))
        return pictures, connection.stream


def why_not_connected(url: str, source_type: str, *, stalled_after_s: float = 20.0) -> str:
    with (
        connector(url, source_type, stalled_after_s=stalled_after_s) as (made, _),
        pytest.raises(SourceError) as caught,
    ):
        made.connect()
    return caught.value.message


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    with RtspServer(make_clip(gop=5), user="admin", password="p@ss w/rd") as server:
        yield server


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_rtsp_is_read_over_either_transport(rtsp: RtspServer, transport: str) -> None:
    pictures, stream = some_pictures(rtsp.url, "RTSP", 5, transport=transport)
    assert {decoded.picture.size_wh for decoded in pictures} == {(320, 240)}
    assert pictures[0].luma().shape == (30, 40)
    assert stream == "h264 320x240 25 fps"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("admin:", "admin:x"), "the user name or the password was refused (401)"),
        (lambda url: url.replace("/cam", "/elsewhere"), "there is no such stream (404)"),
        (lambda url: re.sub(r"127.0.0.1:\d+", "camera.invalid", url), "the name 'camera.invalid' cannot be resolved"),
        (lambda url: re.sub(r":\d+/", f":{free_port()}/", url), "the connection was refused"),
        (lambda url: url.replace("rtsp://", "rtsps://"), "TLS failed: "),
    ],
)
def test_rtsp_that_cannot_be_had_says_why(rtsp: RtspServer, change: Callable[[str], str], reason: str) -> None:
    said = why_not_connected(change(rtsp.url), "RTSP")
    assert said.startswith(reason)
    assert "p@ss" not in said
    assert "p%40ss" not in said


def test_rtsp_over_udp_is_tried_when_the_server_refuses_tcp_and_kept_when_it_works() -> None:
    with (
        RtspServer(make_clip(gop=5), transports=("udp",)) as server,
        connector(server.url, "RTSP") as (made, _),
    ):
        with pytest.raises(SourceError, match="the server does not send over TCP"):
            made.connect()
        for _ in range(2):
            with closing(made.connect()) as connection:
                assert next(connection.pictures()).picture.size_wh == (320, 240)
    with (
        RtspServer(make_clip(gop=5), transports=("udp",)) as server,
        connector(server.url, "RTSP", transport="tcp") as (made, _),
    ):
        for _ in range(2):
            with pytest.raises(SourceError):
                made.connect()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_falls_silent_is_given_up(transport: str) -> None:
    with (
        RtspServer(make_clip(gop=5)) as server,
        connector(server.url, "RTSP", transport=transport, stalled_after_s=3.0) as (made, _),
        closing(made.connect()) as connection,
    ):
        pictures = connection.pictures()
        next(pictures)
        server.freeze()
        with pytest.raises(SourceError, match="no answer in time"):
            for _ in pictures:
                pass


def test_garbage_in_mid_stream_is_counted_and_the_stream_goes_on() -> None:
    with (
        RtspServer(make_clip(gop=5)) as server,
        connector(server.url, "RTSP") as (made, monitor),
        closing(made.connect()) as connection,
    ):
        pictures = connection.pictures()
        next(pictures)
        server.mode("garbage")
        for _ in itertools.takewhile(lambda _: monitor.report().broken < 3, pictures):
            pass
        server.mode("play")
        assert len(list(itertools.islice(pictures, 10))) == 10


def test_http_flv_whose_codec_changes_goes_on_over_the_same_connection(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.flv", frames=12).read_bytes()
    second = write_clip(tmp_path / "b.flv", frames=12, codec="libx265", size_wh=LARGE).read_bytes()[13:]
    with (
        Camera(first + second, content_type="video/x-flv") as camera,
        connector(camera.url.replace("/cam", "/cam.flv"), "HTTP") as (made, _),
        closing(made.connect()) as connection,
    ):
        sizes: list[tuple[int, int]] = []
        with pytest.raises(SourceError, match="the stream broke off"):
            for decoded in connection.pictures():
                sizes.append(decoded.picture.size_wh)
        assert sizes == [(64, 48)] * 12 + [LARGE] * 12
        assert connection.stream.startswith("hevc 96x64")
        assert camera.connections == 1


def test_flv_is_known_by_what_comes_where_the_address_does_not_say(tmp_path: Path) -> None:
    body = write_clip(tmp_path / "a.flv", frames=12).read_bytes()
    with Camera(body, content_type="video/x-flv") as camera, connector(camera.url, "HTTP") as (made, _):
        for connections in (2, 3):
            with closing(made.connect()) as connection:
                assert next(connection.pictures()).picture.size_wh == (64, 48)
            assert camera.connections == connections


def test_mpeg_ts_whose_codec_changes_goes_on_over_the_same_connection(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", frames=12).read_bytes()
    second = write_clip(tmp_path / "b.ts", frames=12, codec="libx265", size_wh=LARGE).read_bytes()
    with Camera(first + second + second) as camera, connector(camera.url, "HTTP") as (made, _):
        with closing(made.connect()) as connection, pytest.raises(SourceError, match="the stream broke off"):
            sizes: list[tuple[int, int]] = []
            for decoded in connection.pictures():
                sizes.append(decoded.picture.size_wh)
        assert sizes.count(LARGE) >= 11
        assert camera.connections == 1


def test_a_page_is_no_video() -> None:
    page = b"<html><body>Log in here</body></html>"
    with Camera(page, content_type="text/html") as camera:
        said = why_not_connected(camera.url, "HTTP")
    assert said in ("what came is no video, or it ended at once", "this is not a video that can be read")


def test_rtmp_and_hls_give_pictures_and_say_when_nobody_publishes() -> None:
    with NginxServer() as server:
        assert "perhaps nobody publishes it" in why_not_connected(server.rtmp_url("absent"), "RTMP")
        assert why_not_connected(server.hls_url("absent"), "HTTP") == "there is no such stream (404)"
        server.publish("cam", make_clip(gop=5))
        for url, source_type in ((server.rtmp_url("cam"), "RTMP"), (server.hls_url("cam"), "HTTP")):
            pictures, stream = some_pictures(url, source_type, 5)
            assert {decoded.picture.size_wh for decoded in pictures} == {(320, 240)}
            assert stream.startswith("h264 320x240")


def test_an_mjpeg_camera_is_read() -> None:
    with HttpMediaServer(make_clip(gop=5)) as server:
        pictures, stream = some_pictures(server.url("mjpeg"), "HTTP", 3)
    assert pictures[0].picture.size_wh == (320, 240)
    assert stream.startswith("mjpeg 320x240")


@contextmanager
def sender(path: Path, port: int) -> Iterator[None]:
    """Sends a clip to a UDP port of loopback, over and over."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(path), "-c", "copy"]
    process = subprocess.Popen([*command, "-f", "mpegts", f"udp://127.0.0.1:{port}?pkt_size=1316"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_mpeg_ts_over_udp_is_read_by_one_task_and_the_next_one_is_told_that_the_port_is_taken() -> None:
    port = free_port(socket.SOCK_DGRAM)
    url = f"udp://127.0.0.1:{port}?localaddr=127.0.0.1"
    with (
        sender(make_clip(gop=5).path, port),
        connector(url, "UDP") as (made, _),
        closing(made.connect()) as connection,
    ):
        assert next(connection.pictures()).picture.size_wh == (320, 240)
        assert why_not_connected(url, "UDP") == "the port is taken by another program"


def test_a_udp_port_at_which_nothing_arrives_is_given_up() -> None:
    port = free_port(socket.SOCK_DGRAM)
    assert why_not_connected(f"udp://127.0.0.1:{port}", "UDP", stalled_after_s=1.0) == "nothing has come at this port"


@pytest.mark.parametrize("address", ["/dev/video96", "/dev/null"])
def test_a_camera_that_is_not_there_says_so(address: str) -> None:
    reason = {"/dev/video96": "there is no such device; is the camera plugged in?"}
    assert why_not_connected(address, "CAMERA") == reason.get(address, "this device is not a camera")


def test_a_camera_of_this_machine_is_read() -> None:
    if not Path("/dev/video0").exists():
        pytest.skip("no /dev/video0: this machine has neither a camera nor v4l2loopback")
    pictures, _ = some_pictures("/dev/video0", "CAMERA", 3)
    assert len(pictures) == 3


def test_srt_without_its_library_names_the_cure() -> None:
    url = "srt://127.0.0.1:9000?passphrase=secret-passphrase"
    try:
        av.open(url, timeout=(0.2, 0.2))
    except av.error.ProtocolNotFoundError:
        pass
    except av.FFmpegError:
        pytest.skip("this PyAV has SRT")
    with connector(url, "SRT") as (made, _), pytest.raises(SourceMissingError) as caught:
        made.connect()
    assert "cannot read srt:// addresses; let a media server read it" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_address_reaches_logs_or_standard_error(
    rtsp: RtspServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    some_pictures(rtsp.url, "RTSP", 3)
    why_not_connected(rtsp.url.replace("admin:", "admin:x"), "RTSP")
    assert "ss%20w" not in caplog.text
    assert "ss w" not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_tasks_on_one_address_are_independent(rtsp: RtspServer) -> None:
    with (
        connector(rtsp.url, "RTSP") as (one, _),
        connector(rtsp.url, "RTSP") as (other, _),
        closing(one.connect()) as first,
        closing(other.connect()) as second,
    ):
        going_on = second.pictures()
        next(going_on)
        next(first.pictures())
        first.close()
        first.close()
        assert len(list(itertools.islice(going_on, 5))) == 5
