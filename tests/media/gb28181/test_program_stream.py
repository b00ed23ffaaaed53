from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.media.gb28181.program_stream import Piece, ProgramStream, ticks_between
from tests.media.gb28181.ps_muxer import AccessUnit, pack

SPS = b"\x00\x00\x00\x01\x67\x42\x00\x1f"
SLICE = b"\x00\x00\x00\x01\x65"


def unit(number: int, size: int = 300) -> AccessUnit:
    body = SLICE + bytes(3 + (number + at) % 250 for at in range(size))
    return AccessUnit((SPS if number % 5 == 0 else b"") + body, number * 3600, number * 3600 - 1800, number % 5 == 0)


UNITS = [unit(number, size=50 + 1200 * number) for number in range(10)]


def fed(stream: ProgramStream, data: bytes, piece: int = 1400) -> list[Piece]:
    return [found for at in range(0, len(data), piece) for found in stream.feed(data[at : at + piece])]


@pytest.mark.parametrize("piece", [1, 7, 1400, 1 << 20])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_video_comes_out_whole_however_the_stream_is_cut(codec: str, piece: int) -> None:
    stream = ProgramStream()
    found = fed(stream, b"".join(pack(unit, codec, audio=b"\xd5" * 320) for unit in UNITS), piece)
    assert [(p.data, p.codec, p.pts) for p in found] == [(unit.data, codec, unit.pts) for unit in UNITS]
    assert stream.cut() == []


def test_a_picture_longer_than_a_packet_can_be_comes_in_pieces_of_which_the_first_is_timed() -> None:
    large = unit(1, size=200_000)
    found = fed(ProgramStream(), pack(large, "h264"))
    assert b"".join(piece.data for piece in found) == large.data
    assert [piece.pts for piece in found] == [3600, None, None, None]


def test_a_stream_without_a_map_is_read_without_a_codec() -> None:
    found = fed(ProgramStream(), b"".join(pack(unit, "h264", with_map=False) for unit in UNITS))
    assert [(piece.data, piece.codec) for piece in found] == [(unit.data, None) for unit in UNITS]


def test_a_map_that_changes_in_mid_stream_is_followed() -> None:
    stream = ProgramStream()
    found = fed(stream, pack(UNITS[0], "h264") + pack(UNITS[1], "h264") + pack(UNITS[5], "hevc"))
    assert [piece.codec for piece in found] == ["h264", "h264", "hevc"]


def test_a_map_with_a_broken_or_unknown_entry_does_no_harm() -> None:
    cut_off = b"\x00\x00\x01\xbc\x00\x06\xe0\xff\x00\x00\x00\x40"
    unknown = b"\x00\x00\x01\xbc\x00\x0e\xe0\xff\x00\x00\x00\x04\x42\xe0\x00\x00" + b"crc."
    stream = ProgramStream()
    assert [piece.codec for piece in fed(stream, cut_off + pack(UNITS[1], "h264"))] == [None]
    assert [piece.codec for piece in fed(stream, unknown + pack(UNITS[1], "h264"))] == ["of stream type 0x42"]


@pytest.mark.parametrize("piece", [1, 11, 1400])
def test_packets_that_do_not_say_how_long_they_are_last_to_the_next_start_code(piece: int) -> None:
    data = b"".join(_without_length(pack(unit, "h264", audio=b"\xd5" * 320)) for unit in UNITS)
    stream = ProgramStream()
    found = [*fed(stream, data, piece), *stream.cut()]
    assert b"".join(piece.data for piece in found) == b"".join(unit.data for unit in UNITS)
    assert [piece.pts for piece in found if piece.pts is not None] == [unit.pts for unit in UNITS]


def _without_length(packed: bytes) -> bytes:
    at = packed.index(b"\x00\x00\x01\xe0")
    return packed[: at + 4] + b"\x00\x00" + packed[at + 6 :]


def test_packets_in_the_form_of_mpeg_1_are_read() -> None:
    header = b"\xff\xff\x60\x20" + b"\x21\x00\x01\x1c\x21"
    data = b"\x00\x00\x01\xba\x21\x00\x01\x00\x01\x80\x0c\x35" + b"\x00\x00\x01\xe0"
    data += struct.pack("!H", len(header) + len(SLICE)) + header + SLICE
    assert fed(ProgramStream(), data) == [Piece(SLICE, None, 3600)]


def test_after_a_loss_the_rest_of_the_picture_is_read_from_its_next_part_on() -> None:
    parts = [SLICE + bytes([number]) * 500 for number in range(4)]
    data = pack(UNITS[0], "h264") + pack(AccessUnit(b"".join(parts), 3600, 3600, False), "h264")
    stream = ProgramStream()
    at = data.index(parts[1]) + 100
    found = stream.feed(data[:at]) + stream.cut() + stream.feed(data[at + 300 :] + pack(UNITS[2], "h264"))
    assert b"".join(piece.data for piece in found) == (
        UNITS[0].data + parts[0] + parts[1][:100] + b"".join(parts[2:])[1:] + UNITS[2].data
    )


def test_a_loss_between_pictures_costs_nothing_of_the_next() -> None:
    packed = [pack(unit, "h264", audio=b"\xd5" * 320) for unit in UNITS]
    stream = ProgramStream()
    found = stream.feed(packed[0]) + stream.cut() + stream.feed(packed[3]) + stream.cut() + stream.feed(packed[5])
    assert [piece.data for piece in found] == [UNITS[0].data, UNITS[3].data, UNITS[5].data]


def test_bytes_that_belong_nowhere_are_passed_over() -> None:
    data = b"rubbish" + pack(UNITS[0], "h264") + b"\xff" * 50 + pack(UNITS[1], "h264") + b"\x00\x00\x01\xb9"
    assert [piece.data for piece in fed(ProgramStream(), data)] == [UNITS[0].data, UNITS[1].data]


def test_of_two_videos_the_first_is_taken() -> None:
    second = pack(UNITS[1], "h264").replace(b"\x00\x00\x01\xe0", b"\x00\x00\x01\xe1")
    data = pack(UNITS[0], "h264") + second + pack(UNITS[2], "h264")
    assert [piece.data for piece in fed(ProgramStream(), data)] == [UNITS[0].data, UNITS[2].data]


@given(st.lists(st.binary(max_size=300), max_size=10), st.data())
def test_no_bytes_break_it_and_it_finds_back(pieces: list[bytes], data: st.DataObject) -> None:
    stream = ProgramStream()
    good = pack(UNITS[0], "h264") + pack(UNITS[1], "h264")
    cut = data.draw(st.integers(0, len(good)))
    for piece in [good[:cut], *pieces]:
        stream.feed(piece)
    stream.cut()
    last = [piece.data for piece in fed(stream, pack(UNITS[5], "h264") + pack(UNITS[6], "h264"))]
    assert last[-1] == UNITS[6].data
    assert len(stream._buffer) < 1 << 17


@pytest.mark.parametrize(
    ("earlier", "later", "ticks"), [(0, 3600, 3600), (3600, 0, -3600), ((1 << 33) - 100, 200, 300)]
)
def test_presentation_times_wrap(earlier: int, later: int, ticks: int) -> None:
    assert ticks_between(earlier, later) == ticks
