"""A small WSGI server that keeps connections: HTTP/1.1, a thread for each connection, whole bodies only.

werkzeug's own server closes every connection and waits 10 ms after each request for more of its body; here an engine
posts every frame over one connection.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from streamserver.core.errors import ConfigError, PortError

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_log = logging.getLogger(__name__)

_IDLE_TIMEOUT_S = 300.0
_DRAIN_FACTOR = 2


class AppServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a WSGI application; the port is open once it is made.

    Args:
        host: the address to listen on.
        port: the port, 0 for any free one.
        app: the application; it gets the whole body in memory.
        max_body_bytes: a longer body is refused with 413.

    Raises:
        PortError: the port is taken or not allowed.
        ConfigError: there is no such address on this machine.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: WSGIApplication, *, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.closing = False
        self._active = 0
        self._active_lock = threading.Lock()
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
        threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True).start()

    def stop(self) -> None:
        """Takes no further request, also not on connections that are open; those being worked on go on."""
        self.closing = True
        self.shutdown()
        self.server_close()

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
        if not self.server.enter():
            self._refuse(503, "the client is about to end")
            return
        try:
            length = self._body_length()
            if length is not None:
                body = self.rfile.read(length)
                if len(body) == length:
                    self._call_app(body)
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
        body = json.dumps({"message": message, "response": 0}).encode()
        self._send(f"{status} Refused", [("Content-Type", "application/json"), ("Connection", "close")], body)

    def _call_app(self, body: bytes) -> None:
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            head[:] = [status, headers]
            return lambda data: None

        chunks = self.server.app(self._environ(body), start_response)
        try:
            reply = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        self._send(head[0], [pair for pair in head[1] if pair[0].lower() != "content-length"], reply)

    def _send(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _environ(self, body: bytes) -> dict[str, Any]:
        target = urlsplit(self.path)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(target.path).decode("latin-1"),
            "QUERY_STRING": target.query,
            "SERVER_NAME": str(self.server.server_address[0]),
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            key = name.upper().replace("-", "_")
            if "_" not in name and key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                environ[f"HTTP_{key}"] = value
        return environ
