from __future__ import annotations

import functools
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from streamserver.core.errors import SourceError
from streamserver.media.gb28181.receiver import Receiver, TcpReceiver, UdpReceiver
from streamserver.media.gb28181.rtp import Reorderer, RtpPacket, SenderChoice
from tests.servers.ports import free_port

HOST = "127.0.0.1"
PATIENCE = 300
"""Waits of 0.1 s until a test gives up."""


@pytest.fixture
def however_slow_we_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """No packet is taken for lost, and no sender for silent, because a busy machine lets the test wait."""
    parts = {
        "Reorderer": functools.partial(Reorderer, patience_s=60.0),
        "SenderChoice": functools.partial(SenderChoice, silence_s=60.0),
    }
    for name, part in parts.items():
        monkeypatch.setattr(f"streamserver.media.gb28181.receiver.{name}", part)


def rtp(number: int, ssrc: int = 7) -> bytes:
    return struct.pack("!BBHII", 0x80, 96, number, 0, ssrc) + bytes([number])


def tcp_receiver(*, listening: bool = True, port: int = 0) -> TcpReceiver:
    return TcpReceiver(HOST, port, listening=listening, stopping=threading.Event())


def taken(receiver: Receiver, count: int, meanwhile: Callable[[], None] = lambda: None) -> list[RtpPacket]:
    packets: list[RtpPacket] = []
    for _ in range(PATIENCE):
        meanwhile()
        packets += receiver.packets(0.1)
        if len(packets) >= count:
            return packets
    raise AssertionError(f"only {len(packets)} packets came")


@pytest.mark.usefixtures("however_slow_we_send")
def test_udp_is_taken_on_an_even_port_and_control_packets_on_the_next_are_thrown_away() -> None:
    receiver = UdpReceiver(HOST, 0)
    assert receiver.port % 2 == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        receiver.expect(7, sender=(HOST, 1))
        for number in (0, 2, 1, *range(3, 12)):
            sender.sendto(b"\x80\xc8report", (HOST, receiver.port + 1))
            sender.sendto(b"\x80\xc8report", (HOST, receiver.port))
            sender.sendto(b"garbage", (HOST, receiver.port))
            sender.sendto(rtp(number), (HOST, receiver.port))
        assert [packet.sequence for packet in taken(receiver, 12)] == list(range(12))
    assert receiver.lost == 0
    receiver.close()
    receiver.close()
    assert f"rtp-{receiver.port}" not in {thread.name for thread in threading.enumerate()}


