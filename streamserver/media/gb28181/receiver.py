"""Where the media arrives: RTP over UDP, over a TCP connection that comes to us, or over one that we make."""

from __future__ import annotations

import errno
import logging
import select
import selectors
import socket
import threading
import time
from collections import deque
from typing import Protocol

from streamserver.core.errors import SourceError
from streamserver.media.egress import Egress
from streamserver.media.gb28181.framing import TcpFraming
from streamserver.media.gb28181.rtp import Reorderer, RtpPacket, SenderChoice, parse_rtp

logger = logging.getLogger(__name__)

_TRIES_FOR_A_PAIR = 100
_KERNEL_BUFFER_BYTES = 4 << 20
_LARGEST_BACKLOG_BYTES = 16 << 20
_LARGEST_DATAGRAM_BYTES = 1 << 16
_DATAGRAM_COST_BYTES = 256
"""What a datagram that waits takes beside its content; empty ones take this too."""

_CONNECT_LIMIT_S = 5.0
_CONNECT_TRY_S = 1.5
"""Of one attempt, which cannot be ended early: BYE and the rest of the farewell have to fit into a stop as well."""

_LOOK_AT_STOPPING_S = 0.2


class Receiver(Protocol):
    """Takes the packets of one stream.

    Attributes:
        port: where the device sends to.
    """

    port: int

    @property
    def lost(self) -> int:
        """How much is missing so far."""

    @property
    def closed_by_sender(self) -> bool:
        """Nothing more can come."""

    def expect(self, ssrc: int | None, *, sender: tuple[str, int]) -> None:
        """What the device has answered: its SSRC if it says one, and where it sends from, which may be untrue."""

    def packets(self, wait_s: float) -> list[RtpPacket]:
        """The next packets in order, none if none came within ``wait_s``.

        Raises:
            SourceError: the connection has failed.
        """

    def close(self) -> None:
        """Frees the port; may be called more than once."""


