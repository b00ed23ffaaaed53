"""MPEG program streams (ISO/IEC 13818-1) as cameras send them: the video in them, and what kind of video it is.

A parser of our own, because what FFmpeg's needs is what cameras leave out or change: a stream without a map, a map that
changes in mid-stream, packets that were lost on the way. The pictures' bytes are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

_PREFIX = b"\x00\x00\x01"
_END, _PACK, _SYSTEM, _MAP = 0xB9, 0xBA, 0xBB, 0xBC
_FIRST_CODE = 0xB9
"""Start codes of the program stream; smaller ones stand inside pictures."""

_VIDEO_IDS = range(0xE0, 0xF0)
_CLOCK_WRAP = 1 << 33
CLOCK_HZ = 90_000
"""Ticks a second of presentation times."""


_CODECS = {0x01: "mpeg1video", 0x02: "mpeg2video", 0x10: "mpeg4", 0x1B: "h264", 0x24: "hevc", 0x80: "SVAC"}
"""What a map's stream types are called; where FFmpeg decodes them, by its names."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of the video, in order.

    Attributes:
        data: never empty.
        codec: what is said of it, by FFmpeg's name where it has one; ``None`` if nothing is said.
        pts: when the picture that begins in it is due, in ticks of ``CLOCK_HZ``; ``None`` if it does not say.
    """

    data: bytes
    codec: str | None
    pts: int | None


class ProgramStream:
    """Takes the program stream in pieces of any length, gives the first video stream in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._codecs: dict[int, str] = {}
        self._video_id: int | None = None
        self._searching = True
        self._open_ended = False
        self._pts: int | None = None

    def feed(self, data: bytes) -> list[Piece]:
        """The video that is complete now that ``data`` has come."""
        self._buffer += data
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return pieces

    def cut(self) -> list[Piece]:
        """Bytes are missing here, or nothing more comes: gives what there is of an unfinished packet.

        How long that packet was meant to be is no use any more, so what follows is searched for the next start code: a
        packet's, or one inside a picture, from which on the picture can be decoded again.
        """
        pieces: list[Piece] = []
        if self._open_ended:
            self._emit(pieces, bytes(self._buffer), self._pts)
        elif not self._searching and self._is_video(self._code()):
            self._emit(pieces, *_packet_body(bytes(self._buffer[6:])))
        self._buffer.clear()
        self._searching, self._open_ended = True, False
        return pieces

    def _step(self, pieces: list[Piece]) -> bool:
        """Takes one thing out of the buffer; False if more has to come first."""
        if self._searching or self._open_ended:
            return self._search(pieces)
        code = self._code()
        if code is None:
            self._searching = len(self._buffer) >= 4
            return self._searching
        if code == _PACK:
            return self._skip_pack()
        if code == _END:
            del self._buffer[:4]
            return True
        return self._take_packet(code, pieces)

    def _search(self, pieces: list[Piece]) -> bool:
        """Goes on to the next start code, where no length says where it stands."""
        at = self._find_start()
        found = at is not None
        skipped = bytes(self._buffer[: at if at is not None else max(0, len(self._buffer) - 3)])
        del self._buffer[: len(skipped)]
        if self._open_ended:
            self._emit(pieces, skipped, self._pts)
        if skipped or found:
            self._pts = None
        if found:
            self._searching, self._open_ended = False, self._code() is None
        return found

    def _find_start(self) -> int | None:
        """Where the next start code is: of the program stream, or, where video was cut, also of a picture's parts."""
        lowest = 0 if self._searching and self._video_id is not None else _FIRST_CODE
        at = self._buffer.find(_PREFIX)
        while 0 <= at < len(self._buffer) - 3:
            if self._buffer[at + 3] >= lowest:
                return at
            at = self._buffer.find(_PREFIX, at + 3)
        return None

    def _code(self) -> int | None:
        """The program stream's start code at the beginning of the buffer."""
        if len(self._buffer) < 4 or not self._buffer.startswith(_PREFIX) or self._buffer[3] < _FIRST_CODE:
            return None
        return self._buffer[3]

    def _skip_pack(self) -> bool:
        buffer = self._buffer
        if len(buffer) < 14:
            return False
        length = 14 + (buffer[13] & 0x07) if buffer[4] >> 6 == 1 else 12
        if len(buffer) < length:
            return False
        del buffer[:length]
        return True

    def _take_packet(self, code: int, pieces: list[Piece]) -> bool:
        buffer = self._buffer
        if len(buffer) < 6:
            return False
        length = int.from_bytes(buffer[4:6])
        if length == 0 and code in _VIDEO_IDS:
            return self._begin_open_ended(code)
        if len(buffer) < 6 + length:
            return False
        body = bytes(buffer[6 : 6 + length])
        del buffer[: 6 + length]
        if code == _MAP:
            self._take_map(body)
        elif self._is_video(code):
            self._video_id = code
            self._emit(pieces, *_packet_body(body))
        return True

    def _begin_open_ended(self, code: int) -> bool:
        """A video packet that does not say how long it is lasts until the program stream's next start code."""
        header = bytes(self._buffer[6 : 9 + 255])
        if len(header) < 3 or len(header) < 3 + header[2]:
            return False
        if not self._is_video(code):
            del self._buffer[:6]
            self._searching = True
            return True
        body, self._pts = _packet_body(header)
        self._video_id = code
        del self._buffer[: 6 + len(header) - len(body)]
        self._open_ended = True
        return True

    def _take_map(self, section: bytes) -> None:
        codecs = {stream: _CODECS.get(kind, f"of stream type 0x{kind:02x}") for stream, kind in _map_types(section)}
        videos = [stream for stream in codecs if stream in _VIDEO_IDS]
        if videos and self._video_id not in codecs:
            self._video_id = videos[0]
        self._codecs = codecs or self._codecs

    def _is_video(self, code: int | None) -> bool:
        return code is not None and code in _VIDEO_IDS and self._video_id in (None, code)

    def _emit(self, pieces: list[Piece], data: bytes, pts: int | None) -> None:
        if data:
            pieces.append(Piece(data, self._codecs.get(self._video_id or 0), pts))


