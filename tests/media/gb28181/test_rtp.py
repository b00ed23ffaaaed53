from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.media.gb28181.rtp import Reorderer, RtpPacket, SenderChoice, parse_rtp

HEADER = bytes.fromhex("80e0 0102 00000e10 0000002a")


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (HEADER + b"abc", b"abc"),
        (bytes([0xA0]) + HEADER[1:] + b"abc\x00\x00\x03", b"abc"),
        (bytes([0x82]) + HEADER[1:] + b"csrc" * 2 + b"abc", b"abc"),
        (bytes([0x90]) + HEADER[1:] + b"\xbe\xde\x00\x01" + b"ext." + b"abc", b"abc"),
        (HEADER, None),
        (b"\x00" * 4, None),
        (b"", None),
        (bytes([0x80, 200]) + HEADER[2:] + b"report", None),
        (bytes([0x40]) + HEADER[1:] + b"version 1", None),
        (bytes([0xA0]) + HEADER[1:] + b"padding longer than the packet\xff", None),
        (bytes([0x90]) + HEADER[1:] + b"\xbe\xde\xff\xff", None),
        (bytes([0x90]) + HEADER[1:] + b"\xbe", None),
        (bytes([0x8F]) + HEADER[1:] + b"few", None),
    ],
)
def test_a_packet_is_taken_apart_or_left_out(data: bytes, payload: bytes | None) -> None:
    packet = parse_rtp(data)
    assert (packet and packet.payload) == payload
    if packet is not None:
        assert (packet.sequence, packet.timestamp, packet.ssrc) == (0x0102, 3600, 42)
        assert (packet.payload_type, packet.marker, packet.after_loss) == (96, True, False)


@given(st.binary(max_size=64))
def test_no_bytes_from_the_network_break_the_parser(data: bytes) -> None:
    parse_rtp(data)


def packet(sequence: int, ssrc: int = 1) -> RtpPacket:
    return RtpPacket(sequence % 65536, 0, ssrc, 96, False, b"x")


def given_in(order: list[int], reorderer: Reorderer) -> list[int]:
    ready = [given for sequence in order for given in reorderer.add(packet(sequence), 0.0)]
    return [given.sequence for given in ready + reorderer.overdue(1.0)]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (list(range(20)), list(range(20))),
        ([1, 0, *range(2, 20)], list(range(20))),
        ([7, 6, 5, 4, 3, 2, 1, 0, 8, 9], list(range(10))),
        ([0, 2, 2, 1, 1, 0, 3, 2, *range(4, 12)], list(range(12))),
        ([0], [0]),
    ],
)
@pytest.mark.parametrize("begin", [0, 65_530])
def test_packets_come_out_in_order_and_once(order: list[int], expected: list[int], begin: int) -> None:
    reorderer = Reorderer()
    assert given_in([begin + sequence for sequence in order], reorderer) == [(begin + n) % 65536 for n in expected]
    assert reorderer.lost == 0


def test_any_shuffling_within_the_window_is_undone() -> None:
    chance = random.Random(7)
    order = list(range(65_000, 67_000))
    for at in range(0, len(order) - 8, 8):
        block = order[at : at + 8]
        chance.shuffle(block)
        order[at : at + 8] = block
    reorderer = Reorderer()
    assert given_in(order, reorderer) == [sequence % 65536 for sequence in range(65_000, 67_000)]
    assert reorderer.lost == 0


def test_a_packet_that_is_missing_holds_the_others_up_for_a_window_and_is_then_lost() -> None:
    reorderer = Reorderer(window=16)
    ready = [given for sequence in range(20) for given in reorderer.add(packet(sequence), 0.0)]
    assert len(ready) == 20
    held = [reorderer.add(packet(sequence), 0.0) for sequence in range(22, 38)]
    assert [len(given) for given in held] == [0] * 15 + [16]
    assert [given.after_loss for given in held[-1]] == [True] + [False] * 15
    assert reorderer.lost == 2
    assert reorderer.add(packet(20), 0.0) == []


def test_a_slow_stream_waits_for_a_missing_packet_by_the_clock() -> None:
    reorderer = Reorderer(patience_s=0.3)
    assert given_in(list(range(10)), reorderer) == list(range(10))
    assert reorderer.add(packet(11), 5.0) == []
    assert reorderer.overdue(5.2) == []
    assert [given.sequence for given in reorderer.overdue(5.4)] == [11]
    assert reorderer.lost == 1


@pytest.mark.parametrize(("sequence", "ssrc"), [(30_000, 1), (10, 2)])
def test_a_sender_that_starts_over_is_followed(sequence: int, ssrc: int) -> None:
    reorderer = Reorderer()
    assert given_in(list(range(10)), reorderer) == list(range(10))
    ready = [given for n in range(9) for given in reorderer.add(packet(sequence + n, ssrc), 2.0)]
    assert [given.sequence for given in ready] == [sequence + n for n in range(9)]
    assert [given.after_loss for given in ready] == [True] + [False] * 8
    assert reorderer.lost == 0


def test_it_keeps_no_more_than_its_window_of_a_sender_that_jumps_about() -> None:
    chance = random.Random(3)
    reorderer = Reorderer(window=32)
    for n in range(5000):
        reorderer.add(packet(chance.randrange(65536)), float(n))
        assert len(reorderer._waiting) < 32


@pytest.mark.parametrize(
    ("agreed", "senders", "taken"),
    [
        (5, "5a0.0 5a0.1", "yy"),
        (5, "7a0.0 7a0.1", "yy"),
        (5, "7a0.0 5a0.0 7a0.0", "yyn"),
        (None, "7a0.0 8a0.0 7a9.0 8a9.0 7a9.0", "ynyny"),
        (None, "7a0.0 8a0.6 8a0.6 8a0.6 9a0.6 8a0.6", "ynnyny"),
        (5, "5a0.0 7a0.0 7a0.0 7a0.0 7a0.4 5a0.4 7a0.8 7a0.8 7a1.0 5a1.0", "ynnnnynnyy"),
        (5, "5a0.0 7a0.6 7a0.6 7a0.6 7a0.6", "ynnyy"),
        (5, "5a0.0 5b0.0 5b0.1 5b0.2 5a0.2 5b0.8 5b0.8 5b0.8", "ynnnynny"),
    ],
)
def test_the_sender_agreed_upon_is_preferred_and_another_is_followed_once_it_is_silent(
    agreed: int | None, senders: str, taken: str
) -> None:
    choice = SenderChoice(agreed, patience=3, silence_s=0.5)
    packets = [(int(who[0]), who[1], float(who[2:])) for who in senders.split()]
    assert "".join("y" if choice.takes(ssrc, sender, now_s) else "n" for ssrc, sender, now_s in packets) == taken
