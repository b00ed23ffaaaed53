"""Every kind of stream from a real server, read as a task reads it, by both decoders at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytest

from streamserver.core.errors import StreamServerError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.core.urls import source_type
from streamserver.media import live
from streamserver.media.sources import SourceSpec, open_source
from tests.servers.clips import Clip, frame_number, make_clip
from tests.servers.http import HttpMediaServer
from tests.servers.nginx import NginxServer
from tests.servers.process import wait_until
from tests.servers.publisher import UdpSender, camera_without_hardware, play_into
from tests.servers.rtsp import RtspServer

SIZE_WH = (160, 120)
USER, PASSWORD = "us er@home", "p@ss:w/o#r?d%41&+ \"'ä"
"""Every character that means something in an address, and one that is not ASCII; ``%41`` is no ``A``."""

PASSWORD_AS_WRITTEN = PASSWORD.replace("%41", "%")
"""Not percent-encoded: there, ``%41`` can only be an ``A``."""

S = TypeVar("S")


class Watcher(threading.Thread):
    """Reads a stream as the engine does, in a thread, until the test is over."""

    def __init__(self, url: str, decoder: str, **spec: Any) -> None:
        super().__init__(name=f"{decoder} of {source_type(url)}")
        self._spec = SourceSpec(url=url, source_type=source_type(url), decoder=decoder, **spec)
        self.stopping = threading.Event()
        self.states: list[tuple[SourceState, str]] = []
        self.monitor = SourceMonitor(lambda state, reason: self.states.append((state, reason)))
        self.sizes_wh: set[tuple[int, int]] = set()
        self.numbers: list[int] = []
        self.error = ""

    def run(self) -> None:
        try:
            for frame in open_source(self._spec, stopping=self.stopping, monitor=self.monitor):
                self.sizes_wh.add(frame.picture.size_wh)
                self.numbers.append(frame_number(frame.picture.bgr))
        except StreamServerError as e:
            self.error = str(e)

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.numbers)} frames, {self.states[-6:]}, {self.monitor.report()}, {self.error}>"


@contextmanager
def watching(url: str, url_of_opencv: str = "", **spec: Any) -> Iterator[list[Watcher]]:
    """One watcher for each decoder, of the same stream unless that can only have one."""
    watchers = [Watcher(url, "av", **spec), Watcher(url_of_opencv or url, "opencv", **spec)]
    for watcher in watchers:
        watcher.start()
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.stopping.set()
        for watcher in watchers:
            watcher.join(60)
        assert not any(watcher.is_alive() for watcher in watchers), watchers


def in_order(watcher: Watcher, begin: int = 0) -> int:
    """How many of 14 pictures from ``begin`` on followed the one before."""
    some = watcher.numbers[begin : begin + 14]
    return sum((b - a) % small().frames == 1 for a, b in itertools.pairwise(some))


def wait_for(watchers: list[Watcher], condition: Callable[[Watcher], bool]) -> None:
    """Waits until it holds for all of them."""
    wait_until(
        lambda: all(condition(watcher) or not watcher.is_alive() for watcher in watchers), lambda: repr(watchers)
    )
    assert all(condition(watcher) for watcher in watchers), watchers


class Servers:
    """Those of this module; each is started when a test asks for it first."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], S]) -> S:
        """The server called ``name``."""
        if name not in self._started:
            self._started[name] = self._stack.enter_context(make())  # type: ignore[type-var]
        server: S = self._started[name]
        return server

    def rtsp(self, codec: str = "h264") -> str:
        return self.once(f"rtsp {codec}", lambda: RtspServer(small(codec))).url

    def rtsps(self) -> str:
        return self.once("rtsps", lambda: RtspServer(small(), tls=True, user=USER, password=PASSWORD)).url

    def nginx(self, codec: str = "h264") -> NginxServer:
        server = self.once("nginx", NginxServer)
        publish = {"h264": server.publish, "h265": server.publish_hls}[codec]
        if codec not in server.published:
            publish(codec, small(codec))
        return server

    def http(self, kind: str, codec: str = "h264") -> str:
        return self.once(f"http {codec}", lambda: HttpMediaServer(small(codec))).url(kind)

    def udp(self, codec: str = "h264") -> str:
        """Another port each time: of two that listen at one, only one gets the packets."""
        return self._stack.enter_context(UdpSender(small(codec))).url

    def multicast(self) -> str:
        return self.once("multicast", lambda: UdpSender(small(), multicast=True)).url

    def close(self) -> None:
        self._stack.close()


def small(codec: str = "h264") -> Clip:
    return make_clip(codec=codec, size_wh=SIZE_WH, gop=12)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    all_of_them = Servers()
    try:
        yield all_of_them
    finally:
        all_of_them.close()


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "backoff_s", lambda away_s: 0.1)
    monkeypatch.setattr(live, "backoff_after_refusal_s", lambda: 0.1)


