"""Where the simulator's media packets go: UDP, or a TCP connection either way round."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

_LIMIT_S = 30
_LOOK_AFTER_PACKETS = 32
_MOST_UNREAD_BYTES = 100_000
"""What may wait at the receiver: on a busy machine its buffer would overflow, and lose what no test means."""


class Way:
    """One call's way to whoever receives.

    Args:
        to: the receiver's address.
        tcp: over TCP.
        listener: where the receiver connects; ``None`` to connect to it.
        interleaved: framing as in RTSP instead of RFC 4571.
    """

    def __init__(self, to: tuple[str, int], *, tcp: bool, listener: socket.socket | None, interleaved: bool) -> None:
        self._interleaved = interleaved
        self._tcp = tcp
        self._to = to
        self._packets = 0
        if not tcp:
            self._end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        elif listener is not None:
            listener.settimeout(_LIMIT_S)
            self._end, _ = listener.accept()
        else:
            self._end = socket.create_connection(to, timeout=_LIMIT_S)
        self._end.settimeout(_LIMIT_S)

    def send(self, packet: bytes) -> None:
        if self._tcp:
            head = b"$\x00" if self._interleaved else b""
            self._end.sendall(head + struct.pack("!H", len(packet)) + packet)
        else:
            self._end.sendto(packet, self._to)
            self._packets += 1
            if self._packets % _LOOK_AFTER_PACKETS == 0:
                self._wait_until_read()

    def finish(self) -> None:
        """Nothing more comes."""
        if self._tcp:
            self._end.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Ends what another thread sends."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended already, or there is no connection
            pass

    def close(self) -> None:
        self._end.close()

    def _wait_until_read(self) -> None:
        deadline = time.monotonic() + _LIMIT_S
        while _unread_bytes(self._to[1]) > _MOST_UNREAD_BYTES and time.monotonic() < deadline:
            time.sleep(0.001)


def _unread_bytes(port: int) -> int:
    """What waits at a UDP port of this machine."""
    rows = (row.split() for row in Path("/proc/net/udp").read_text().splitlines()[1:])
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}"))
