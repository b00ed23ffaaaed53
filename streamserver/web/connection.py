"""A client's connection: what has come of its next request, what it has not yet taken of its last reply."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections import deque
from contextlib import suppress
from typing import Any

from gunicorn import http
from gunicorn.workers import gthread

from streamserver.web.arrival import WHOLE_BYTES

_WAITS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

REST_BYTES = 16_000_000
"""So much of a reply is kept for a client that does not take it; more has to wait in the thread."""


class Connection(gthread.TConn):  # type: ignore[misc]
    """Belongs to the main loop, except while its request has a thread.

    Attributes:
        received: what has come of the next request.
        network: where it comes from: the address, of IPv6 the /64 that one client has to itself.
        deadline: when what it waits for is late, on the monotonic clock.
        has_begun: something of the reply was sent.
        stays: its reply has no end, and is written as fast as it is taken.
        is_kept: another request may follow once the reply has been taken.
        dropped_bytes: what came after the end, and was not looked at.
        rest_bytes: what the client has not taken of its reply.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.initialized: bool = False
        self.received = bytearray()
        self.network = _network(self.client)
        self.deadline = 0.0
        self.has_begun = False
        self.stays = False
        self.is_kept = False
        self.dropped_bytes = 0
        self.rest_bytes = 0
        self._rest: deque[memoryview] = deque()

    def receive(self) -> bool:
        """Takes what has arrived, without waiting; ``False`` once the client has closed."""
        while len(self.received) < WHOLE_BYTES:
            try:
                piece = self.sock.recv(WHOLE_BYTES - len(self.received))
            except _WAITS:
                return True
            if not piece:
                return False
            self.received += piece
        return True

    def hand_over(self) -> None:
        """Gives gunicorn's parser what has arrived, so that ``handle`` finds it there."""
        if not self.initialized:
            self.parser = http.get_parser(self.cfg, self.sock, self.client)
            self.initialized = True
            self.data_ready = True
        self.parser.unreader.unread(bytes(self.received))
        self.received.clear()

    def take_back(self) -> None:
        """Has what gunicorn's parser read beyond the last request."""
        self.received += self.parser.unreader.take_buffered()

    def send(self, data: bytes) -> None:
        """In a thread: sends what the client takes at once and keeps the rest; what stays waits for the client."""
        self.has_begun = True
        self._rest.append(memoryview(data))
        self.rest_bytes += len(data)
        self.flush()
        self.sock.setblocking(True)
        if self.stays or self.rest_bytes > REST_BYTES:
            for piece in self._rest:
                self.sock.sendall(piece)
            self._rest.clear()
            self.rest_bytes = 0

    def flush(self) -> None:
        """Sends what the client takes of the rest, without waiting."""
        self.sock.setblocking(False)
        with suppress(*_WAITS):
            while self._rest:
                sent = self.sock.send(self._rest[0])
                self.rest_bytes -= sent
                self._rest[0] = self._rest[0][sent:]
                if not self._rest[0]:
                    self._rest.popleft()

    def finish(self) -> None:
        """Tells the client that nothing follows; it may still have to read what came before."""
        with suppress(OSError, ValueError):  # the thread whose answer broke off has closed it
            self.sock.setblocking(False)
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def drop_input(self) -> bool:
        """Forgets what arrives after the end; ``False`` once the client has closed."""
        with suppress(BlockingIOError):
            came = len(socket.socket.recv(self.sock, 65_536))  # past TLS: nobody reads it
            self.dropped_bytes += came
            return came > 0
        return True

    def hang_up(self) -> None:
        """Wakes the thread that reads or writes; closing is its own business."""
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # SSLSocket's own would take TLS from under the thread


class Outlet:
    """Stands for the socket where gunicorn writes a reply."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def sendall(self, data: bytes) -> None:
        """Sends all of it, sooner or later."""
        self.connection.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection.sock, name)


def _network(client: Any) -> str:
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except (ValueError, IndexError, TypeError):
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