def _packet_body(packet: bytes) -> tuple[bytes, int | None]:
    """A video packet's content and presentation time, of what follows its length."""
    if len(packet) < 3:
        return b"", None
    if packet[0] >> 6 != 2:
        return _packet_body_mpeg1(packet)
    pts = _timestamp(packet[3:8]) if packet[1] & 0x80 and packet[2] >= 5 else None
    return packet[3 + packet[2] :], pts


def _packet_body_mpeg1(packet: bytes) -> tuple[bytes, int | None]:
    """The same for packets in the form of MPEG-1: stuffing, buffer size and times, each optional."""
    at = 0
    while at < len(packet) and packet[at] == 0xFF:
        at += 1
    if at < len(packet) and packet[at] >> 6 == 1:
        at += 2
    kind = packet[at] >> 4 if at < len(packet) else 0
    pts = _timestamp(packet[at : at + 5]) if kind in (2, 3) else None
    return packet[at + {2: 5, 3: 10}.get(kind, 1) :], pts


def _timestamp(field: bytes) -> int | None:
    """33 bits in five bytes, with marker bits between them."""
    if len(field) < 5:
        return None
    return (field[0] >> 1 & 7) << 30 | field[1] << 22 | field[2] >> 1 << 15 | field[3] << 7 | field[4] >> 1


def _map_types(section: bytes) -> list[tuple[int, int]]:
    """Stream ids and types, of what follows a map's length; empty if it is cut off or wrong."""
    at = 4 + int.from_bytes(section[2:4])
    end = at + 2 + int.from_bytes(section[at : at + 2])
    if len(section) < 6 or end > len(section):
        return []
    at += 2
    types: list[tuple[int, int]] = []
    while at + 4 <= end:
        types.append((section[at + 1], section[at]))
        at += 4 + int.from_bytes(section[at + 2 : at + 4])
    return types


def ticks_between(earlier: int, later: int) -> int:
    """Ticks from one presentation time to another, negative if it goes back; the clock wraps after 26 hours."""
    return (later - earlier + _CLOCK_WRAP // 2) % _CLOCK_WRAP - _CLOCK_WRAP // 2
