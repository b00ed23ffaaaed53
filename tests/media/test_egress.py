from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.outgoing import Policy
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media import connect_watch
from streamserver.media.asking import refusal
from streamserver.media.connection import Connector
from streamserver.media.diagnosis import why_not
from streamserver.media.egress import Egress
from streamserver.media.gb28181.receiver import TcpReceiver
from streamserver.media.gb28181.transport import look_up
from streamserver.media.live import connector_for
from streamserver.media.sources import AS_FAST_AS_IT_GOES, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture, write_clip

TARGET = "127.66.0.1"
PATIENCE_S = 60.0
DECODERS = ("av", "opencv")


def policy(*denied: str, files: Path | None = None) -> Policy:
    return Policy(deny=[ipaddress.ip_network(network) for network in denied], file_dirs=[files] if files else [])


FORBIDDEN = policy("127.66.0.0/16")
ALLOWED = policy("127.67.0.0/16")


class Target:
    """What must not be reached: takes connections and datagrams, and says nothing."""

    def __init__(self) -> None:
        self.tcp = socket.create_server((TARGET, 0))
        self.port = int(self.tcp.getsockname()[1])
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((TARGET, self.port))
        for end in (self.tcp, self.udp):
            end.setblocking(False)
        self._held: list[socket.socket] = []

    def was_reached(self) -> bool:
        """A connection stands in the queue from the moment it is made, a datagram from the moment it is sent."""
        with contextlib.suppress(BlockingIOError):
            self.tcp.accept()[0].close()
            return True
        with contextlib.suppress(BlockingIOError):
            return bool(self.udp.recv(2000))
        return False

    def close(self) -> None:
        self.tcp.close()
        self.udp.close()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.close()


@contextlib.contextmanager
def rtsp_server(answer: Callable[[str], str]) -> Iterator[str]:
    """Answers each request of one connection after another by what ``answer`` makes of its method."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection, connection.makefile("rb") as lines:
                    converse(connection, lines)

    def converse(connection: socket.socket, lines: Iterator[bytes]) -> None:
        method = sequence = ""
        for line in lines:
            text = line.decode().strip()
            method = method or text.partition(" ")[0]
            sequence = text if text.lower().startswith("cseq") else sequence
            if not text:
                with contextlib.suppress(OSError):
                    connection.sendall(answer(method).format(cseq=sequence).replace("\n", "\r\n").encode())
                method = ""

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cam"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)


@contextlib.contextmanager
def http_server(answers: dict[str, tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body)), "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(PATIENCE_S)


def playlist(*lines: str) -> tuple[int, dict[str, str], bytes]:
    text = "\n".join(["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", *lines, "#EXT-X-ENDLIST", ""])
    return 200, {"Content-Type": "application/vnd.apple.mpegurl"}, text.encode()


def said_of(url: str, kind: str, decoder: str, allowed: Policy, transport: str = "tcp") -> str:
    """Why ``url`` gives no picture; empty where it gives one."""
    spec = SourceSpec(
        url=url, source_type=kind, decoder=decoder, transport=transport, stalled_after_s=30.0, policy=allowed
    )
    connector: Connector = connector_for(spec, stopping=threading.Event(), monitor=SourceMonitor())
    with contextlib.closing(connector):
        try:
            with contextlib.closing(connector.connect()) as connection:
                return "" if next(iter(connection.pictures()), None) else "nothing came"
        except SourceError as e:
            return str(e)


Way = Callable[[int, contextlib.ExitStack], tuple[str, str, str]]
"""Gives address, kind and transport of a stream that leads to the target's port."""


def _straight(scheme: str, host: str, kind: str) -> Way:
    return lambda port, stack: (f"{scheme}://{host}:{port}/live/cam", kind, "tcp")


def _redirect_http(port: int, stack: contextlib.ExitStack) -> tuple[str, str, str]:
    there = {"/cam": (302, {"Location": f"http://{TARGET}:{port}/x"}, b"")}
    return f"{stack.enter_context(http_server(there))}/cam", "HTTP", "tcp"


def _redirect_rtsp(port: int, stack: contextlib.ExitStack) -> tuple[str, str, str]:
    moved = f"RTSP/1.0 302 Moved\n{{cseq}}\nLocation: rtsp://{TARGET}:{port}/x\n\n"
    return stack.enter_context(rtsp_server(lambda method: moved)), "RTSP", "tcp"


