"""One kept HTTP connection to the client process; tells errors that pass from errors that do not."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import quote

CONNECT_TIMEOUT_S = 3.0
REPLY_TIMEOUT_S = 10.0
MAX_REPLY_BYTES = 1_000_000

_WORTH_ANOTHER_TRY = frozenset({408, 429})
_HEADERS = "Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: stream-server\r\n"
_PATH_SAFE = "/%?:@!$&'()*+,;=~"
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not listened on  # nosec B104
"""Addresses to listen on, not to connect to: sophon-stream's samples write them and mean this machine."""


class UnreachableError(Exception):
    """The receiver did not take the message now, and may later."""


class RefusedError(Exception):
    """The receiver does not want this message, however often it comes."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go; ``tls`` is ``None`` for plain HTTP."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"


class PushConnection:
    """Posts JSON bodies to one target over one connection, which is opened again whenever it was lost."""

    def __init__(self, target: Target) -> None:
        self.target = target
        host = f"[{target.host}]" if ":" in target.host else target.host
        path = quote(target.path, safe=_PATH_SAFE)
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}:{target.port}\r\n{_HEADERS}Content-Length: ".encode()
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes) -> bytes:
        """Sends ``body``; returns the reply's body.

        Raises:
            UnreachableError: no connection, no reply in time, or a status that passes (5xx, 408, 429).
            RefusedError: another 4xx status; says how the reply begins.
        """
        kept = self._connection is not None
        try:
            return self._exchange(body)
        except (http.client.HTTPException, OSError) as e:
            self.close()
            if not kept or isinstance(e, TimeoutError):
                raise UnreachableError(_in_words(e)) from e
        try:
            return self._exchange(body)
        except (http.client.HTTPException, OSError) as e:
            self.close()
            raise UnreachableError(_in_words(e)) from e

    def close(self) -> None:
        """Closes the connection; the next ``post`` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, body: bytes) -> bytes:
        if self._connection is None:
            self._connection = self._connect()
        sock = self._connection.sock
        sock.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))  # one write: the client wakes up once
        # A server that sends head and body of its reply apart waits for our acknowledgement in between, 40 ms a frame.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        response = http.client.HTTPResponse(sock, method="POST")
        response.begin()
        reply = response.read(MAX_REPLY_BYTES)
        if response.length and len(reply) < MAX_REPLY_BYTES:
            raise http.client.IncompleteRead(reply, response.length)  # read() with a limit does not say so itself
        if response.will_close or not response.isclosed():
            self.close()
        if 200 <= response.status < 300:
            return reply
        words = f"status {response.status}: {reply[:200].decode('utf-8', 'replace')}"
        if 400 <= response.status < 500 and response.status not in _WORTH_ANOTHER_TRY:
            raise RefusedError(words)
        raise UnreachableError(words)

    def _connect(self) -> http.client.HTTPConnection:
        host = _WILDCARDS.get(self.target.host, self.target.host)
        connection: http.client.HTTPConnection
        if self.target.tls is None:
            connection = http.client.HTTPConnection(host, self.target.port, timeout=CONNECT_TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(
                host, self.target.port, timeout=CONNECT_TIMEOUT_S, context=self.target.tls
            )
        connection.connect()
        connection.sock.settimeout(REPLY_TIMEOUT_S)
        return connection


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
