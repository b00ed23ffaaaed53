"""A small HTTP server that keeps connections: HTTP/1.1, a thread for each connection, whole bodies only, JSON replies.

An engine posts every frame over one connection; a frame costs a third of what it would through werkzeug and Flask, and
the process is smaller by both.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from streamserver.business.app import Answer, App
from streamserver.core.errors import ConfigError, PortError

_log = logging.getLogger(__name__)

_IDLE_TIMEOUT_S = 300.0
_DRAIN_FACTOR = 2


class AppServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves an application; the port is open once it is made.

    Args:
        host: the address to listen on.
        port: the port, 0 for any free one.
        app: the application; it gets the whole body in memory, and raises nothing.
        max_body_bytes: a longer body is refused with 413.

    Raises:
        PortError: the port is taken or not allowed.
        ConfigError: there is no such address on this machine.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: App, *, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.closing = False
        self._active = 0
        self._active_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as e:
            if e.errno in (errno.EADDRINUSE, errno.EACCES):
                raise PortError(f"port {port} of {host} cannot be used: {e.strerror}", cure="use another one") from e
            raise ConfigError(f"cannot listen on '{host}': {e.strerror}", cure="use an address of this machine") from e

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def busy(self) -> bool:
        """True while a request is being worked on."""
        return self._active > 0

    def start(self) -> None:
        """Serves in a thread of its own until ``stop``."""
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes no further request, also not on connections that are open; those being worked on go on."""
        self.closing = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # ends the wait for a connection
        if self._thread is not None:
            self._thread.join()
        self.server_close()

    def _serve(self) -> None:
        """Waits for connections without looking up ten times a second, as ``serve_forever`` would."""
        while not self.closing:
            self.handle_request()

    def enter(self) -> bool:
        """Counts a request that begins; False if no more are taken."""
        with self._active_lock:
            self._active += not self.closing
            return not self.closing

    def leave(self) -> None:
        """Counts a request that was answered."""
        with self._active_lock:
            self._active -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Logs what a connection's thread raised; a peer that went away is no news."""
        error = sys.exc_info()[1]
        level = logging.DEBUG if isinstance(error, ConnectionError | TimeoutError) else logging.ERROR
        _log.log(level, "connection failed: %r", error, exc_info=level == logging.ERROR)


class _Handler(BaseHTTPRequestHandler):
    server: AppServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT_S
    disable_nagle_algorithm = True
    wbufsize = -1

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # every method is the application's business
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: at 25 frames a second nobody reads it."""

    def _serve(self) -> None:
        if "Origin" in self.headers or "Sec-Fetch-Site" in self.headers:  # or any page could forge frames and alarms
            self._refuse(403, "only engines may post here, not web pages")
            return
        if not self.server.enter():
            self._refuse(503, "the client is about to end")
            return
        try:
            length = self._body_length()
            if length is not None:
                body = self.rfile.read(length)
                if len(body) == length:
                    self._send(self.server.app(self.command, self.path.partition("?")[0], body))
                else:  # the sender went away
                    self.close_connection = True
        finally:
            self.server.leave()

    def _body_length(self) -> int | None:
        """The length of the body in bytes, or ``None`` after a reply that refused it."""
        text = self.headers.get("Content-Length", "0").strip()
        if "Transfer-Encoding" in self.headers:
            self._refuse(411, "chunked bodies are not taken; send Content-Length")
        elif not (text.isascii() and text.isdigit() and len(text) < 19):
            self._refuse(400, "Content-Length is no number")
        elif int(text) > self.server.max_body_bytes:
            self._discard(int(text))
            self._refuse(413, f"the body is larger than {self.server.max_body_bytes} bytes")
        else:
            return int(text)
        return None

    def _discard(self, length: int) -> None:
        """Reads a refused body, within limits, so that its sender gets to see the reply."""
        left = min(length, _DRAIN_FACTOR * self.server.max_body_bytes)
        while left > 0 and (chunk := self.rfile.read(min(left, 65_536))):
            left -= len(chunk)

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._send((status, json.dumps({"message": message, "response": 0}).encode()))

    def _send(self, answer: Answer) -> None:
        """Head and body in one write: apart, they would wait for an acknowledgement in between."""
        status, body = answer
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Connection: {'close' if self.close_connection else 'keep-alive'}",
        ]
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.wfile.write(head.encode() + (body if self.command != "HEAD" else b""))
