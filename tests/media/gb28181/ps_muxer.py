"""Program streams and RTP as cameras make them (ISO/IEC 13818-1, RFC 2250, GB/T 28181 annex C): for the simulator."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

VIDEO_ID, AUDIO_ID = 0xE0, 0xC0
STREAM_TYPES = {"h264": 0x1B, "hevc": 0x24}
G711A = 0x90
CLOCK_HZ = 90_000
_LARGEST_PES_BODY = 65_000
_RTP_PAYLOAD_BYTES = 1400


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One picture's bytes with start codes (Annex B); times in ticks of 90 kHz from the clip's beginning."""

    data: bytes
    pts: int
    dts: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's compressed pictures in decoding order."""

    codec: str
    units: tuple[AccessUnit, ...]
    step: int
    """Ticks from picture to picture."""

    @property
    def length(self) -> int:
        """Ticks from the clip's beginning to the end of its last picture."""
        return len(self.units) * self.step


def read_clip(path: Path, *, limit: int | None = None) -> Clip:
    """The pictures of a video file as they are, not compressed again."""
    units: list[AccessUnit] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        to_annexb = BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        for packet in container.demux(stream):
            for unit in to_annexb.filter(packet if packet.size else None):
                ticks = [round((time or 0) * float(stream.time_base or 0) * CLOCK_HZ) for time in (unit.pts, unit.dts)]
                units.append(AccessUnit(bytes(unit), ticks[0], ticks[1], unit.is_keyframe))
        step = round(CLOCK_HZ / stream.average_rate)
    begin = min(unit.pts for unit in units)
    shifted = (AccessUnit(u.data, u.pts - begin, u.dts - begin, u.is_key) for u in units[:limit])
    return Clip(codec, tuple(shifted), step)


def pack(unit: AccessUnit, codec: str, *, with_map: bool = True, audio: bytes = b"") -> bytes:
    """One picture in a program stream: pack header, at key frames system header and map, packets of video, audio."""
    parts = [_pack_header(max(0, unit.dts))]
    if unit.is_key:
        parts.append(_system_header())
        if with_map:
            parts.append(_map(codec))
    for at in range(0, len(unit.data), _LARGEST_PES_BODY):
        times = _times(unit) if at == 0 else b""
        parts.append(_pes(VIDEO_ID, unit.data[at : at + _LARGEST_PES_BODY], times))
    if audio:
        parts.append(_pes(AUDIO_ID, audio, _timestamp(0x20, unit.pts)))
    return b"".join(parts)


def rtp_packets(payload: bytes, *, sequence: int, timestamp: int, ssrc: int, payload_type: int = 96) -> Iterator[bytes]:
    """Cuts a picture's bytes into RTP packets, the last one marked."""
    for number, at in enumerate(range(0, len(payload), _RTP_PAYLOAD_BYTES)):
        chunk = payload[at : at + _RTP_PAYLOAD_BYTES]
        marker = 0x80 if at + _RTP_PAYLOAD_BYTES >= len(payload) else 0
        numbers = (sequence + number) & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
        yield struct.pack("!BBHII", 0x80, marker | payload_type, *numbers) + chunk


def _pack_header(scr: int) -> bytes:
    """ISO/IEC 13818-1, 2.5.3.3: the clock in 33 bits with markers, no extension, the rate, no stuffing."""
    clock = 0b01 << 46 | (scr >> 30 & 7) << 43 | 1 << 42 | (scr >> 15 & 0x7FFF) << 27 | 1 << 26
    clock |= (scr & 0x7FFF) << 11 | 1 << 10 | 1
    rate = 20_000 << 2 | 3
    return b"\x00\x00\x01\xba" + clock.to_bytes(6) + rate.to_bytes(3) + b"\xf8"


def _system_header() -> bytes:
    bounds = b"\x80\xc3\x50\x04\xe1\x7f"
    streams = bytes([VIDEO_ID, 0xE0, 0xE8, AUDIO_ID, 0xC0, 0x20])
    return b"\x00\x00\x01\xbb" + struct.pack("!H", len(bounds + streams)) + bounds + streams


def _map(codec: str) -> bytes:
    entries = bytes([STREAM_TYPES[codec], VIDEO_ID, 0, 0, G711A, AUDIO_ID, 0, 0])
    body = b"\xe0\xff" + struct.pack("!HH", 0, len(entries)) + entries
    section = b"\x00\x00\x01\xbc" + struct.pack("!H", len(body) + 4) + body
    return section + struct.pack("!I", _crc(section))


def _crc(data: bytes) -> int:
    """CRC-32 of MPEG-2: polynomial 0x04C11DB7, from all ones, not mirrored."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _times(unit: AccessUnit) -> bytes:
    if unit.pts == unit.dts:
        return _timestamp(0x20, unit.pts)
    return _timestamp(0x30, unit.pts) + _timestamp(0x10, unit.dts)


def _timestamp(prefix: int, ticks: int) -> bytes:
    ticks %= 1 << 33
    high, middle, low = ticks >> 30 & 7, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return bytes([prefix | high << 1 | 1]) + struct.pack("!HH", middle << 1 | 1, low << 1 | 1)


def _pes(stream_id: int, body: bytes, times: bytes) -> bytes:
    flags = {0: 0x00, 5: 0x80, 10: 0xC0}[len(times)]
    header = bytes([0x8C, flags, len(times)]) + times
    return b"\x00\x00\x01" + bytes([stream_id]) + struct.pack("!H", len(header) + len(body)) + header + body
