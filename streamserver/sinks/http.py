"""One POST to a report address: a kept connection, no redirects, no proxies, and a deadline that holds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import io
import re
import socket
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from streamserver.core.errors import ConfigError, DeliveryError, RefusedAddressError
from streamserver.core.outgoing import Policy
from streamserver.core.urls import ascii_host, for_urllib, is_http_url, masked
from streamserver.sinks.answers import Answer, problem_of
from streamserver.sinks.sink import Alarm

_CHUNK_BYTES = 65_536
_MAX_REPLY_BYTES = 65_536
_MAX_ANSWER_BYTES = 1_000_000
"""Of one answer, all that stands before its body included: ``100 Continue`` may come as often as somebody likes."""

_REPLY_BODY_TIMEOUT_S = 1.0
"""A receiver that has said 2xx has taken the alarm; its reply's body is only waited for this long."""

_TARGET_SAFE = "/%?:@!$&'()*+,;=~"
_PLAIN_HEADER = re.compile(r"[!-$&-~](?:[ -$&-~]*[!-$&-~])?")
_BROKEN = (OSError, http.client.HTTPException, ValueError, RefusedAddressError)
_CONNECTION_LOST = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)


def _words(error: Exception) -> str:
    """What was wrong with a connection, and the cure, for whoever reads it in the status of a task."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is the receiver running, and the port right?"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror}); correct the address, or this machine's DNS"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); mend it, or add its CA to this machine's"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error}); is it an https address, and the port right?"
    if isinstance(error, _CONNECTION_LOST):
        return "it broke the connection off without an answer; its own log may say why"
    return f"{type(error).__name__}: {error}"


class HttpSink:
    """Posts alarms to one address.

    Args:
        url: an http or https address; user and password in it become basic authentication.
        task_id: sent as ``X-Task-Id``; percent-encoded UTF-8 unless it is plain ASCII without a percent sign.
        connect_timeout_s: time to connect, for each address a name stands for.
        total_timeout_s: time for everything: connecting, sending and the answer's head.
        policy: where the address may lead; each connection is made to an IP address that it has judged.
        secret: key of ``X-Signature``, an HMAC-SHA256 over alarm id, time and body; empty for no signature.
    """

    def __init__(
        self,
        url: str,
        *,
        task_id: str,
        connect_timeout_s: float,
        total_timeout_s: float,
        policy: Policy,
        secret: str = "",
    ) -> None:
        if not is_http_url(url):
            raise ConfigError(f"report address '{masked(url)}' is no http or https address")
        self.name = masked(url)
        parts = urlsplit(for_urllib(url))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = ascii_host(parts.hostname or "")
        self._port = parts.port or (HTTPSConnection if self._tls else HTTPConnection).default_port
        query = f"?{parts.query}" if parts.query else ""
        self._target = quote((parts.path or "/") + query, safe=_TARGET_SAFE)
        self._headers = {"Content-Type": "application/json", "X-Task-Id": _header_value(task_id)}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._connect_timeout_s = connect_timeout_s
        self._total_timeout_s = total_timeout_s
        self._policy = policy
        self._secret = secret.encode()
        self._connection: HTTPConnection | None = None
        self._reused = False
        self._reached = False

    def send(self, alarm: Alarm) -> None:
        """Posts ``alarm``; an answer of 2xx means that it has arrived, unless it says otherwise (``answers``)."""
        deadline = _Deadline(self._total_timeout_s)
        try:
            try:
                answer = self._exchange(alarm, deadline)
            except _CONNECTION_LOST:
                if not self._reused:
                    raise
                self.close()  # the receiver had closed a connection we kept: not its answer to this alarm
                answer = self._exchange(alarm, deadline)
        except _BROKEN as e:
            raise self._broken(e) from e
        problem = problem_of(self.name, answer)
        if problem is not None:
            raise problem

    def knock(self) -> None:
        """Connects and keeps the connection for the next alarm."""
        self.close()
        try:
            self._connected(_Deadline(self._total_timeout_s))
        except _BROKEN as e:
            raise self._broken(e) from e

    def close(self) -> None:
        """Closes the kept connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _broken(self, error: Exception) -> DeliveryError:
        self.close()
        return DeliveryError(f"{self.name}: {self._described(error)}", unreachable=not self._reached)

    def _described(self, error: Exception) -> str:
        if isinstance(error, RefusedAddressError):
            return str(error)
        if not isinstance(error, TimeoutError):
            return _words(error)
        if self._reached:
            return f"timed out: no answer within {self._total_timeout_s:g} s"
        return f"timed out: no connection within {min(self._connect_timeout_s, self._total_timeout_s):g} s"

    def _exchange(self, alarm: Alarm, deadline: _Deadline) -> Answer:
        connection = self._connected(deadline)
        headers = {
            **self._headers,
            "X-Alarm-Id": alarm.id,
            "X-Attempt": str(alarm.attempt),
            "Content-Length": str(len(alarm.body)),
            **self._signature(alarm),
        }
        connection.sock.settimeout(deadline.left_s())
        # the time limit of a plain socket holds for the whole of sendall, that of TLS for each of its records
        body = alarm.body if self._tls is None else _chunks(alarm.body, connection.sock, deadline)
        connection.request("POST", self._target, body=body, headers=headers)
        connection.response_class = _timed_response(deadline)
        response = connection.getresponse()
        reply = self._read_reply(response, deadline)
        return Answer(response.status, reply, response.getheader("Retry-After", ""), response.getheader("Date", ""))

    def _signature(self, alarm: Alarm) -> dict[str, str]:
        if not self._secret:
            return {}
        now = str(int(time.time()))
        digest = hmac.new(self._secret, f"{alarm.id}.{now}.".encode() + alarm.body, hashlib.sha256).hexdigest()
        return {"X-Timestamp": now, "X-Signature": f"sha256={digest}"}

    def _connected(self, deadline: _Deadline) -> HTTPConnection:
        self._reused = self._reached = self._connection is not None and self._connection.sock is not None
        if self._connection is not None and self._reused:
            return self._connection
        timeout_s = min(self._connect_timeout_s, deadline.left_s())
        sock = self._policy.connect(self._host, self._port, timeout_s)
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise
        self._connection = (HTTPConnection if self._tls is None else HTTPSConnection)(self._host, self._port)
        self._connection.auto_open = 0  # it would look the name up once more
        self._connection.sock = sock
        self._reached = True
        return self._connection

    def _read_reply(self, response: HTTPResponse, deadline: _Deadline) -> bytes:
        deadline.shorten(_REPLY_BODY_TIMEOUT_S)
        try:
            reply = response.read(_MAX_REPLY_BYTES)
            complete = response.isclosed() or not response.read(1)
        except (OSError, http.client.HTTPException, ValueError):
            reply, complete = b"", False
        if not complete:
            response.close()
            self.close()
        return reply


