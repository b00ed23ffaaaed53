"""A web-socket server that shows its clients the newest of a row of messages."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.server import Server, ServerConnection, serve

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_SEND_LIMIT_S = 5
"""How long a client may leave a message lying before it is taken for gone."""

_GOODBYE_S = 1.0
_MAX_INCOMING_BYTES = 4096


class NewestServer:
    """Sends each client, whoever connects, every message from then on; who is slow misses those in between.

    Args:
        host: the address to listen on.
        port: the port; 0 for a free one.

    Raises:
        OSError: the port cannot be listened on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._news = threading.Condition()
        self._message = ""
        self._number = 0
        self._closing = False
        self._clients = 0
        self._server: Server = serve(
            self._serve, host, port, compression=None, max_size=_MAX_INCOMING_BYTES, close_timeout=1, open_timeout=2
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"ws {self.port}", daemon=True)
        self._thread.start()

    @property
    def has_clients(self) -> bool:
        """Whether anybody would see a message."""
        return self._clients > 0

    def show(self, message: str) -> None:
        """Makes ``message`` the newest; returns at once."""
        with self._news:
            self._message = message
            self._number += 1
            self._news.notify_all()

    def close(self) -> None:
        """Sends the newest message to those who have not got it, closes all connections and ends the server.

        Clients have a second for it; the connections of those who take longer are cut.
        """
        with self._news:
            self._closing = True
            self._news.notify_all()
        deadline = time.monotonic() + _GOODBYE_S
        while self._server.handler_threads and time.monotonic() < deadline:
            time.sleep(_GOODBYE_S / 50)
        ending = threading.Thread(target=self._server.shutdown, name=f"ws {self.port} ends", daemon=True)
        ending.start()
        while ending.is_alive():
            self._cut_all()
            ending.join(_GOODBYE_S / 10)
        self._thread.join()

    def _cut_all(self) -> None:
        with self._server.lock:
            connections = list(self._server.all_connections)
        for connection in connections:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is cut already
                pass

    def _serve(self, connection: ServerConnection) -> None:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_LIMIT_S, 0))
        with self._news:
            self._clients += 1
            seen = self._number
        try:
            self._send_all(connection, seen)
        except (ConnectionClosed, OSError):
            pass
        finally:
            with self._news:
                self._clients -= 1

    def _send_all(self, connection: ServerConnection, seen: int) -> None:
        while connection.protocol.state is State.OPEN:
            number, message = self._newer_than(seen)
            if number != seen:
                connection.send(message)
            elif self._closing:
                return
            seen = number
            self._ignore_what_was_said(connection)

    def _newer_than(self, seen: int) -> tuple[int, str]:
        """The newest message and its number; waits a moment for one when ``seen`` is still the newest."""
        with self._news:
            self._news.wait_for(lambda: self._number != seen or self._closing, _POLL_S)
            return self._number, self._message

    @staticmethod
    def _ignore_what_was_said(connection: ServerConnection) -> None:
        try:
            while True:
                connection.recv(timeout=0)
        except TimeoutError:
            return