KINDS: dict[str, tuple[Callable[[Servers], str], dict[str, str]]] = {
    "RTSP over TCP, H.264": (Servers.rtsp, {"transport": "tcp"}),
    "RTSP over TCP, H.265": (lambda s: s.rtsp("h265"), {"transport": "tcp"}),
    "RTSP over UDP, H.264": (Servers.rtsp, {"transport": "udp"}),
    "RTSP over UDP, H.265": (lambda s: s.rtsp("h265"), {"transport": "udp"}),
    "RTSPS with a password": (Servers.rtsps, {}),
    "RTMP": (lambda s: s.nginx().rtmp_url("h264"), {}),
    "HTTP-FLV": (lambda s: s.http("flv"), {}),
    "HLS, H.264": (lambda s: s.nginx().hls_url("h264"), {}),
    "HLS, H.265": (lambda s: s.nginx("h265").hls_url("h265"), {}),
    "MPEG-TS over HTTP, H.264": (lambda s: s.http("ts"), {}),
    "MPEG-TS over HTTP, H.265": (lambda s: s.http("ts", "h265"), {}),
    "MPEG-TS over UDP, H.264": (Servers.udp, {}),
    "MPEG-TS over UDP, H.265": (lambda s: s.udp("h265"), {}),
    "MPEG-TS over multicast": (Servers.multicast, {}),
    "MJPEG over HTTP": (lambda s: s.http("mjpeg"), {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_its_pictures_in_order_with_either_decoder(kind: str, servers: Servers) -> None:
    url_of, spec = KINDS[kind]
    with watching(url_of(servers), url_of(servers), **spec) as watchers:
        wait_for(watchers, lambda watcher: len(watcher.numbers) >= 15)
        if "UDP" in kind or "multicast" in kind:  # a busy machine loses some packets, but not for ever
            wait_for(watchers, lambda watcher: any(in_order(watcher, n) >= 10 for n in range(len(watcher.numbers))))
        else:
            assert all(in_order(watcher) == 13 for watcher in watchers), [watcher.numbers for watcher in watchers]
    for watcher in watchers:
        assert watcher.sizes_wh == {SIZE_WH}, watcher


@pytest.mark.parametrize("raw", [True, False], ids=["as people write them", "percent-encoded"])
@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_user_and_password_may_hold_any_character(auth: str, raw: bool) -> None:
    password = PASSWORD_AS_WRITTEN if raw else PASSWORD
    with ExitStack() as stack:
        rtsp = stack.enter_context(RtspServer(small(), user=USER, password=password, auth=auth))
        http = stack.enter_context(HttpMediaServer(small(), user=USER, password=password, auth=auth))
        urls = [rtsp.url_with(USER, password, raw=raw), http.url("flv", raw=raw)]
        watchers = [watcher for url in urls for watcher in stack.enter_context(watching(url))]
        wait_for(watchers, lambda watcher: len(watcher.numbers) >= 3)


def test_a_wrong_password_is_told_from_a_server_that_is_away() -> None:
    reason = "the user name or the password was refused (401)"
    with ExitStack() as stack:
        rtsp = stack.enter_context(RtspServer(small(), user=USER, password=PASSWORD))
        http = stack.enter_context(HttpMediaServer(small(), user=USER, password=PASSWORD))
        http.password = "another"
        urls = [rtsp.url_with(USER, "another"), http.url("ts")]
        watchers = [watcher for url in urls for watcher in stack.enter_context(watching(url))]
        wait_for(watchers, lambda watcher: (SourceState.RECONNECTING, reason) in watcher.states)


def test_rtsp_goes_over_to_udp_where_the_server_refuses_tcp() -> None:
    with RtspServer(small(), transports=("udp",)) as server, watching(server.url) as watchers:
        wait_for(watchers, lambda watcher: len(watcher.numbers) >= 3)
    for watcher in watchers:
        states = [state for state, _ in watcher.states]
        assert states == [SourceState.CONNECTING, SourceState.RECONNECTING, SourceState.STREAMING], watcher


def test_a_server_that_was_killed_and_is_back_is_found_again() -> None:
    with NginxServer() as nginx, RtspServer(small()) as rtsp, HttpMediaServer(small()) as http:
        nginx.publish("cam", small())
        urls = [rtsp.url, rtsp.url, nginx.rtmp_url("cam"), http.url("flv")]
        transports = ["tcp", "udp", "auto", "auto"]
        with ExitStack() as stack:
            watchers = [
                watcher
                for url, transport in zip(urls, transports, strict=True)
                for watcher in stack.enter_context(watching(url, transport=transport))
            ]
            wait_for(watchers, lambda watcher: len(watcher.numbers) >= 3)
            for server in (rtsp, http, nginx):
                server.restart()
            wait_for(watchers, lambda watcher: watcher.monitor.report().connects >= 2)
            before = {watcher: len(watcher.numbers) for watcher in watchers}
            wait_for(watchers, lambda watcher: len(watcher.numbers) >= before[watcher] + 3)


def test_another_size_and_another_codec_in_mid_stream_go_on() -> None:
    larger = make_clip(size_wh=(192, 144), gop=12)
    with RtspServer(small()) as server, watching(server.url) as watchers:
        by_av, by_opencv = watchers
        wait_for(watchers, lambda watcher: len(watcher.numbers) >= 3)
        server.switch(larger)
        wait_for([by_av], lambda watcher: larger.size_wh in watcher.sizes_wh)
        server.switch(small("h265"))
        wait_for(watchers, lambda watcher: watcher.monitor.report().connects >= 2)
        before = {watcher: len(watcher.numbers) for watcher in watchers}
        wait_for(watchers, lambda watcher: len(watcher.numbers) >= before[watcher] + 3)
    assert by_opencv.sizes_wh == {SIZE_WH}, "OpenCV stretches what it reads to the first picture's size"
    assert all(watcher.monitor.report().stream.startswith("hevc") for watcher in watchers), watchers


def test_a_camera_of_the_kernel_is_read() -> None:
    device = camera_without_hardware()
    if device is None:
        pytest.skip("the kernel of this machine has no v4l2loopback device: /sys/devices/virtual/video4linux is empty")
    with play_into(small(), device), watching(str(device)) as watchers:
        wait_for(watchers[:1], lambda watcher: len(watcher.numbers) >= 3)