class UdpReceiver:
    """RTP over UDP; RTCP is taken on the next port, so that the sender gets no errors, and thrown away.

    A thread empties the sockets while the decoder works: a key frame arrives within a few milliseconds, and the
    kernel's buffer may be small. At most ``_LARGEST_BACKLOG_BYTES`` wait; what comes then is dropped.

    Args:
        host: where to listen.
        port: an even one for RTP, the next for RTCP; 0 for any.

    Raises:
        SourceError: the port is taken.
    """

    closed_by_sender = False

    def __init__(self, host: str, port: int) -> None:
        self._rtp, self._rtcp = _udp_pair(host, port)
        self.port = int(self._rtp.getsockname()[1])
        self._choice = SenderChoice(None)
        self._reorderer = Reorderer()
        self._backlog: deque[tuple[float, bytes, object]] = deque()
        self._backlog_bytes = 0
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._empty_sockets, name=f"rtp-{self.port}", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Packets that were missing, or that nobody took in time."""
        return self._reorderer.lost

    def expect(self, ssrc: int | None, *, sender: tuple[str, int]) -> None:
        """Prefers packets of ``ssrc``; what the answer says of the sender does not matter: behind NAT it is untrue."""
        self._choice = SenderChoice(ssrc)

    def packets(self, wait_s: float) -> list[RtpPacket]:
        """The next packets in order; what comes before ``expect`` is kept."""
        with self._arrived:
            if not self._backlog:
                self._arrived.wait(wait_s)
            arrived, self._backlog, self._backlog_bytes = self._backlog, deque(), 0
        ready: list[RtpPacket] = []
        for when, datagram, sender in arrived:
            packet = parse_rtp(datagram)
            if packet is not None and self._choice.takes(packet.ssrc, sender, when):
                ready += self._reorderer.add(packet, when)
        return ready or self._reorderer.overdue(time.monotonic())

    def close(self) -> None:
        """Frees the ports."""
        self._closing.set()
        self._thread.join()
        self._rtp.close()
        self._rtcp.close()

    def _empty_sockets(self) -> None:
        with selectors.DefaultSelector() as selector:
            for end in (self._rtp, self._rtcp):
                selector.register(end, selectors.EVENT_READ)
            while not self._closing.is_set():
                for ready, _ in selector.select(_LOOK_AT_STOPPING_S):
                    self._empty(self._rtp if ready.fileobj is self._rtp else self._rtcp)

    def _empty(self, ready: socket.socket) -> None:
        while not self._closing.is_set():
            try:
                datagram, sender = ready.recvfrom(_LARGEST_DATAGRAM_BYTES)
            except OSError:  # nothing more now, or an error that the sender's machine has reported
                return
            if ready is self._rtp:
                with self._arrived:
                    if self._backlog_bytes < _LARGEST_BACKLOG_BYTES:
                        self._backlog.append((time.monotonic(), datagram, sender))
                        self._backlog_bytes += len(datagram) + _DATAGRAM_COST_BYTES
                        self._arrived.notify()


class TcpReceiver:
    """RTP over one TCP connection, that comes to us (``listening``) or that we make when the device has answered.

    Args:
        host: where to listen.
        port: where to listen; 0 for any.
        listening: the device connects; False if we do.
        stopping: ends a connection attempt.
        egress: where we may connect to; ``None`` for everywhere.

    Raises:
        SourceError: the port is taken.
    """

    def __init__(
        self, host: str, port: int, *, listening: bool, stopping: threading.Event, egress: Egress | None = None
    ) -> None:
        self._egress = egress or Egress(None)
        self._listener = _tcp_listener(host, port) if listening else None
        self.port = int(self._listener.getsockname()[1]) if self._listener else (port or _PORT_OF_NOBODY)
        self._stopping = stopping
        self._connection: socket.socket | None = None
        self._framing = TcpFraming()
        self._choice = SenderChoice(None)
        self._reorderer = Reorderer()
        self._has_spoken = False
        self.closed_by_sender = False

    @property
    def lost(self) -> int:
        """Packets that the device has left out, and places where it has left out bytes."""
        return self._reorderer.lost + self._framing.broken

    def expect(self, ssrc: int | None, *, sender: tuple[str, int]) -> None:
        """Prefers packets of ``ssrc``; connects to ``sender`` where we do not listen.

        Raises:
            SourceError: there is nobody, or we may not connect there.
        """
        self._choice = SenderChoice(ssrc)
        if self._listener is None:
            self._connection = self._connect(sender)

    def packets(self, wait_s: float) -> list[RtpPacket]:
        """The next packets in order; raises ``SourceError`` when what comes is no RTP."""
        if self._connection is None:
            self._accept(wait_s)
        elif self.closed_by_sender:
            self._stopping.wait(wait_s)
        elif _readable(self._connection, wait_s):
            return self._in_order(self._received(self._connection))
        return self._reorderer.overdue(time.monotonic())

    def close(self) -> None:
        """Ends the connection and frees the port."""
        for end in (self._connection, self._listener):
            if end is not None:
                end.close()

    def _received(self, connection: socket.socket) -> bytes:
        """What has come; nothing when the connection has ended. Who went without a word may have been anybody."""
        try:
            data = connection.recv(_LARGEST_DATAGRAM_BYTES)
        except BlockingIOError:
            return b""
        except OSError as e:
            logger.debug("the media connection broke off: %s", e)
            data = b""
        if data:
            self._has_spoken = True
        elif self._listener is not None and not self._has_spoken:
            connection.close()
            self._connection = None
        else:
            self.closed_by_sender = True
        return data

    def _in_order(self, data: bytes) -> list[RtpPacket]:
        now = time.monotonic()
        ready: list[RtpPacket] = []
        for frame in self._framing.feed(data):
            packet = parse_rtp(frame)
            if packet is not None and self._choice.takes(packet.ssrc, None, now):
                ready += self._reorderer.add(packet, now)
        return ready

    def _accept(self, wait_s: float) -> None:
        assert self._listener is not None
        if not _readable(self._listener, wait_s):
            return
        try:
            self._connection, _ = self._listener.accept()
        except OSError:  # whoever came has gone again
            return
        self._connection.setblocking(False)

    def _connect(self, sender: tuple[str, int]) -> socket.socket:
        deadline = time.monotonic() + _CONNECT_LIMIT_S
        reason = "no answer in time"
        while not self._stopping.is_set() and (left_s := deadline - time.monotonic()) > 0:
            try:
                connection = self._egress.connect(*sender, min(left_s, _CONNECT_TRY_S))
            except OSError as e:
                reason = e.strerror or reason
                self._stopping.wait(_LOOK_AT_STOPPING_S)
            else:
                connection.setblocking(False)
                return connection
        raise SourceError(f"the device's media port {sender[0]}:{sender[1]} takes no TCP connection ({reason})")


_PORT_OF_NOBODY = 9
"""What an offer says where we do not listen (RFC 4145)."""


def _readable(end: socket.socket, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return bool(poll.poll(max(0.0, wait_s) * 1000))


def _udp_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Two sockets on an even port and the next one, neither of which waits."""
    for _ in range(1 if port else _TRIES_FOR_A_PAIR):
        rtp = _bound(socket.SOCK_DGRAM, host, port)
        number = int(rtp.getsockname()[1])
        if port or number % 2 == 0:
            try:
                return rtp, _bound(socket.SOCK_DGRAM, host, number + 1)
            except SourceError:
                if port:
                    rtp.close()
                    raise
        rtp.close()
    raise SourceError("no two UDP ports next to each other are free for the media", cure="name one: #localmediaport=")


def _tcp_listener(host: str, port: int) -> socket.socket:
    listener = _bound(socket.SOCK_STREAM, host, port)
    listener.listen(1)
    return listener


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A socket that does not wait, bound to ``host``, or to every address where ``host`` is one in front of a NAT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    end = socket.socket(family, kind)
    try:
        end.setblocking(False)
        if kind is socket.SOCK_STREAM:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER_BYTES)
        try:
            end.bind((host, port))
        except OSError as e:
            if e.errno != errno.EADDRNOTAVAIL:
                raise
            end.bind(("", port))
    except OSError as e:
        end.close()
        name = "TCP" if kind is socket.SOCK_STREAM else "UDP"
        raise SourceError(
            f"the media port {port}/{name} cannot be taken ({e.strerror})",
            cure="each GB28181 stream needs its own: leave localmediaport out, or give each another",
        ) from e
    return end
