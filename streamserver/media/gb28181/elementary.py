"""From RTP packets to the bytes of a video, whatever they are packed in, and what kind of video it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streamserver.media.gb28181.program_stream import Piece, ProgramStream
from streamserver.media.gb28181.rtp import RtpPacket

START_CODE = b"\x00\x00\x00\x01"
_LARGEST_UNIT_BYTES = 8 << 20
"""A unit whose last fragment has not come by then is given as far as it has come; its other fragments are left out."""

_PACK_START = b"\x00\x00\x01\xba"

_USUAL_PAYLOADS = {96: "PS", 98: "H264", 99: "H265"}
"""What platforms mean by these numbers when their answer does not say."""


class Unpacker(Protocol):
    """Takes packets in order, gives the video in them."""

    def feed(self, packet: RtpPacket) -> list[Piece]:
        """The video that is complete now that ``packet`` has come."""

    def finish(self) -> list[Piece]:
        """What is left at the end."""


class ProgramStreamUnpacker:
    """A program stream in RTP (RFC 2250): what the standard asks for."""

    def __init__(self) -> None:
        self._stream = ProgramStream()

    def feed(self, packet: RtpPacket) -> list[Piece]:
        """The video that is complete now that ``packet`` has come."""
        before = self._stream.cut() if packet.after_loss else []
        return before + self._stream.feed(packet.payload)

    def finish(self) -> list[Piece]:
        """What is left at the end."""
        return self._stream.cut()


class NalUnpacker:
    """H.264 (RFC 6184) or H.265 (RFC 7798) in RTP without a program stream around it; gives one NAL unit a piece.

    Args:
        codec: ``h264`` or ``hevc``.
    """

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._header_bytes, self._aggregate, self._fragment = (1, 24, 28) if codec == "h264" else (2, 48, 49)
        self._parts = bytearray()
        self._pts = 0

    def feed(self, packet: RtpPacket) -> list[Piece]:
        """The units that are complete now; one that has lost a part is given as far as it has come."""
        ready = self.finish() if packet.after_loss else []
        self._pts += (packet.timestamp - self._pts + (1 << 31)) % (1 << 32) - (1 << 31)
        kind = packet.payload[0] & 0x1F if self._header_bytes == 1 else packet.payload[0] >> 1 & 0x3F
        if kind == self._fragment:
            return ready + self._add_fragment(packet.payload)
        if kind == self._aggregate:
            return ready + [self._piece(unit) for unit in self._units(packet.payload[self._header_bytes :])]
        if kind > self._aggregate:
            return ready
        return [*ready, self._piece(packet.payload)]

    def finish(self) -> list[Piece]:
        """A unit that was not completed."""
        unit, self._parts = bytes(self._parts), bytearray()
        return [self._piece(unit)] if unit else []

    def _add_fragment(self, payload: bytes) -> list[Piece]:
        if len(payload) <= self._header_bytes + 1:
            return []
        about = payload[self._header_bytes]
        body = payload[self._header_bytes + 1 :]
        ready: list[Piece] = []
        if about & 0x80:
            ready = self.finish()
            self._parts += self._unit_header(payload, about)
            self._parts += body
        elif self._parts:
            self._parts += body
        return ready + (self.finish() if about & 0x40 or len(self._parts) > _LARGEST_UNIT_BYTES else [])

    def _unit_header(self, payload: bytes, about: int) -> bytes:
        """The header that the unit had before it was cut into fragments."""
        if self._header_bytes == 1:
            return bytes([payload[0] & 0xE0 | about & 0x1F])
        return bytes([payload[0] & 0x81 | (about & 0x3F) << 1, payload[1]])

    @staticmethod
    def _units(payload: bytes) -> list[bytes]:
        """The units of an aggregate: each after its length in two bytes."""
        units: list[bytes] = []
        at = 0
        while at + 2 < len(payload):
            end = at + 2 + int.from_bytes(payload[at : at + 2])
            units.append(payload[at + 2 : end])
            at = end
        return [unit for unit in units if unit]

    def _piece(self, unit: bytes) -> Piece:
        return Piece(START_CODE + unit, self._codec, self._pts % (1 << 33))


class Unpacking:
    """Unpacks each packet as its payload type asks; what is no video is left out.

    Args:
        payloads: encoding by payload type, as the answer says: ``{96: "PS/90000"}``.
    """

    def __init__(self, payloads: Mapping[int, str]) -> None:
        self._payloads = {**_USUAL_PAYLOADS, **payloads}
        self._unpackers: dict[str, Unpacker] = {}

    def feed(self, packet: RtpPacket) -> list[Piece]:
        """The video that is complete now that ``packet`` has come."""
        kind = self._payloads.get(packet.payload_type, "").partition("/")[0].upper()
        if packet.payload.startswith(_PACK_START):
            kind = "PS"
            self._payloads[packet.payload_type] = kind
        if kind not in self._unpackers:
            unpacker = _unpacker_for(kind)
            if unpacker is None:
                return []
            self._unpackers[kind] = unpacker
        return self._unpackers[kind].feed(packet)

    def finish(self) -> list[Piece]:
        """What is left at the end."""
        return [piece for unpacker in self._unpackers.values() for piece in unpacker.finish()]


def _unpacker_for(kind: str) -> Unpacker | None:
    if kind in ("PS", "MP2P"):
        return ProgramStreamUnpacker()
    if kind in ("H264", "H265", "HEVC"):
        return NalUnpacker("h264" if kind == "H264" else "hevc")
    return None


class CodecWatch:
    """Knows which codec the video has: from its parameter sets, and where there are none from what is said of it.

    Cameras send no map, or one that says H.264 while they send H.265; what stands in the pictures is always right.

    Attributes:
        at_key_frame: the latest piece has parameter sets in it, which come before each key frame.
    """

    def __init__(self) -> None:
        self.at_key_frame = False
        self._said: str | None = None
        self._codec: str | None = None

    def codec_of(self, piece: Piece) -> str | None:
        """The codec from this piece on; ``None`` while nothing tells."""
        seen = _codec_seen(piece.data) if piece.codec in (None, "h264", "hevc") else None
        self.at_key_frame = seen is not None
        if seen is not None:
            self._codec = seen
        elif self._codec is None or piece.codec != self._said:
            self._codec = piece.codec or self._codec
        self._said = piece.codec
        return self._codec


def has_key_frame(data: bytes, codec: str) -> bool:
    """Whether a picture's units tell that it can be decoded by itself; never for other codecs than H.264 and H.265.

    Parameter sets come before each key frame, and only there; without them it is told by the kind of its slices.
    """
    at = data.find(START_CODE[1:])
    while 0 <= at < len(data) - 4:
        first = data[at + 3]
        kind = first & 0x1F if codec == "h264" else first >> 1 & 0x3F
        if codec == "h264" and kind in (5, 7):
            return True
        if codec == "hevc" and (16 <= kind <= 21 or kind == 32):
            return True
        if kind in ((1, 2) if codec == "h264" else range(16)):
            return False
        at = data.find(START_CODE[1:], at + 3)
    return False


def _codec_seen(data: bytes) -> str | None:
    """The codec whose parameter sets are in ``data``: a VPS of H.265 or an SPS of H.264.

    A first byte that one of them uses would be a unit of no known kind in the other, so that neither is mixed up.
    """
    at = data.find(START_CODE[1:])
    while 0 <= at < len(data) - 4:
        first, second = data[at + 3], data[at + 4]
        if first == 0x40 and second == 0x01:
            return "hevc"
        if first & 0x9F == 0x07:
            return "h264"
        at = data.find(START_CODE[1:], at + 3)
    return None
