"""How SIP messages travel to the platform and back: UDP, one message a datagram, or one TCP connection."""

from __future__ import annotations

import logging
import select
import socket
import threading
from dataclasses import dataclass
from typing import Any, Protocol

from streamserver.core.errors import SourceError
from streamserver.media.egress import Egress
from streamserver.media.gb28181.message import MalformedMessage, Request, Response, cut, parse

logger = logging.getLogger(__name__)

_POLL_S = 1.0
"""A receiving thread looks so often whether it is still wanted."""

_SEND_S = 5.0
_MAX_DATAGRAM_BYTES = 65535
_DISCARD_PORT = 9


@dataclass(frozen=True, slots=True)
class Remote:
    """A platform's address, looked up.

    Attributes:
        family: ``AF_INET`` or ``AF_INET6``.
        sockaddr: as sockets take it.
    """

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def host_port(self) -> tuple[str, int]:
        """IP address and port."""
        return str(self.sockaddr[0]), int(self.sockaddr[1])

    @property
    def uri(self) -> str:
        """``host:port`` as SIP addresses write it."""
        return host_port(*self.host_port)


def look_up(host: str, port: int, egress: Egress) -> Remote:
    """Finds a platform's address that may be reached, IPv4 before IPv6.

    Raises:
        SourceError: nobody knows this name, or it leads to where it must not.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as e:
        words = e.strerror if isinstance(e, OSError) and e.strerror else "it is no name"
        raise SourceError(f"the platform's host name '{host}' is not known: {words}") from e
    egress.forget()
    allowed = [info for info in found if egress.allows(str(info[4][0]))]
    if not allowed:
        egress.raise_if_refused()
    family, _, _, _, sockaddr = min(allowed, key=lambda info: info[0] is not socket.AF_INET)
    return Remote(family, sockaddr)


def host_port(host: str, port: int) -> str:
    """``host:port``, with brackets about an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def route_to(remote: Remote) -> str:
    """The address of this machine from which packets leave for ``remote``; nothing is sent."""
    try:
        with socket.socket(remote.family, socket.SOCK_DGRAM) as probe:
            probe.connect((remote.sockaddr[0], _DISCARD_PORT, *remote.sockaddr[2:]))
            return str(probe.getsockname()[0])
    except OSError as e:
        raise SourceError(f"no way leads to the platform at {remote.uri}: {e.strerror or e}") from e


class Transport(Protocol):
    """A way to the platform.

    Attributes:
        name: ``UDP`` or ``TCP``, as Via has it.
        reliable: nothing is lost on the way, so nothing needs to be sent twice.
    """

    name: str
    reliable: bool

    def local(self) -> tuple[str, int]:
        """Address and port of our end."""

    def send(self, data: bytes) -> None:
        """Sends a whole message; OSError if it cannot leave."""

    def receive(self) -> list[Request | Response]:
        """What has come within a second; empty for nothing.

        Raises:
            ConnectionRefusedError: nothing listens at the platform's UDP port; receiving goes on.
            OSError: the way is closed for good.
        """

    def wake(self) -> None:
        """Ends the way; the thread that receives comes back at once, with an OSError."""

    def close(self) -> None:
        """Frees the socket, once nobody receives any more."""


class UdpTransport:
    """One datagram socket of our own, for this platform only: what others send does not arrive."""

    name = "UDP"
    reliable = False

    def __init__(self, remote: Remote, local_ip: str) -> None:
        self._socket = socket.socket(remote.family, socket.SOCK_DGRAM)
        self._closed = threading.Event()
        try:
            _bind_if_ours(self._socket, local_ip)
            self._socket.connect(remote.sockaddr)
        except OSError:
            self._socket.close()
            raise

    def local(self) -> tuple[str, int]:
        """See ``Transport``."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def send(self, data: bytes) -> None:
        """See ``Transport``."""
        try:
            self._socket.send(data)
        except ConnectionRefusedError:
            self._socket.send(data)  # the refusal was of an earlier datagram

    def receive(self) -> list[Request | Response]:
        """See ``Transport``."""
        if not _readable(self._socket):
            return []
        data = self._socket.recv(_MAX_DATAGRAM_BYTES)
        if self._closed.is_set():
            raise ConnectionAbortedError("closed")
        return _parsed(data) if data.strip(b"\r\n\0 ") else []

    def wake(self) -> None:
        """See ``Transport``."""
        self._closed.set()
        _shut_down(self._socket)

    def close(self) -> None:
        """See ``Transport``."""
        self._socket.close()


class TcpTransport:
    """One TCP connection, made by us; the platform's own requests come over it as well."""

    name = "TCP"
    reliable = True

    def __init__(self, remote: Remote, local_ip: str, *, timeout_s: float) -> None:
        self._socket = socket.socket(remote.family, socket.SOCK_STREAM)
        self._buffer = bytearray()
        self._sending = threading.Lock()
        try:
            _bind_if_ours(self._socket, local_ip)
            self._socket.settimeout(timeout_s)
            self._socket.connect(remote.sockaddr)
            self._socket.settimeout(_SEND_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._socket.close()
            raise

    def local(self) -> tuple[str, int]:
        """See ``Transport``."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def send(self, data: bytes) -> None:
        """See ``Transport``."""
        with self._sending:
            self._socket.sendall(data)

    def receive(self) -> list[Request | Response]:
        """See ``Transport``."""
        if not _readable(self._socket):
            return []
        data = self._socket.recv(_MAX_DATAGRAM_BYTES)
        if not data:
            raise ConnectionResetError("the platform closed the SIP connection")
        self._buffer += data
        messages = []
        try:
            while (whole := cut(self._buffer)) is not None:
                messages += _parsed(whole)
        except MalformedMessage as e:
            raise ConnectionAbortedError(f"the platform sent what is not SIP: {e}") from e
        return messages

    def wake(self) -> None:
        """See ``Transport``."""
        _shut_down(self._socket)

    def close(self) -> None:
        """See ``Transport``."""
        self._socket.close()


def _parsed(data: bytes) -> list[Request | Response]:
    try:
        return [parse(data)]
    except MalformedMessage as e:
        logger.debug("a message from the platform was left out: %s", e)
        return []


def _bind_if_ours(sock: socket.socket, local_ip: str) -> None:
    """An address that a router shows in our place cannot be bound; then any of ours will do."""
    try:
        sock.bind((local_ip, 0))
    except OSError as e:
        logger.debug("%s is no address of this machine (%s): only announced", local_ip, e.strerror)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(_POLL_S * 1000))


def _shut_down(sock: socket.socket) -> None:
    """Also if it never was connected, or is gone already."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