def test_what_comes_before_the_answer_is_kept() -> None:
    receiver = UdpReceiver(HOST, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(rtp(1), (HOST, receiver.port))
        receiver.expect(99, sender=(HOST, 1))
        assert [packet.ssrc for packet in taken(receiver, 1)] == [7]
    receiver.close()


@pytest.mark.usefixtures("however_slow_we_send")
def test_another_call_that_sends_to_our_port_has_no_turn_between_our_pictures() -> None:
    receiver = UdpReceiver(HOST, 0)
    receiver.expect(7, sender=(HOST, 1))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for number in range(12):
            ours.sendto(rtp(number), (HOST, receiver.port))
            for late in range(20):
                other.sendto(rtp(20 * (number % 10) + late, 8), (HOST, receiver.port))
                other.sendto(rtp(20 * (number % 10) + late, 7), (HOST, receiver.port))
        packets = taken(receiver, 12)
    assert [(packet.ssrc, packet.sequence, packet.after_loss) for packet in packets] == [
        (7, number, False) for number in range(12)
    ]
    receiver.close()


def test_datagrams_that_nobody_takes_do_not_pile_up_even_if_they_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.media.gb28181.receiver._LARGEST_BACKLOG_BYTES", 10_000)
    receiver = UdpReceiver(HOST, 0)
    receiver.expect(7, sender=(HOST, 1))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(1000):
            sender.sendto(b"", (HOST, receiver.port))
        deadline = time.monotonic() + 60
        while len(receiver._backlog) < 39:
            assert time.monotonic() < deadline, f"{len(receiver._backlog)} datagrams wait"
            time.sleep(0.01)
        assert len(receiver._backlog) <= 40
        numbers = itertools.count()
        taken(receiver, 10, lambda: sender.sendto(rtp(next(numbers)), (HOST, receiver.port)) and None)
    receiver.close()


def test_a_port_that_is_taken_is_named_with_the_cure() -> None:
    first = UdpReceiver(HOST, free_port(socket.SOCK_DGRAM))
    with pytest.raises(SourceError, match=f"the media port {first.port}/UDP cannot be taken.*localmediaport"):
        UdpReceiver(HOST, first.port)
    first.close()
    again = UdpReceiver(HOST, first.port)
    assert again.port == first.port
    again.close()
    listener = tcp_receiver()
    with pytest.raises(SourceError, match=f"the media port {listener.port}/TCP cannot be taken"):
        tcp_receiver(port=listener.port)
    listener.close()


def test_an_address_in_front_of_a_nat_is_listened_for_on_all() -> None:
    receiver = UdpReceiver("203.0.113.9", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(rtp(1), (HOST, receiver.port))
        assert len(taken(receiver, 1)) == 1
    receiver.close()


def test_a_device_connects_after_somebody_who_said_nothing() -> None:
    receiver = tcp_receiver()
    receiver.expect(7, sender=(HOST, 1))
    socket.create_connection((HOST, receiver.port)).close()
    with socket.create_connection((HOST, receiver.port)) as device:
        stream = b"".join(struct.pack("!H", len(rtp(number))) + rtp(number) for number in range(10))
        device.sendall(stream)
        assert [packet.sequence for packet in taken(receiver, 10)] == list(range(10))
        assert not receiver.closed_by_sender
    for _ in range(PATIENCE):
        receiver.packets(0.1)
        if receiver.closed_by_sender:
            break
    assert receiver.closed_by_sender
    assert receiver.packets(0.01) == []
    receiver.close()
    receiver.close()


def test_a_connection_that_is_reset_counts_as_closed() -> None:
    receiver = tcp_receiver()
    device = socket.create_connection((HOST, receiver.port))
    device.sendall(struct.pack("!H", len(rtp(1))) + rtp(1))
    taken(receiver, 1)
    device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    device.close()
    for _ in range(PATIENCE):
        receiver.packets(0.1)
        if receiver.closed_by_sender:
            break
    assert receiver.closed_by_sender
    receiver.close()


def test_we_connect_to_a_device_that_listens() -> None:
    with socket.create_server((HOST, 0)) as device:
        receiver = tcp_receiver(listening=False)
        receiver.expect(7, sender=device.getsockname())
        connection, _ = device.accept()
        with connection:
            connection.sendall(b"$\x00" + struct.pack("!H", len(rtp(3))) + rtp(3))
            assert [packet.sequence for packet in taken(receiver, 1)] == [3]
        receiver.close()


def test_a_device_that_does_not_listen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.media.gb28181.receiver._CONNECT_LIMIT_S", 0.3)
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        receiver = tcp_receiver(listening=False)
        port = nobody.getsockname()[1]
        with pytest.raises(SourceError, match=f"media port 127.0.0.1:{port} takes no TCP connection"):
            receiver.expect(7, sender=(HOST, port))
        receiver.close()


def test_an_attempt_to_connect_that_nobody_answers_leaves_time_for_a_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = threading.Event()

    def black_hole(address: tuple[str, int], timeout: float) -> socket.socket:
        stopping.set()
        assert timeout < 2, "of the 5 s that a stop may take, BYE and the end of the registration need 3"
        raise TimeoutError

    monkeypatch.setattr("streamserver.media.gb28181.receiver.socket.create_connection", black_hole)
    receiver = TcpReceiver(HOST, 0, listening=False, stopping=stopping)
    with pytest.raises(SourceError, match="takes no TCP connection"):
        receiver.expect(7, sender=(HOST, 1))
    receiver.close()
