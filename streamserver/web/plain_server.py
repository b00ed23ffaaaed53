"""The web server of ``server.py``: a thread for each connection, with an end to their number, and TLS."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from typing import Any

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from streamserver.core.tls import Certificate

log = logging.getLogger(__name__)

_IDLE_TIMEOUT_S = 30.0


class _Handler(WSGIRequestHandler):
    """Drops connections that say nothing for long, and keeps no access log."""

    timeout = _IDLE_TIMEOUT_S

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The tasks' own log lines say more."""


class PlainServer(ThreadedWSGIServer):
    """Serves an application on a socket that listens.

    Args:
        listener: the socket.
        app: the application.
        most: connections at a time; who comes then is sent away.
        certificate: by which it speaks https; ``None`` for http.
    """

    def __init__(self, listener: socket.socket, app: Flask, *, most: int, certificate: Certificate | None) -> None:
        host, port = listener.getsockname()[:2]
        super().__init__(host, port, app, _Handler, fd=listener.fileno())
        self.ssl_context = certificate.context() if certificate else None  # says https to the application
        self._certificate = certificate
        self._places = threading.BoundedSemaphore(most)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for a connection."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # the system gives no more threads; the connection is closed by who called
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's thread: the handshake, and what is asked."""
        if self._certificate is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_IDLE_TIMEOUT_S)
        try:
            secure = self._certificate.context().wrap_socket(request, server_side=True)
        except OSError as e:
            log.debug("no TLS with %s: %s", client_address, e)
            return
        with secure:
            super().finish_request(secure, client_address)
            with suppress(OSError):
                secure.shutdown(socket.SHUT_WR)
