"""A wire that can be cut: stands between a camera and its reader, breaks, spoils and counts connections."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
import time
from types import TracebackType

_DOLLAR = 0x24
_RTP_CHANNEL = 0
_KEPT_BYTES = 14
"""RTP's header and two bytes that say which part of which NAL unit follows: garbage gets as far as the decoder."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST."""

_LENGTH = re.compile(rb"^content-length:\s*(\d+)", re.IGNORECASE | re.MULTILINE)


class Garbler:
    """Finds the RTP packets in what an RTSP server says over TCP, and spoils their payload while it is told to."""

    def __init__(self) -> None:
        self.until = 0.0
        self.spoilt = 0
        self._rest = b""

    def pass_on(self, data: bytes) -> bytes:
        """What may go on of ``data`` and of what was held back: whole packets and answers, of the same lengths."""
        self._rest += data
        out = bytearray()
        while (length := _length_of_first(self._rest)) and length <= len(self._rest):
            item, self._rest = self._rest[:length], self._rest[length:]
            out += self._spoil(item) if item[0] == _DOLLAR and item[1] == _RTP_CHANNEL else item
        return bytes(out)

    def _spoil(self, packet: bytes) -> bytes:
        if time.monotonic() >= self.until:
            return packet
        self.spoilt += 1
        kept = 4 + _KEPT_BYTES
        return packet[:kept] + random.randbytes(max(0, len(packet) - kept))


class Proxy:
    """Forwards TCP connections on a port of its own to ``target_port``, both on loopback.

    A server that is away looks like one here, too: the connection is reset.

    Attributes:
        accepted: the monotonic times at which connections came.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.accepted: list[float] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.garblers: list[Garbler] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        self._thread.join(10)

    @property
    def rtsp_url(self) -> str:
        """The address of an ``RtspServer`` behind it."""
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def reset(self) -> None:
        """Ends every connection with RST."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            _reset(one)

    def garble(self, duration_s: float) -> None:
        """Spoils the payload of every RTP packet that passes within ``duration_s``."""
        for garbler in self.garblers:
            garbler.until = time.monotonic() + duration_s

    @property
    def spoilt(self) -> int:
        """Packets that were spoilt."""
        return sum(garbler.spoilt for garbler in self.garblers)

    def busiest(self, window_s: float, since: float) -> int:
        """The most connections that came within ``window_s``, of those after ``since``."""
        times = [moment for moment in self.accepted if moment >= since]
        return max((sum(0 <= other - moment < window_s for other in times) for moment in times), default=0)

    def _accept(self) -> None:
        while True:
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            self.accepted.append(time.monotonic())
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            except OSError:
                _reset(reader)
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {reader, server}
            garbler = Garbler()
            self.garblers.append(garbler)
            threading.Thread(target=self._pump, args=(server, reader, garbler), daemon=True).start()
            threading.Thread(target=self._pump, args=(reader, server, None), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, garbler: Garbler | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(garbler.pass_on(data) if garbler else data)
        with self._lock:
            self._open -= {source, sink}
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _length_of_first(data: bytes) -> int:
    """Bytes of the packet or the answer at the start of ``data``; 0 while that cannot be known."""
    if data[:1] == b"$":
        return 4 + int.from_bytes(data[2:4]) if len(data) >= 4 else 0
    head, separator, _ = data.partition(b"\r\n\r\n")
    if not separator:
        return 0
    length = _LENGTH.search(head)
    return len(head) + len(separator) + (int(length[1]) if length else 0)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        one.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        one.close()
