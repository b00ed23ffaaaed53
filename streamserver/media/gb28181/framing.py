"""RTP packets in a TCP stream: each after its length (RFC 4571), or interleaved as in RTSP (``$``, channel, length)."""

from __future__ import annotations

from streamserver.core.errors import SourceError
from streamserver.media.gb28181.rtp import is_rtcp

_SSRC_AT = 10
"""Where a sender's number stands behind the beginning of a length."""

_INTERLEAVED, _HIGHEST_CHANNEL = 0x24, 3
_SHORTEST_BYTES = 8


class TcpFraming:
    """Takes the stream in pieces of any length, gives whole packets.

    Devices drop bytes when their own buffer is full, and then no length stands where it should. The sender's number
    (SSRC), which is in every packet, shows where they go on.

    Attributes:
        broken: how often that has happened.
    """

    def __init__(self) -> None:
        self.broken = 0
        self._buffer = bytearray()
        self._ssrc = b""
        self._searching = False

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now.

        Raises:
            SourceError: it does not begin with a packet.
        """
        self._buffer += data
        packets: list[bytes] = []
        while start := self._start():
            end = start + int.from_bytes(self._buffer[start - 2 : start])
            if len(self._buffer) < end:
                break
            packet = bytes(self._buffer[start:end])
            del self._buffer[:end]
            if not is_rtcp(packet) and len(packet) > _SSRC_AT + 2:
                self._ssrc = packet[8:12]
            packets.append(packet)
        return packets

    def _start(self) -> int | None:
        """Where the next packet starts in the buffer; ``None`` if more has to come first."""
        if not self._searching:
            start = _start_of_packet(self._buffer)
            if start != 0:
                return start
            if not self._ssrc:
                raise SourceError("what comes over the TCP connection is not RTP")
            self.broken += 1
            self._searching = True
        return self._search()

    def _search(self) -> int | None:
        """Drops what stands before the next packet of the known sender."""
        buffer = self._buffer
        at = buffer.find(self._ssrc, _SSRC_AT + 1)
        while at >= 0 and buffer[at - 8] >> 6 != 2:
            at = buffer.find(self._ssrc, at + 1)
        if at < 0:
            del buffer[: max(0, len(buffer) - 16)]
            return None
        interleaved = at > _SSRC_AT + 1 and buffer[at - 12] == _INTERLEAVED and buffer[at - 11] <= _HIGHEST_CHANNEL
        del buffer[: at - _SSRC_AT - 2 * interleaved]
        self._searching = False
        return _start_of_packet(buffer)


def _start_of_packet(buffer: bytearray) -> int | None:
    """Where the first packet starts: behind two or four bytes; 0 if there is none here, ``None`` if more has to come.

    Every RTP and RTCP packet begins with its version, 2, in the two highest bits. A length of 0 is a sign of life.
    """
    if len(buffer) < 5:
        return None
    length = int.from_bytes(buffer[:2])
    if length == 0 or (length >= _SHORTEST_BYTES and buffer[2] >> 6 == 2):
        return 2
    if buffer[0] == _INTERLEAVED and buffer[1] <= _HIGHEST_CHANNEL and buffer[4] >> 6 == 2:
        return 4
    return 0
