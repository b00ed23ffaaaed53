from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.errors import SourceError
from streamserver.media.gb28181.framing import TcpFraming


def rtp(number: int, size: int = 40) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, number, 0, 0x0102A5B6) + bytes([number]) * size


def framed(packet: bytes, *, interleaved: bool = False) -> bytes:
    return (b"$\x00" if interleaved else b"") + struct.pack("!H", len(packet)) + packet


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("piece", [1, 3, 50, 10_000])
def test_packets_are_found_however_the_stream_is_cut(piece: int, interleaved: bool) -> None:
    packets = [rtp(number, size=1 + 37 * number) for number in range(30)]
    stream = b"".join(framed(packet, interleaved=interleaved) for packet in packets)
    framing = TcpFraming()
    found = [p for at in range(0, len(stream), piece) for p in framing.feed(stream[at : at + piece])]
    assert found == packets
    assert framing.broken == 0


def test_a_packet_as_long_as_an_interleaving_mark_is_read_by_its_length() -> None:
    packet = rtp(1, size=0x2400 - 12)
    assert TcpFraming().feed(framed(packet)) == [packet]


@pytest.mark.parametrize("interleaved", [False, True])
def test_bytes_that_a_device_has_left_out_cost_only_their_packets(interleaved: bool) -> None:
    stream = b"".join(framed(rtp(number), interleaved=interleaved) for number in range(20))
    each = len(stream) // 20
    framing = TcpFraming()
    found = framing.feed(stream[: 5 * each + 30] + stream[7 * each + 17 :])
    numbers = [packet[-1] for packet in found]
    assert numbers[:5] == [0, 1, 2, 3, 4]
    assert numbers[-11:] == list(range(9, 20))
    assert framing.broken == 1


def test_what_is_no_rtp_from_the_beginning_is_refused() -> None:
    with pytest.raises(SourceError, match="is not RTP"):
        TcpFraming().feed(b"GET / HTTP/1.1\r\n\r\n")


def test_signs_of_life_between_packets_are_passed_over() -> None:
    found = TcpFraming().feed(b"\x00\x00" + framed(rtp(1)) + b"\x00\x00" + framed(rtp(2)))
    assert [packet for packet in found if packet] == [rtp(1), rtp(2)]


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_bytes_after_a_packet_break_it_or_pile_up(pieces: list[bytes]) -> None:
    framing = TcpFraming()
    framing.feed(framed(rtp(1)))
    for piece in pieces:
        framing.feed(piece)
    assert len(framing._buffer) < 1 << 17