def _source_of_rtp(port: int, stack: contextlib.ExitStack) -> tuple[str, str, str]:
    """FFmpeg sends a packet to where the server says that it sends from, to open a way through routers."""
    sdp = f"v=0\no=- 0 0 IN IP4 {TARGET}\ns=x\nc=IN IP4 {TARGET}\nt=0 0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    size = len(sdp.replace("\n", "\r\n"))
    described = f"RTSP/1.0 200 OK\n{{cseq}}\nContent-Type: application/sdp\nContent-Length: {size}\n\n{sdp}"
    transport = f"RTP/AVP/UDP;unicast;client_port=5000-5001;server_port={port}-{port + 1};source={TARGET}"
    answers = {
        "DESCRIBE": described,
        "SETUP": f"RTSP/1.0 200 OK\n{{cseq}}\nSession: 1\nTransport: {transport}\n\n",
        "PLAY": "RTSP/1.0 404 Not Found\n{cseq}\n\n",
    }
    other = "RTSP/1.0 200 OK\n{cseq}\nPublic: OPTIONS, DESCRIBE, SETUP, PLAY\n\n"
    return stack.enter_context(rtsp_server(lambda method: answers.get(method, other))), "RTSP", "udp"


def _names(*lines: str) -> Way:
    def way(port: int, stack: contextlib.ExitStack) -> tuple[str, str, str]:
        there = {"/cam.m3u8": playlist(*(line.format(there=f"http://{TARGET}:{port}") for line in lines))}
        return f"{stack.enter_context(http_server(there))}/cam.m3u8", "HTTP", "tcp"

    return way


WAYS = {
    "http": _straight("http", TARGET, "HTTP"),
    "flv over http": lambda port, stack: (f"http://{TARGET}:{port}/live.flv", "HTTP", "tcp"),
    "http, decimal": _straight("http", "2135031809", "HTTP"),
    "http, mapped": _straight("http", f"[::ffff:{TARGET}]", "HTTP"),
    "rtsp": _straight("rtsp", TARGET, "RTSP"),
    "rtsp, hexadecimal": _straight("rtsp", "0x7f420001", "RTSP"),
    "rtsps": _straight("rtsps", TARGET, "RTSP"),
    "rtmp, octal": _straight("rtmp", "0177.66.1", "RTMP"),
    "redirect over http": _redirect_http,
    "redirect over rtsp": _redirect_rtsp,
    "source of rtp": _source_of_rtp,
    "segment": _names("#EXTINF:1,", "{there}/a.ts"),
    "playlist in a playlist": _names("#EXT-X-STREAM-INF:BANDWIDTH=1", "{there}/b.m3u8"),
    "key": _names('#EXT-X-KEY:METHOD=AES-128,URI="{there}/k"', "#EXTINF:1,", "a.ts"),
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("way", WAYS)
def test_no_stream_and_nothing_that_answers_leads_to_a_denied_network(way: str, decoder: str, target: Target) -> None:
    with contextlib.ExitStack() as stack:
        url, kind, transport = WAYS[way](target.port, stack)
        said = said_of(url, kind, decoder, FORBIDDEN, transport)
        assert not target.was_reached()
        assert "127.66.0.1" in said and "deny_networks" in said
        assert "another address" in said


@pytest.mark.parametrize(
    "way", ["http", "rtsp", "redirect over http", "redirect over rtsp", "source of rtp", "segment"]
)
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_same_ways_lead_there_where_it_is_allowed(way: str, decoder: str, target: Target) -> None:
    with contextlib.ExitStack() as stack:
        url, kind, transport = WAYS[way](target.port, stack)
        answering = threading.Timer(0.5, target.tcp.shutdown, [socket.SHUT_RDWR])  # or it waits for an answer
        if way == "source of rtp":
            said_of(url, kind, decoder, ALLOWED, transport)
            assert target.was_reached()
            return
        reached = threading.Event()
        target.tcp.setblocking(True)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    target.tcp.accept()[0].close()
                    reached.set()

        thread = threading.Thread(target=accept)
        thread.start()
        said_of(url, kind, decoder, ALLOWED, transport)
        answering.start()
        thread.join(PATIENCE_S)
        answering.join()
        assert reached.is_set()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("scheme", "kind"), [("http", "HTTP"), ("rtsp", "RTSP"), ("rtmp", "RTMP")])
