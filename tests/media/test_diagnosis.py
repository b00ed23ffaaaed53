from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from streamserver.media import diagnosis
from streamserver.media.diagnosis import Endpoint, endpoint_of, why_no_name, why_not

PATIENCE_S = 30.0


@contextmanager
def host_that_says(answer: bytes | None) -> Iterator[int]:
    """A host that answers whoever connects, or never says a word (``None``); gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        visitors: list[socket.socket] = []

        def welcome() -> None:
            visitor, _ = server.accept()
            visitors.append(visitor)
            if answer is not None:
                visitor.recv(4096)
                visitor.sendall(answer)

        thread = threading.Thread(target=welcome)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            thread.join(PATIENCE_S)
            for visitor in visitors:
                visitor.close()


@contextmanager
def host_that_is_full() -> Iterator[int]:
    """A host that takes no more connections and does not refuse them either: packets get lost on the way to it."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "endpoint", "is_name"),
    [
        ("rtsp://cam/1", Endpoint("rtsp", "cam", 554), True),
        ("RTSPS://u:p%40@10.0.0.1/1", Endpoint("rtsps", "10.0.0.1", 322), False),
        ("rtsp://admin:p@ss/w?r#d@10.0.0.1:8554/1", Endpoint("rtsp", "10.0.0.1", 8554), False),
        ("http://[::1]:81/x", Endpoint("http", "::1", 81), False),
        ("https://cam.example/x?u=a@b", Endpoint("https", "cam.example", 443), True),
        ("rtmp://cam/live", Endpoint("rtmp", "cam", 1935), True),
        ("udp://@239.0.0.1:1234", Endpoint("udp", "239.0.0.1", 1234), False),
        ("udp://:1234", Endpoint("udp", "", 1234), False),
        ("/dev/video0", Endpoint("", "", 0), False),
    ],
)
def test_an_address_says_where_it_leads(address: str, endpoint: Endpoint, is_name: bool) -> None:
    assert endpoint_of(address) == endpoint
    assert endpoint.is_name is is_name


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "https", "udp"])
def test_a_name_that_nobody_knows_is_named(scheme: str) -> None:
    address = f"{scheme}://user:secret@camera.invalid:4321/x"
    assert why_not(address, PATIENCE_S) == "the name 'camera.invalid' cannot be resolved"
    assert why_no_name(address, PATIENCE_S) == "the name 'camera.invalid' cannot be resolved"
    assert why_not(f"{scheme}://a{'b' * 70}.invalid:1/x", PATIENCE_S).endswith("cannot be resolved")


def test_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        release.wait(PATIENCE_S)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert why_no_name("rtsp://cam.example/1", 0.05) == "no resolver has answered for the name 'cam.example' in time"
    release.set()


def test_a_closed_port_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert why_not(f"rtsp://127.0.0.1:{taken.getsockname()[1]}/1", PATIENCE_S) == "the connection was refused"


def test_a_host_that_swallows_packets_gives_no_answer_in_time() -> None:
    with host_that_is_full() as port:
        assert why_not(f"rtsp://127.0.0.1:{port}/1", 0.2) == "no answer in time"


@pytest.mark.parametrize(
    ("scheme", "answer", "limit_s", "reason"),
    [
        ("rtsp", None, PATIENCE_S, ""),
        ("https", b"HTTP/1.0 400 This is no TLS\r\n\r\n", PATIENCE_S, "TLS failed: "),
        ("rtsps", None, 0.3, "no answer in time"),
    ],
)
def test_a_host_that_answers_is_asked_for_tls_where_it_should_speak_it(
    scheme: str, answer: bytes | None, limit_s: float, reason: str
) -> None:
    with host_that_says(answer) as port:
        said = why_not(f"{scheme}://user:secret@127.0.0.1:{port}/1", limit_s)
    assert said.startswith(reason)
    assert bool(said) is bool(reason)
    assert "secret" not in said


def test_what_cannot_be_asked_is_not_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not("udp://127.0.0.1:1", PATIENCE_S) == ""
    assert why_not("udp://:1234", PATIENCE_S) == ""
    assert why_not("/dev/video0", PATIENCE_S) == ""
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert why_not("http://only.the.proxy.knows.invalid/x", PATIENCE_S) == ""
    assert why_no_name("http://only.the.proxy.knows.invalid/x", PATIENCE_S) == ""


def test_each_failure_of_a_connection_has_words_of_its_own() -> None:
    numbers = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRINUSE)
    assert len({diagnosis.words_for(number) for number in numbers} - {""}) == len(numbers)
    assert diagnosis.words_for(errno.EIO) == diagnosis.words_for(None) == ""