class _Deadline:
    """A point on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left_s(self) -> float:
        """Seconds that are left; raises ``TimeoutError`` when none are."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def shorten(self, seconds: float) -> None:
        """At most ``seconds`` from now."""
        self._end = min(self._end, time.monotonic() + seconds)


class _TimedReader(io.RawIOBase):
    """Reads from a socket, each time with what is left until the deadline: drops of bytes do not extend it."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline
        self._left_bytes = _MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.left_s())
        _acknowledge_at_once(self._sock)
        came = self._raw.readinto(buffer)
        self._left_bytes -= came or 0
        if self._left_bytes < 0:
            raise http.client.HTTPException(f"its answer has over {_MAX_ANSWER_BYTES} bytes")
        return came

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What ``HTTPResponse`` needs of a socket."""

    def __init__(self, sock: socket.socket, deadline: _Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


def _acknowledge_at_once(sock: socket.socket) -> None:
    """Turns the delayed acknowledgement off for the next read.

    Many receivers (Python's own http.server among them) write head and body of an answer apart, and Nagle's algorithm
    holds the second back until the first is acknowledged: 40 ms for every alarm. The kernel forgets this wish soon.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _timed_response(deadline: _Deadline) -> Any:
    def make(sock: socket.socket, **options: Any) -> HTTPResponse:
        return HTTPResponse(_TimedSocket(sock, deadline), **options)  # type: ignore[arg-type]

    return make


def _chunks(body: bytes, sock: socket.socket, deadline: _Deadline) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        sock.settimeout(deadline.left_s())
        yield body[start : start + _CHUNK_BYTES]


def _header_value(text: str) -> str:
    return text if _PLAIN_HEADER.fullmatch(text) else quote(text, safe="", errors="backslashreplace")
