"""The endpoint for pictures, over real connections: what is taken, what is refused, and that nothing taken is lost."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.states import SourceState
from streamserver.media import picture_server, pictures_over_http
from streamserver.media.picture_request import MAX_PICTURES
from streamserver.media.picture_server import MAX_BODY_BYTES, MAX_CONNECTIONS
from streamserver.media.sources import SourceFrame, SourceSpec, open_source
from streamserver.vision.codec import encode_jpeg
from tests.media.clips import picture
from tests.servers.ports import free_port

PATIENCE_S = 60.0
JPEG = encode_jpeg(picture(0))


class Source:
    """A channel whose frames are fetched by a thread as the engine's reader would, while ``going`` is set."""

    def __init__(self, port: int, path: str = "/cam1", host: str = "127.0.0.1") -> None:
        self.monitor = SourceMonitor()
        self.stopping = threading.Event()
        self.going = threading.Event()
        self.going.set()
        self.frames: list[SourceFrame] = []
        self.error: Exception | None = None
        self.spec = SourceSpec(url=f"base64://{host}:{port}{path}", source_type="BASE64")
        self.thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        try:
            for frame in open_source(self.spec, stopping=self.stopping, monitor=self.monitor):
                self.frames.append(frame)
                while not self.going.wait(0.05) and not self.stopping.is_set():
                    pass
        except Exception as e:  # noqa: BLE001 - shown by the test
            self.error = e

    def wait_for(self, count: int) -> None:
        wait(lambda: len(self.frames) >= count or self.error is not None)
        assert self.error is None and len(self.frames) == count


