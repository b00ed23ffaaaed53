from __future__ import annotations

import pytest

from streamserver.media.gb28181.elementary import START_CODE, CodecWatch, NalUnpacker, Unpacking
from streamserver.media.gb28181.program_stream import Piece, ticks_between
from streamserver.media.gb28181.rtp import RtpPacket
from tests.media.gb28181.ps_muxer import AccessUnit, pack

UNITS = {
    "h264": [b"\x67\x42\x00\x1f", b"\x68\xce", b"\x65" + bytes(range(200))],
    "hevc": [b"\x40\x01\x0c", b"\x42\x01\x01", b"\x26\x01" + bytes(range(200))],
}


def packet(payload: bytes, *, payload_type: int = 98, timestamp: int = 3600, after_loss: bool = False) -> RtpPacket:
    return RtpPacket(0, timestamp, 1, payload_type, False, payload, after_loss)


def aggregate(codec: str) -> bytes:
    header = b"\x78" if codec == "h264" else b"\x60\x01"
    return header + b"".join(len(unit).to_bytes(2) + unit for unit in UNITS[codec][:2])


def fragments(codec: str, unit: bytes, size: int = 80) -> list[bytes]:
    """FU-A of RFC 6184, FU of RFC 7798."""
    if codec == "h264":
        head, kind, body = bytes([unit[0] & 0xE0 | 28]), unit[0] & 0x1F, unit[1:]
    else:
        head, kind, body = bytes([unit[0] & 0x81 | 49 << 1, unit[1]]), unit[0] >> 1 & 0x3F, unit[2:]
    starts = range(0, len(body), size)
    marks = [(0x80 if at == 0 else 0) | (0x40 if at + size >= len(body) else 0) for at in starts]
    return [head + bytes([mark | kind]) + body[at : at + size] for at, mark in zip(starts, marks, strict=True)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_units_without_a_program_stream_are_put_together(codec: str) -> None:
    unpacker = NalUnpacker(codec)
    first, second, third = UNITS[codec]
    payloads = [aggregate(codec), first, *fragments(codec, third)]
    found = [piece for payload in payloads for piece in unpacker.feed(packet(payload))]
    assert found == [Piece(START_CODE + unit, codec, 3600) for unit in (first, second, first, third)]
    assert unpacker.finish() == []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_unit_that_has_lost_a_part_is_given_as_far_as_it_has_come(codec: str) -> None:
    unpacker = NalUnpacker(codec)
    unit = UNITS[codec][2]
    start, _, end = fragments(codec, unit)
    header = len(unit) - 200
    assert unpacker.feed(packet(start)) == []
    assert unpacker.feed(packet(end, after_loss=True)) == [Piece(START_CODE + unit[: header + 80], codec, 3600)]
    assert unpacker.feed(packet(UNITS[codec][0])) == [Piece(START_CODE + UNITS[codec][0], codec, 3600)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_unit_without_an_end_is_given_as_far_as_it_has_come(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.media.gb28181.elementary._LARGEST_UNIT_BYTES", 1000)
    unpacker = NalUnpacker(codec)
    start, middle, _ = fragments(codec, UNITS[codec][2])
    found = [piece for payload in [start, *[middle] * 100] for piece in unpacker.feed(packet(payload))]
    assert [1000 < len(piece.data) < 1200 for piece in found] == [True]
    assert unpacker.finish() == []


def test_times_go_on_when_the_rtp_clock_wraps() -> None:
    unpacker = NalUnpacker("h264")
    found = [unpacker.feed(packet(b"\x65x", timestamp=time))[0].pts for time in (0xFFFFFF00, 0x100)]
    assert None not in found
    assert ticks_between(found[0] or 0, found[1] or 0) == 0x200


def test_each_payload_type_is_unpacked_as_the_answer_says() -> None:
    picture = AccessUnit(b"\x00\x00\x00\x01\x65" + b"x" * 40, 0, 0, True)
    unpacking = Unpacking({100: "PS/90000", 101: "h265/90000", 8: "PCMA/8000"})
    assert unpacking.feed(packet(pack(picture, "h264"), payload_type=100))[0].data == picture.data
    assert unpacking.feed(packet(b"\x40\x01x", payload_type=101))[0].codec == "hevc"
    assert unpacking.feed(packet(b"\xd5" * 100, payload_type=8)) == []
    assert unpacking.feed(packet(b"\xd5" * 100, payload_type=77)) == []


def test_a_program_stream_is_recognised_under_any_payload_type() -> None:
    picture = AccessUnit(b"\x00\x00\x00\x01\x65" + b"x" * 4000, 0, 0, True)
    packed = pack(picture, "h264")
    unpacking = Unpacking({98: "H264/90000"})
    found = [piece for at in (0, 1400, 2800) for piece in unpacking.feed(packet(packed[at : at + 1400]))]
    assert [piece.data for piece in found] == [picture.data]


SPS, VPS, SLICE = (START_CODE + unit for unit in (b"\x67\x42\x00\x1f", b"\x40\x01\x0c\x01", b"\x41\x9a\x00\x00"))


@pytest.mark.parametrize(
    ("pieces", "codecs"),
    [
        ([("h264", SLICE)], ["h264"]),
        ([(None, SLICE), (None, SPS), (None, SLICE), (None, VPS)], [None, "h264", "h264", "hevc"]),
        ([("h264", SLICE), ("h264", VPS), ("h264", SLICE)], ["h264", "hevc", "hevc"]),
        ([("h264", SPS), ("hevc", SLICE), ("h264", SLICE)], ["h264", "hevc", "h264"]),
        ([("h264", SPS), (None, SLICE)], ["h264", "h264"]),
        ([("mpeg4", SPS), ("SVAC", VPS)], ["mpeg4", "SVAC"]),
    ],
)
def test_the_pictures_are_believed_before_the_map(
    pieces: list[tuple[str | None, bytes]], codecs: list[str | None]
) -> None:
    watch = CodecWatch()
    assert [watch.codec_of(Piece(data, said, None)) for said, data in pieces] == codecs