def test_a_name_that_leads_elsewhere_by_the_time_it_is_used_is_refused(
    scheme: str, kind: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's resolver says what the first answer was; FFmpeg asks again, and gets the true one."""
    asked = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: asked("127.88.0.1", *rest, **more))
    with socket.create_server(("127.0.0.1", 0)) as local:
        local.setblocking(False)
        address = f"{scheme}://localhost:{local.getsockname()[1]}/live/cam"
        no_localhost = policy("127.0.0.0/24", "::1/128")
        no_localhost.check(address)
        assert "deny_networks" in said_of(address, kind, decoder, no_localhost)
        with pytest.raises(BlockingIOError):
            local.accept()


@pytest.mark.parametrize(
    ("address", "numbered"),
    [
        ("srt://cam.test:9000?mode=caller&passphrase=cam.test", "srt://192.0.2.7:9000?mode=caller&passphrase=cam.test"),
        ("srt://192.0.2.9:9000", "srt://192.0.2.9:9000"),
        ("srt://[2001:db8::1]:9000?latency=1", "srt://[2001:db8::1]:9000?latency=1"),
        ("srt://0.0.0.0:9000?mode=listener", "srt://0.0.0.0:9000?mode=listener"),
        ("srt://:9000", "srt://:9000"),
    ],
)
def test_what_connects_unwatched_gets_the_address_that_was_judged(
    address: str, numbered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = socket.getaddrinfo

    def answer(host: str, *rest: Any, **more: Any) -> Any:
        return asked("192.0.2.7" if host == "cam.test" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert Egress(ALLOWED).numbered(address) == numbered
    with pytest.raises(SourceError, match="deny_networks"):
        Egress(policy("192.0.2.0/24")).numbered("srt://cam.test:9000")


def test_an_ffmpeg_that_cannot_be_watched_is_not_used(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setattr(connect_watch, "_LIBRARY", "libabsent")
    for decoder in DECODERS:
        said = said_of(f"http://{TARGET}:{target.port}/x", "HTTP", decoder, ALLOWED)
        assert "no libabsent is loaded" in said and "a firewall" in said
    assert not target.was_reached()
    with Egress(policy()):  # as that error says: without networks in the settings there is nothing to watch
        pass


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_proxy_of_the_environment_is_not_asked(decoder: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{TARGET}:{target.port}")
    with http_server({}) as there:
        assert "404" in said_of(f"{there}/cam", "HTTP", decoder, ALLOWED)
    assert not target.was_reached()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("named", ["file:{clip}", "{clip}", "concat:{clip}", "subfile,,start,0,end,0,,:{clip}"])
def test_a_playlist_from_the_network_opens_no_file(named: str, decoder: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.ts", frames=30)
    with http_server({"/x.m3u8": playlist("#EXTINF:1,", named.format(clip=clip))}) as there:
        assert said_of(f"{there}/x.m3u8", "HTTP", decoder, ALLOWED)
    with http_server({"/x.m3u8": playlist("#EXTINF:1,", "a.ts"), "/a.ts": (200, {}, clip.read_bytes())}) as there:
        assert said_of(f"{there}/x.m3u8", "HTTP", decoder, ALLOWED) == ""


def shown(path: Path, allowed: Policy | None, decoder: str = "av", kind: str = "VIDEO") -> int:
    """How many pictures come from a file or a folder."""
    spec = SourceSpec(url=str(path), source_type=kind, fps=AS_FAST_AS_IT_GOES, decoder=decoder, policy=allowed)
    return sum(1 for _ in open_source(spec, stopping=threading.Event(), monitor=SourceMonitor()))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["video.mp4", "video.m3u8", "video.ts"])
def test_a_playlist_in_a_local_file_leads_nowhere(name: str, decoder: str, tmp_path: Path, target: Target) -> None:
    clip = write_clip(tmp_path / "a.ts", frames=30)
    for line in (f"file:{clip}", "a.ts", f"http://{TARGET}:{target.port}/a.ts"):
        (tmp_path / name).write_bytes(playlist("#EXTINF:1,", line)[2])
        with pytest.raises(SourceMissingError):
            shown(tmp_path / name, None, decoder)
    assert not target.was_reached()


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_is_read_where_tasks_may_read_and_nowhere_else(decoder: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    only = policy(files=inside)
    assert shown(write_clip(inside / "a.mp4", frames=12), only, decoder) == 12
    write_clip(outside / "b.mp4", frames=12)
    (inside / "link.mp4").symlink_to(outside / "b.mp4")
    assert shown(outside / "b.mp4", None, decoder) == 12
    words = set()
    for path in (
        outside / "b.mp4",
        inside / "link.mp4",
        inside / "../out/b.mp4",
        outside / "absent",
        Path("/dev/zero"),
    ):
        with pytest.raises(SourceMissingError, match="file_dirs") as refused:
            shown(path, only, decoder)
        words.add(str(refused.value).partition(" does not ")[2])  # nothing tells whether it is there
    assert len(words) == 1


def test_pictures_that_are_links_out_of_their_folder_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "a.jpg").write_bytes(encode_jpeg(picture(0), quality=90))
    (outside / "b.jpg").write_bytes(encode_jpeg(picture(1), quality=90))
    (inside / "b.jpg").symlink_to(outside / "b.jpg")
    (inside / "more").symlink_to(outside)
    only = policy(files=inside)
    assert shown(inside, only, kind="IMG_DIR") == 1
    assert "does not lie in the directories that tasks may read" in caplog.text
    assert shown(inside, None, kind="IMG_DIR") == 3
    with pytest.raises(SourceMissingError, match="file_dirs"):
        shown(outside, only, kind="IMG_DIR")


@pytest.mark.parametrize("decoder", DECODERS)
def test_only_a_camera_is_opened_as_one(decoder: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    said = said_of(f"/dev/video/../..{tmp_path}/secret", "CAMERA", decoder, ALLOWED)
    assert "is no camera of this machine" in said
    assert "no such device" in said_of("/dev/video97", "CAMERA", decoder, ALLOWED)


def test_whoever_is_asked_why_a_stream_fails_is_no_denied_one(target: Target) -> None:
    assert "deny_networks" in why_not(f"rtsp://{TARGET}:{target.port}/x", PATIENCE_S, Egress(FORBIDDEN))
    moved = f"RTSP/1.0 302 Moved\n{{cseq}}\nLocation: rtsp://{TARGET}:{target.port}/x\n\n"
    with rtsp_server(lambda method: moved) as there:
        assert "deny_networks" in refusal(there, PATIENCE_S, Egress(FORBIDDEN))
    assert not target.was_reached()
    assert why_not(f"rtsp://{TARGET}:{target.port}/x", 2.0, Egress(ALLOWED)) == ""
    assert target.was_reached()


def test_a_gb28181_platform_and_the_media_it_offers_pass_the_policy(target: Target) -> None:
    with pytest.raises(SourceError, match="deny_networks"):
        look_up(TARGET, target.port, Egress(FORBIDDEN))
    assert look_up(TARGET, target.port, Egress(ALLOWED)).host_port == (TARGET, target.port)
    for allowed in (FORBIDDEN, ALLOWED):
        receiver = TcpReceiver("127.0.0.1", 0, listening=False, stopping=threading.Event(), egress=Egress(allowed))
        with contextlib.closing(receiver):
            if allowed is FORBIDDEN:
                with pytest.raises(SourceError, match="deny_networks"):
                    receiver.expect(None, sender=(TARGET, target.port))
            else:
                receiver.expect(None, sender=(TARGET, target.port))
        assert target.was_reached() is (allowed is ALLOWED)


def test_nothing_is_judged_once_a_source_is_read(target: Target) -> None:
    """The watch stands for the whole process: whoever opens an address beside a task's source is not in its way."""
    egress = Egress(FORBIDDEN)
    with egress:
        assert not egress.allows(TARGET)
    with pytest.raises(SourceError, match="deny_networks"):
        egress.raise_if_refused()
    egress.forget()
    egress.raise_if_refused()
    before = set(os.listdir("/proc/self/fd"))
    assert "deny_networks" in said_of(f"http://{TARGET}:{target.port}/x", "HTTP", "av", FORBIDDEN)
    assert set(os.listdir("/proc/self/fd")) <= before
