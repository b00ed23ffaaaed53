"""The HTTP server behind endpoints for pictures: one for each port of the process, with a path for each channel.

It is small and strict: a POST with a length, few connections, each exchange within a time limit that no slow sender can
stretch. Who is told 200 has been taken over; who finds no room is told 503 and when to try again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from streamserver.core.web_pages import is_from_other_site
from streamserver.media.picture_request import BadPictureError

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 16_000_000
"""Of one request; a JPEG of 40 million pixels fits, also in Base64."""

MAX_CONNECTIONS = 8
"""At a time and port; for one more, the one that has rested longest is closed, and if none rests, it is told to come
again."""

EXCHANGE_S = 30.0
"""Longest time from a request's (or the connection's) beginning to its answer; also how long a connection may idle."""

_POLL_S = 0.2
_LINGER_S = 1.0
_RETRY_AFTER_S = 1
_CHUNK_BYTES = 65536
_LONGEST_MESSAGE = 200

Take = Callable[[bytes], int]
"""Takes the pictures of a body and says how many; raises ``BadPictureError`` or ``BusyError``."""


class BusyError(Exception):
    """There is no room for the pictures now."""


class PictureServer(socketserver.ThreadingTCPServer):
    """Listens at one address for as long as somebody has an endpoint there.

    Args:
        place: host and port.
        endpoints: path -> who takes what is posted there. Given here, for the first request may come at once.

    Raises:
        OSError: it cannot listen there.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, place: tuple[str, int], endpoints: Mapping[str, Take]) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self._endpoints = dict(endpoints)
        self._deadlines: dict[socket.socket, float] = {}
        self._resting: dict[socket.socket, None] = {}
        """Connections that were answered and have asked nothing since, the longest first."""
        self._lock = threading.Lock()
        super().__init__(place, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_S,), name=f"pictures at {place[0]}:{place[1]}", daemon=True
        )
        self._thread.start()

    def add(self, path: str, take: Take) -> bool:
        """Opens an endpoint; False if the path has one already."""
        with self._lock:
            return self._endpoints.setdefault(path, take) is take

    def remove(self, path: str) -> bool:
        """Closes an endpoint; True if it was the last."""
        with self._lock:
            self._endpoints.pop(path, None)
            return not self._endpoints

    def endpoint(self, path: str) -> Take | None:
        """Who takes what is posted to ``path``."""
        with self._lock:
            return self._endpoints.get(path)

    def close(self) -> None:
        """Ends the server and its connections."""
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._deadlines)
        for connection in connections:
            _break(connection)
        self._thread.join(_LINGER_S)

    def begin_exchange(self, connection: socket.socket, *, rests: bool = False) -> bool:
        """Gives a connection ``EXCHANGE_S`` from now; False if another has got its place."""
        with self._lock:
            if connection not in self._deadlines:
                return False
            self._deadlines[connection] = time.monotonic() + EXCHANGE_S
            self._resting.pop(connection, None)
            if rests:
                self._resting[connection] = None
            return True

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Lets a connection in, unless there are enough."""
        with self._lock:
            if len(self._deadlines) >= MAX_CONNECTIONS and self._resting:
                longest = next(iter(self._resting))
                del self._resting[longest], self._deadlines[longest]
                _break(longest)
            if len(self._deadlines) < MAX_CONNECTIONS:
                self._deadlines[request] = time.monotonic() + EXCHANGE_S
                return True
        body = _body("error", f"{MAX_CONNECTIONS} connections are open already; try again")
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: {_RETRY_AFTER_S}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        request.setblocking(False)
        with contextlib.suppress(OSError):
            request.send(head.encode() + body)
        return False

    def service_actions(self) -> None:
        """Breaks off the connections whose time is up; called several times a second."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, deadline in self._deadlines.items() if now > deadline]
        for connection in late:
            _break(connection)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection so that an answer given early arrives: what the sender still sends is read away."""
        deadline = time.monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(_POLL_S)
            while request in self._deadlines and time.monotonic() < deadline and request.recv(_CHUNK_BYTES):
                pass
        with self._lock:
            self._deadlines.pop(request, None)
            self._resting.pop(request, None)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the sender's business; anything else is ours."""
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        logger.log(level, "%s: a request failed", client_address[0], exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: PictureServer
    protocol_version = "HTTP/1.1"
    server_version = "stream-server"
    sys_version = ""
    timeout = EXCHANGE_S
    disable_nagle_algorithm = True

    _answered = False

    def handle_one_request(self) -> None:
        self.server.begin_exchange(self.connection, rests=self._answered)
        super().handle_one_request()
        self._answered = True

    def parse_request(self) -> bool:
        if self.server.begin_exchange(self.connection):  # the wait for it does not count
            return super().parse_request()
        self.close_connection = True
        return False

    def do_POST(self) -> None:
        take = self.server.endpoint(unquote(self.path.partition("?")[0]))
        if take is None:
            self._refuse(404, "there is no endpoint with this path; the path is that of the task's address")
        elif is_from_other_site(self.headers.get):
            self._refuse(403, "pages of other sites may not post here")
        elif (body := self._body()) is not None:
            self._hand_over(take, body)

    def do_GET(self) -> None:
        self._refuse(405, "post pictures here")

    do_PUT = do_DELETE = do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: the same JSON as everywhere."""
        self._refuse(code, (message or HTTPStatus(code).phrase)[:_LONGEST_MESSAGE])

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("%s: %s", self.client_address[0], format % args)

    def _hand_over(self, take: Take, body: bytes) -> None:
        try:
            count = take(body)
        except BadPictureError as e:
            self._answer(400, "error", str(e))
        except BusyError:
            self._answer(503, "error", "the engine is busy; send it again")
        else:
            self._answer(200, "success", f"{count} picture{'s' if count != 1 else ''} taken")

    def _body(self) -> bytes | None:
        """The whole body; ``None`` when it was refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            self._refuse(411, "send the body with a Content-Length")
            return None
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"{length[:20]} bytes; send at most {MAX_BODY_BYTES}")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the sender has gone, or its time was up
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: int, message: str) -> None:
        """Answers without reading the body, after which the connection is of no use any more."""
        self.close_connection = True
        self._answer(status, "error", message)

    def _answer(self, status: int, word: str, message: str) -> None:
        body = _body(word, message)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 503:
            self.send_header("Retry-After", str(_RETRY_AFTER_S))
        if status == 405:
            self.send_header("Allow", "POST")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _body(word: str, message: str) -> bytes:
    """The JSON that sophon-stream answers with."""
    return json.dumps({"status": word, "message": message}).encode()


def _break(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
