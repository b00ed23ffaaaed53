from __future__ import annotations

import base64
import hmac
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

import pytest

from streamserver.core.errors import AlarmRefusedError, ConfigError, DeliveryError
from streamserver.core.outgoing import Policy
from streamserver.core.secrets import register
from streamserver.sinks.http import HttpSink
from streamserver.sinks.sink import Alarm
from tests.business.support import Receiver, receiver
from tests.servers.ports import free_port

ALARM = Alarm(id="0190-a", body=b'[{"FrameIndex":1}]', created=1_700_000_000.0, attempt=2)


@pytest.fixture
def address() -> Iterator[Receiver]:
    with receiver() as server:
        yield server


def sink(url: str, *, task_id: str = "t1", total_timeout_s: float = 60.0, secret: str = "") -> HttpSink:
    return HttpSink(
        url,
        task_id=task_id,
        connect_timeout_s=30.0,
        total_timeout_s=total_timeout_s,
        policy=Policy(),
        secret=secret,
    )


def raw(reply: bytes, *, wait_s: float = 0.0) -> Callable[[BaseHTTPRequestHandler], None]:
    """An address that answers with ``reply`` as it stands and keeps the connection open for ``wait_s``."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(reply)
        time.sleep(wait_s)

    return act


def drip(first: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """An address that sends ``first``, then a byte every 50 ms for as long as somebody listens."""

    def act(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(first)
            for _ in range(200):
                handler.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    return act


def test_an_alarm_is_posted_as_it_is_with_its_headers(address: Receiver) -> None:
    with closing(sink(address.url)) as http:
        http.send(ALARM)
    [(headers, body)] = address.posts
    assert body == [{"FrameIndex": 1}]
    assert {name: headers[name] for name in ("X-Alarm-Id", "X-Task-Id", "X-Attempt", "Content-Type")} == {
        "X-Alarm-Id": "0190-a", "X-Task-Id": "t1", "X-Attempt": "2", "Content-Type": "application/json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "task_id", ["任务 一", "a b", "50%", "%41", " x", "a\r\nX-Evil: 1", "é", "a/../b", "\ud800", ""]
)
def test_any_task_id_travels_in_the_header(address: Receiver, task_id: str) -> None:
    with closing(sink(address.url, task_id=task_id)) as http:
        http.send(ALARM)
    [(headers, _)] = address.posts
    assert "X-Evil" not in headers
    expected = "\\ud800" if task_id == "\ud800" else task_id
    assert unquote(headers["X-Task-Id"]) == expected


def test_plain_task_ids_are_not_encoded(address: Receiver) -> None:
    with closing(sink(address.url, task_id="cam 1/left")) as http:
        http.send(ALARM)
    assert address.posts[0][0]["X-Task-Id"] == "cam 1/left"


def test_one_connection_serves_many_alarms(address: Receiver) -> None:
    with closing(sink(address.url)) as http:
        for _ in range(5):
            http.send(ALARM)
    assert (len(address.posts), address.connections) == (5, 1)


def test_a_kept_connection_that_the_receiver_closed_is_opened_again(address: Receiver) -> None:
    address.headers = [("Connection", "keep-alive")]
    with closing(sink(address.url)) as http:
        http.send(ALARM)
        address.act = lambda handler: None  # closes without an answer, as a receiver with an idle limit does
        with pytest.raises(DeliveryError):
            http.send(ALARM)
        address.act = None
        http.send(ALARM)
    assert len(address.posts) == 2


@pytest.mark.parametrize("status", [201, 204, 299])
def test_every_2xx_is_success(address: Receiver, status: int) -> None:
    address.status, address.reply = status, b""
    with closing(sink(address.url)) as http:
        http.send(ALARM)


@pytest.mark.parametrize("status", [400, 404, 413, 500, 503])
def test_any_other_answer_is_a_failure_that_quotes_it(address: Receiver, status: int) -> None:
    address.status, address.reply = status, b"picture save error"
    with (
        closing(sink(address.url)) as http,
        pytest.raises(DeliveryError, match=f"answered {status} 'picture save error'"),
    ):
        http.send(ALARM)


def test_a_secret_at_the_end_of_the_quoted_part_of_an_answer_is_hidden_as_a_whole(address: Receiver) -> None:
    register("http://u:quoted-back@h/")
    address.status, address.reply = 500, b"x" * 193 + b"quoted-back"
    with closing(sink(address.url)) as http, pytest.raises(DeliveryError) as caught:
        http.send(ALARM)
    assert "x***" in str(caught.value)
    assert "quoted" not in str(caught.value)


def test_a_redirect_is_not_followed(address: Receiver) -> None:
    with receiver() as other:
        address.status, address.headers = 302, [("Location", other.url)]
        with closing(sink(address.url)) as http, pytest.raises(DeliveryError, match=r"302 \(redirects are not"):
            http.send(ALARM)
        assert other.posts == []


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (raw(b""), "broke the connection off without an answer; its own log"),
        (raw(b"\x00\xff garbage\r\n\r\n"), "BadStatusLine"),
        (raw(b"HTTP/1.1 999999 no\r\n\r\n"), "BadStatusLine"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "more than 100 headers"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), "LineTooLong"),
        (raw(b"", wait_s=3), "timed out: no answer within 0.8 s"),
        (drip(b""), "timed out: no answer within 0.8 s"),
        (drip(b"HTTP/1.1 200 OK\r\nX: "), "timed out: no answer within 0.8 s"),
    ],
)
def test_receivers_that_misbehave_fail_in_time(
    address: Receiver, act: Callable[[BaseHTTPRequestHandler], None], problem: str
) -> None:
    address.act = act
    limit_s = 0.8 if "0.8 s" in problem else 60.0
    with closing(sink(address.url, total_timeout_s=limit_s)) as http, pytest.raises(DeliveryError, match=problem):
        http.send(ALARM)


def test_a_receiver_that_tells_to_go_on_for_ever_is_left(address: Receiver) -> None:
    """Python's HTTP client takes each ``100 Continue`` for nothing, and would read them until the time is up."""
    address.act = raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000)
    with closing(sink(address.url)) as http, pytest.raises(DeliveryError, match="over 1000000 bytes"):
        http.send(ALARM)


