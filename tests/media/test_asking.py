from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from streamserver.media.asking import refusal
from tests.servers.clips import make_clip
from tests.servers.rtsp import RtspServer

PATIENCE_S = 30.0
PASSWORD = "p/?#@ : ss"


@contextmanager
def server(answer: Callable[[str], bytes | None]) -> Iterator[tuple[int, list[str]]]:
    """A port where each request's head is answered; ``None`` leaves the asker waiting. With what was asked."""
    asked: list[str] = []
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                head = b""
                while b"\r\n\r\n" not in head and (data := connection.recv(4096)):
                    head += data
                asked.append(head.decode("latin-1"))
                reply = answer(asked[-1])
                if reply is None:
                    held.append(connection)
                else:
                    connection.sendall(reply)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], asked
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
            for connection in held:
                connection.close()


@pytest.mark.parametrize(
    ("scheme", "reply", "reason"),
    [
        ("http", "HTTP/1.1 200 OK", ""),
        ("http", "HTTP/1.0 401 Unauthorized", "the user name or the password was refused (401)"),
        ("http", "HTTP/1.1 403 Forbidden", "access was refused (403)"),
        ("http", "HTTP/1.1 404 Not Found", "there is no such stream (404)"),
        ("http", "HTTP/1.1 503 Whatever secret", "the server refuses (503 Service Unavailable)"),
        ("http", "RTSP/1.0 404 Not Found", "there is no such stream (404)"),
        ("rtsp", "RTSP/1.0 200 OK", ""),
        ("rtsp", "RTSP/1.0 454 Session Not Found", "there is no such stream (404)"),
        ("rtsp", "RTSP/1.0 453 Not Enough Bandwidth", "the server refuses (453)"),
        ("rtsp", "SSH-2.0-OpenSSH_9.2", "what answers there does not speak RTSP"),
        ("http", "\xff\x00 garbage", "what answers there does not speak HTTP"),
        ("http", "", "what answers there does not speak HTTP"),
    ],
)
def test_a_refusal_is_put_into_words(scheme: str, reply: str, reason: str) -> None:
    with server(lambda head: reply.encode("latin-1") + b"\r\nX: y\r\n\r\n" if reply else b"") as (port, asked):
        assert refusal(f"{scheme}://127.0.0.1:{port}/live/cam?a=b", PATIENCE_S) == reason
    target = f"rtsp://127.0.0.1:{port}/live/cam?a=b" if scheme == "rtsp" else "/live/cam?a=b"
    assert asked[0].split("\r\n")[0].split(" ")[1] == target


def test_a_login_is_sent_when_it_is_asked_for() -> None:
    expected = f"Basic {base64.b64encode(f'user:{PASSWORD}'.encode()).decode()}"

    def answer(head: str) -> bytes:
        allowed = f"Authorization: {expected}\r\n" in head
        return (
            b"HTTP/1.1 200 OK\r\n\r\n" if allowed else b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="r"\r\n\r\n'
        )

    with server(answer) as (port, asked):
        assert refusal(f"http://user:{PASSWORD}@127.0.0.1:{port}/cam", PATIENCE_S) == ""
        assert refusal(f"http://user:wrong@127.0.0.1:{port}/cam", PATIENCE_S).endswith("(401)")
        assert refusal(f"http://127.0.0.1:{port}/cam", PATIENCE_S).endswith("(401)")
    assert len(asked) == 5
    assert "Authorization" not in asked[0]
    assert f"Host: 127.0.0.1:{port}\r\n" in asked[0]
    assert asked[0].startswith("GET /cam HTTP/1.1\r\n")


def test_the_way_to_another_address_is_followed_without_the_login() -> None:
    def answer(head: str) -> bytes:
        if head.startswith("GET /old"):
            return b"HTTP/1.1 302 Found\r\nLocation: /new?x=1\r\n\r\n"
        return b"HTTP/1.1 404 Not Found\r\n\r\n"

    with server(answer) as (port, asked):
        assert refusal(f"http://user:secret@127.0.0.1:{port}/old/cam", PATIENCE_S) == "there is no such stream (404)"
    assert asked[1].startswith("GET /new?x=1 ")
    assert "secret" not in asked[1]


@pytest.mark.parametrize(("location", "reason"), [("/again", "from one address to the next"), ("file:///etc", "(302")])
def test_an_address_that_leads_nowhere_is_not_followed_for_ever(location: str, reason: str) -> None:
    reply = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode()
    with server(lambda head: reply) as (port, asked):
        assert reason in refusal(f"http://127.0.0.1:{port}/cam", PATIENCE_S)
    assert len(asked) <= 4


def test_no_address_smuggles_lines_into_the_request() -> None:
    with server(lambda head: b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        assert refusal(f"http://127.0.0.1:{port}/a b\r\nX-Evil: 1\r\n/中", PATIENCE_S) == ""
    assert "X-Evil" not in asked[0].split("\r\n", 1)[1]
    assert asked[0].startswith("GET /a%20b%0D%0AX-Evil:%201%0D%0A/%E4%B8%AD HTTP/1.1\r\n")


def test_a_server_that_does_not_answer_is_waited_for_only_so_long() -> None:
    with server(lambda head: None) as (port, _):
        assert refusal(f"rtsp://127.0.0.1:{port}/cam", 0.3) == "no answer in time"


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_a_server_without_tls_is_named(scheme: str) -> None:
    with server(lambda head: b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        reason = refusal(f"{scheme}://127.0.0.1:{port}/cam", 0.5)
    assert reason.startswith("TLS failed") or reason in ("no answer in time", "the other side broke the connection off")


def test_nobody_there_and_other_kinds_of_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert refusal(f"http://127.0.0.1:{taken.getsockname()[1]}/", PATIENCE_S) == "the connection was refused"
    assert refusal("rtmp://127.0.0.1:1/live/cam", PATIENCE_S) == ""
    assert refusal("/tmp/clip.mp4", PATIENCE_S) == ""


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_a_real_rtsp_server_refuses_only_the_wrong_password(auth: str) -> None:
    clip = make_clip(size_wh=(160, 120), seconds=2.0)
    with RtspServer(clip, user="us er", password=PASSWORD, auth=auth) as camera:
        for raw in (False, True):
            assert refusal(camera.url_with("us er", PASSWORD, raw=raw), PATIENCE_S) == ""
        assert refusal(camera.url_with("us er", "wrong"), PATIENCE_S).endswith("(401)")
        assert refusal(f"{camera.url}/absent", PATIENCE_S) == "there is no such stream (404)"


def test_a_real_rtsps_server_is_asked_over_tls() -> None:
    with RtspServer(make_clip(size_wh=(160, 120), seconds=2.0), tls=True) as camera:
        assert refusal(camera.url, PATIENCE_S) == ""
        assert refusal(f"{camera.url}/absent", PATIENCE_S) == "there is no such stream (404)"
