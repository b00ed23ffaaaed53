"""A web-socket server that shows its clients the newest of a row of messages."""

from __future__ import annotations

import contextlib
import errno
import http
import ipaddress
import logging
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Collection
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.server import Server, ServerConnection, serve

from streamserver.core.web_pages import is_from_other_site

logger = logging.getLogger(__name__)

_MOST_CLIENTS = 64
"""Each costs three threads and four descriptors, of which the engine's process has a thousand for all it does."""

_POLL_S = 0.5
_SEND_LIMIT_S = 5
"""How long a client may take nothing of a message, after the buffers are full, before it is taken for gone; up to three
times as long where it has taken a part."""

_GREETING_LIMIT_S = 2.0
"""How long a client may take to say that it wants a web socket."""

_GOODBYE_S = 1.0
_GOODBYE_POLL_S = 0.02
_CUT_AGAIN_S = 0.1
_MAX_INCOMING_BYTES = 4096

_library_logger = logging.getLogger(f"{__name__}.library")
_library_logger.setLevel(logging.WARNING)  # it would tell of each connection, without saying whose


class NewestServer:
    """Sends each client, whoever connects, every message from then on; who is slow misses those in between.

    Args:
        host: the address to listen on.
        port: the port; 0 for a free one.
        most_clients: who comes when there are so many is turned away.
        page_hosts: hosts whose web pages may look where only this machine can connect; there, pages of all others
            are turned away, for a browser lets any page of the internet connect to this machine.

    Raises:
        OSError: the port cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, *, most_clients: int = _MOST_CLIENTS, page_hosts: Collection[str] = ()
    ) -> None:
        self._news = threading.Condition()
        self._message = ""
        self._number = 0
        self._closing = False
        self._clients = 0
        self._most_clients = most_clients
        self._is_private = _is_loopback(host)
        self._page_hosts = page_hosts
        self._door = _Door.at(host, port, has_room=self._has_room)
        self._server: Server = serve(
            self._serve,
            sock=self._door,
            process_request=self._turn_strangers_away,
            compression=None,
            max_size=_MAX_INCOMING_BYTES,
            close_timeout=1,
            open_timeout=_GREETING_LIMIT_S,
            logger=_library_logger,
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

    def close(self, *, hurry: bool = False) -> None:
        """Sends the newest message to those who have not got it, closes all connections and ends the server.

        Clients have a second for it, none with ``hurry``; the connections of those who take longer are cut.
        """
        with self._news:
            self._closing = True
            self._news.notify_all()
        deadline = time.monotonic() + (0 if hurry else _GOODBYE_S)
        while self._server.handler_threads and time.monotonic() < deadline:
            time.sleep(_GOODBYE_POLL_S)
        ending = threading.Thread(target=self._server.shutdown, name=f"ws {self.port} ends", daemon=True)
        ending.start()
        while ending.is_alive():
            self._cut_all()
            ending.join(_CUT_AGAIN_S)
        self._thread.join()

    def _cut_all(self) -> None:
        """Also those who have not said yet what they want, of whom the library does not know."""
        for client in self._door.let_in():
            with contextlib.suppress(OSError):  # it is cut already
                client.shutdown(socket.SHUT_RDWR)

    def _turn_strangers_away(self, connection: ServerConnection, request: Request) -> Response | None:
        if not (self._is_private and is_from_other_site(request.headers.get, names=self._page_hosts)):
            return None
        logger.warning("port %d: a page of %r was turned away", self.port, request.headers.get("Origin", "")[:80])
        return connection.respond(
            http.HTTPStatus.FORBIDDEN, "pages of other sites may not look; see the setting host_names\n"
        )

    def _has_room(self) -> bool:
        if len(self._server.handler_threads) < self._most_clients:
            return True
        logger.warning("port %d: there are %d clients, who comes now is turned away", self.port, self._most_clients)
        return False

    def _serve(self, connection: ServerConnection) -> None:
        with self._news:
            self._clients += 1
            seen = self._number
        try:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_LIMIT_S, 0))
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class _Door(socket.socket):
    """A listening socket that lets in only so many, and that outlives a shortage of descriptors.

    The library stops listening, for good and without a word, as soon as ``accept`` raises.
    """

    _has_room: Callable[[], bool]
    _clients: weakref.WeakSet[socket.socket]
    _lock: threading.Lock

    def let_in(self) -> list[socket.socket]:
        """The clients who are there, and maybe some who have left."""
        with self._lock:
            return list(self._clients)

    @classmethod
    def at(cls, host: str, port: int, *, has_room: Callable[[], bool]) -> _Door:
        """A door at ``host`` and ``port``; raises ``OSError`` when it cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = cls(fileno=socket.create_server((host.strip("[]"), port), family=family).detach())
        door._has_room, door._clients, door._lock = has_room, weakref.WeakSet(), threading.Lock()
        door.settimeout(_POLL_S)
        return door

    def accept(self) -> tuple[socket.socket, Any]:
        """The next client; raises ``OSError`` only when the door has been closed."""
        while self.fileno() >= 0:
            try:
                client, address = super().accept()
            except TimeoutError:
                continue
            except OSError as e:
                if self.fileno() < 0 or e.errno in (errno.EBADF, errno.EINVAL):
                    raise
                logger.warning("a client could not be let in: %s", e.strerror)
                time.sleep(_POLL_S)
                continue
            if self._has_room():
                with self._lock:
                    self._clients.add(client)
                return client, address
            client.close()
        raise OSError(errno.EBADF, "the door is closed")