def wait(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def reading(port: int, path: str = "/cam1", host: str = "127.0.0.1") -> Iterator[Source]:
    source = Source(port, path, host)
    source.thread.start()
    try:
        wait(lambda: source.error is not None or listens(port, "::1" if ":" in host else "127.0.0.1"))
        yield source
    finally:
        source.stopping.set()
        source.thread.join(PATIENCE_S)
        assert not source.thread.is_alive()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def ask(
    port: int, body: bytes = JPEG, *, method: str = "POST", path: str = "/cam1", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], dict[str, str]]:
    """Status, JSON and headers of an exchange."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}"), dict(answer.headers)


def test_pictures_come_in_order_with_the_time_at_which_they_were_taken() -> None:
    port = free_port()
    with reading(port, "/cam%201/x") as source:
        before, began = time.time_ns() // 1000, time.monotonic()
        assert source.monitor.report().state is SourceState.CONNECTING
        for number in range(3):
            status, said, _ = ask(port, encode_jpeg(picture(number)), path="/cam%201/x?n=1")
            assert (status, said) == (200, {"status": "success", "message": "1 picture taken"})
        many = {"ImageBase64": [base64.b64encode(encode_jpeg(picture(n, (32, 24)))).decode() for n in (3, 4)]}
        assert ask(port, json.dumps(many).encode(), path="/cam%201/x")[1]["message"] == "2 pictures taken"
        source.wait_for(5)
        report = source.monitor.report()
        assert (report.state, report.connects, report.stream) == (SourceState.STREAMING, 1, "pictures 64x48")
    frames = source.frames
    assert [frame.frame_id for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.discontinuity for frame in frames] == [True, False, False, True, False], "another size breaks it"
    assert all(np.abs(frame.picture.bgr.astype(int) - picture(n)).mean() < 12 for n, frame in enumerate(frames[:3]))
    stamps = [before, *(frame.timestamp_us for frame in frames)]
    assert stamps == sorted(stamps)
    clocks = [began, *(frame.clock_s for frame in frames), time.monotonic()]
    assert clocks == sorted(clocks)
    assert not listens(port), "the port is given back"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "says"),
    [
        ("POST", "/cam2", JPEG, {}, 404, "no endpoint"),
        ("POST", "/cam1/", JPEG, {}, 404, "no endpoint"),
        ("GET", "/cam1", b"", {}, 405, "post pictures here"),
        ("POST", "/cam1", b"x", {}, 400, "neither a JPEG"),
        ("POST", "/cam1", JPEG[:200], {}, 400, "picture 0"),
        ("POST", "/cam1", JPEG, {"Sec-Fetch-Site": "cross-site"}, 403, "other sites"),
        ("POST", "/cam1", JPEG, {"Origin": "http://evil.example"}, 403, "other sites"),
        ("POST", "/cam1", JPEG, {"Origin": "http://evil.example", "Host": "evil.example"}, 403, "other sites"),
        ("POST", "/cam1", b"", {"Content-Length": str(MAX_BODY_BYTES + 1)}, 413, str(MAX_BODY_BYTES)),
        ("POST", "/cam1", b"", {"Content-Length": "-1"}, 411, "Content-Length"),
        ("POST", "/cam1", b"", {"Transfer-Encoding": "chunked"}, 411, "Content-Length"),
    ],
)
def test_what_is_not_meant_so_is_refused_with_the_reason(
    method: str, path: str, body: bytes, headers: dict[str, str], status: int, says: str
) -> None:
    port = free_port()
    with reading(port) as source:
        found, said, _ = ask(port, body, method=method, path=path, headers=headers)
        assert (found, said["status"]) == (status, "error")
        assert says in said["message"]
        assert ask(port)[0] == 200
        source.wait_for(1)


def test_a_sender_is_held_back_while_the_engine_is_busy_and_nothing_that_was_taken_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures_over_http, "_ROOM_S", 0.2)
    port = free_port()
    with reading(port) as source:
        source.going.clear()
        answers = [ask(port) for _ in range(MAX_PICTURES + 3)]
        taken = [status for status, _, _ in answers].count(200)
        assert taken in (MAX_PICTURES, MAX_PICTURES + 1), "a queue, and the one that the engine has in hand"
        status, said, headers = answers[-1]
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "busy" in said["message"]
        source.going.set()
        source.wait_for(taken)
        assert ask(port)[0] == 200
        source.wait_for(taken + 1)


def test_a_sender_waits_for_room_rather_than_being_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_over_http, "_ROOM_S", PATIENCE_S)
    port = free_port()
    with reading(port) as source:
        source.going.clear()
        threading.Timer(0.5, source.going.set).start()
        assert [ask(port)[0] for _ in range(MAX_PICTURES + 4)] == [200] * (MAX_PICTURES + 4)
        source.wait_for(MAX_PICTURES + 4)


def test_channels_share_a_port_by_their_paths_and_one_path_has_one_channel() -> None:
    port = free_port()
    with reading(port) as first, reading(port, "/cam2") as second:
        wait(lambda: ask(port, path="/cam2")[0] == 200)
        assert ask(port)[0] == 200
        first.wait_for(1)
        second.wait_for(1)
        with reading(port) as third:
            wait(lambda: third.error is not None)
            assert isinstance(third.error, SourceMissingError)
            assert "path of its own" in str(third.error)
        first.stopping.set()
        first.thread.join(PATIENCE_S)
        assert ask(port)[0] == 404
        assert ask(port, path="/cam2")[0] == 200


def test_a_port_that_is_taken_is_tried_again_until_it_is_free() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as other, reading(port) as source:
        wait(lambda: source.monitor.report().state is SourceState.RECONNECTING)
        assert f"port {port} of 127.0.0.1 cannot be listened at" in source.monitor.report().reason
        other.close()
        wait(lambda: listens(port))
        assert ask(port)[0] == 200
        source.wait_for(1)


def test_one_connection_may_bring_many_pictures() -> None:
    port = free_port()
    with reading(port) as source, closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as sender:
        for _ in range(20):
            sender.request("POST", "/cam1", JPEG)
            assert sender.getresponse().read()
        source.wait_for(20)


def test_clients_that_keep_their_connections_do_not_keep_others_out() -> None:
    port = free_port()
    with reading(port) as source, ExitStack() as clients:
        for count in range(1, MAX_CONNECTIONS + 4):
            sender = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
            clients.enter_context(closing(sender))
            sender.request("POST", "/cam1", JPEG)
            answer = sender.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            source.wait_for(count)
            wait(lambda count=count: len(resting(port)) == min(count, MAX_CONNECTIONS))


def resting(port: int) -> list[socket.socket]:
    return list(pictures_over_http._ports._servers["127.0.0.1", port]._resting)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b'\x16\x03\x01 "x" y z\r\n\r\n', b""),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", b"HTTP/1.1 501 "),
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.1 414 "),
        (b"POST /cam1 HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 431 "),
        (b"POST /cam1 HTTP/9.9\r\n\r\n", b""),
    ],
)
def test_what_is_no_request_is_told_so_in_json(sent: bytes, status: bytes) -> None:
    port = free_port()
    with reading(port), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(sent)
        answer = connection.makefile("rb").read()
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert head.startswith(status)
    said = json.loads(body)
    assert said["status"] == "error"
    assert 0 < len(said["message"]) <= 200


def test_slow_senders_are_cut_off_and_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_server, "EXCHANGE_S", 5.0)
    port = free_port()
    slow: list[socket.socket] = []
    with reading(port) as source:
        for _ in range(MAX_CONNECTIONS):
            slow.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
            slow[-1].sendall(b"POST /cam1 HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + JPEG[:1])
        wait(lambda: ask_raw(port).startswith(b"HTTP/1.1 503"))
        wait(lambda: ask_raw(port).startswith(b"HTTP/1.1 200"))
        for connection in slow:
            assert connection.recv(1000) == b"", "nothing is answered to half a request"
            connection.close()
        source.wait_for(1)


def ask_raw(port: int) -> bytes:
    """The first bytes of an answer; empty when the server had no connection to spare and cut it off."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
            head = f"POST /cam1 HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(JPEG)}\r\n\r\n"
            connection.sendall(head.encode() + JPEG)
            return connection.recv(1000)
    except OSError:
        return b""


def test_a_waiting_source_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures_over_http, "_SIGN_OF_LIFE_S", 0.0)
    monkeypatch.setattr(pictures_over_http, "_POLL_S", 0.05)
    states: list[SourceState] = []
    port, stopping = free_port(), threading.Event()
    monitor = SourceMonitor(lambda state, reason: states.append(state))
    spec = SourceSpec(url=f"base64://127.0.0.1:{port}/cam1", source_type="BASE64")
    frames: list[SourceFrame] = []
    thread = threading.Thread(target=lambda: frames.extend(open_source(spec, stopping=stopping, monitor=monitor)))
    thread.start()
    wait(lambda: states.count(SourceState.CONNECTING) > 2)
    assert ask(port)[0] == 200
    wait(lambda: states.count(SourceState.STREAMING) > 2)
    assert monitor.report().connects == 1
    stopping.set()
    thread.join(PATIENCE_S)
    assert len(frames) == 1


def test_ipv6_is_listened_at_when_the_address_says_so() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as e:
        pytest.skip(f"this machine has no IPv6 on loopback: {e}")
    port = free_port()
    with reading(port, host="[::1]"):
        assert not listens(port)
        assert listens(port, "::1")