@pytest.mark.parametrize(
    ("act", "limit_s"),
    [
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"), 60.0),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 300_000), 60.0),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000), 60.0),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 60.0),
        (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"), 2.0),
    ],
    ids=["short", "long", "without an end", "broken chunks", "a byte at a time"],
)
def test_after_a_2xx_a_bad_body_changes_nothing(
    address: Receiver, act: Callable[[BaseHTTPRequestHandler], None], limit_s: float
) -> None:
    address.act = act
    with closing(sink(address.url, total_timeout_s=limit_s)) as http:
        http.send(ALARM)
        address.act = None
        http.send(ALARM)
    assert len(address.posts) == 1


def test_a_receiver_that_does_not_read_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        big = Alarm(id="a", body=b"x" * 30_000_000, created=0.0)
        with (
            closing(sink(url, total_timeout_s=0.5)) as http,
            pytest.raises(DeliveryError, match=r"no answer within 0\.5 s"),
        ):
            http.send(big)


def test_nobody_there_is_a_failure_that_names_the_address_without_its_secrets() -> None:
    url = f"http://user:secret@127.0.0.1:{free_port()}/up?token=abc"
    with (
        closing(sink(url)) as http,
        pytest.raises(DeliveryError, match="the connection was refused; is the receiver") as caught,
    ):
        http.send(ALARM)
    assert "secret" not in str(caught.value) and "abc" not in str(caught.value)


def test_user_and_password_of_the_address_become_basic_authentication(address: Receiver) -> None:
    with closing(sink(f"http://us%20er:p%40ss@127.0.0.1:{address.port}/up load?q=一")) as http:
        http.send(ALARM)
    assert address.posts[0][0]["Authorization"] == "Basic " + base64.b64encode(b"us er:p@ss").decode()


def test_proxies_of_the_environment_are_ignored(address: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with closing(sink(address.url)) as http:
        http.send(ALARM)
    assert len(address.posts) == 1


def test_what_application_web_refuses_with_200_has_not_arrived(address: Receiver) -> None:
    address.reply = '{"code":-1,"msg":"参数错误"}'.encode()
    with closing(sink(address.url)) as http, pytest.raises(AlarmRefusedError, match="参数错误"):
        http.send(ALARM)


def test_retry_after_comes_with_the_error(address: Receiver) -> None:
    address.status, address.headers = 503, [("Retry-After", "17")]
    with closing(sink(address.url)) as http, pytest.raises(DeliveryError) as caught:
        http.send(ALARM)
    assert caught.value.retry_after_s == 17.0 and not caught.value.unreachable


def test_a_report_is_signed_when_there_is_a_secret(address: Receiver) -> None:
    with closing(sink(address.url, secret="the key 钥匙")) as http:
        http.send(ALARM)
    [(headers, _)] = address.posts
    assert abs(int(headers["X-Timestamp"]) - time.time()) < 3600
    signed = f"{headers['X-Alarm-Id']}.{headers['X-Timestamp']}.".encode() + ALARM.body
    assert headers["X-Signature"] == "sha256=" + hmac.new("the key 钥匙".encode(), signed, "sha256").hexdigest()


def test_without_a_secret_nothing_is_signed(address: Receiver) -> None:
    with closing(sink(address.url)) as http:
        http.send(ALARM)
    assert not {"X-Timestamp", "X-Signature"} & set(address.posts[0][0])


def test_a_knock_tells_whether_somebody_listens_and_leaves_a_connection_to_use(address: Receiver) -> None:
    with closing(sink(address.url)) as http:
        http.knock()
        http.send(ALARM)
    assert (len(address.posts), address.connections) == (1, 1)
    with closing(sink(f"http://127.0.0.1:{free_port()}/")) as http, pytest.raises(DeliveryError) as caught:
        http.knock()
    assert caught.value.unreachable


def test_what_is_no_http_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ftp://x' is no http or https address"):
        sink("ftp://x")


def test_a_tls_handshake_that_never_ends_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with (
            closing(sink(url, total_timeout_s=0.4)) as http,
            pytest.raises(DeliveryError, match=r"no connection within 0\.4 s"),
        ):
            http.send(ALARM)
