"""RTP packets (RFC 3550): taken apart, told from strangers', and put back into order."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

_HEADER_BYTES = 12
_SEQUENCES = 1 << 16
_RTCP_TYPES = range(192, 224)
"""Second bytes that are RTCP's where both share a port (RFC 5761)."""


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet without padding, header extension and list of contributing sources.

    Attributes:
        sequence: 0 to 65535, one more with each packet.
        timestamp: the sender's 90 kHz clock, the same for all packets of a picture.
        ssrc: who sends.
        payload_type: what it holds, as the session's description says.
        marker: the last packet of a picture, as most senders mean it.
        payload: never empty.
        after_loss: packets before this one are missing.
    """

    sequence: int
    timestamp: int
    ssrc: int
    payload_type: int
    marker: bool
    payload: bytes
    after_loss: bool = False


def is_rtcp(data: bytes) -> bool:
    """True for a control packet, which says nothing of the pictures."""
    return len(data) > 1 and data[1] in _RTCP_TYPES


def parse_rtp(data: bytes) -> RtpPacket | None:
    """The packet in ``data``; ``None`` for what is none: RTCP, keep-alives without content, garbage."""
    if len(data) <= _HEADER_BYTES or data[0] >> 6 != 2 or is_rtcp(data):
        return None
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    start = _HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    end = len(data) - (data[-1] if first & 0x20 else 0)
    if start >= end:
        return None
    return RtpPacket(sequence, timestamp, ssrc, second & 0x7F, bool(second & 0x80), data[start:end])


class SenderChoice:
    """Whose packets are taken when several senders reach one port.

    The sender that was agreed upon is taken whenever it comes. Many platforms send under another number than they say,
    so until it comes the first sender is taken. Another one, or the same number from another address, is taken after
    ``patience`` packets in a row, once the one before has been silent for ``silence_s``: a call that nobody has ended
    may send to our port as well, and must not have its turn between the pictures of ours.

    Args:
        agreed: the SSRC of the answer; ``None`` if it says none.
        patience: packets in a row that make a new sender the right one.
        silence_s: of the sender before.
    """

    def __init__(self, agreed: int | None, *, patience: int = 5, silence_s: float = 0.5) -> None:
        self._agreed = agreed
        self._patience = patience
        self._silence_s = silence_s
        self._chosen: tuple[int, object] | None = None
        self._heard_s = 0.0
        self._rival: tuple[int, object] | None = None
        self._in_a_row = 0

    def takes(self, ssrc: int, sender: object, now_s: float) -> bool:
        """True if a packet of this sender belongs to the stream.

        Args:
            ssrc: the number that the packet bears.
            sender: where it came from.
            now_s: when, on any clock that never goes back.
        """
        who = (ssrc, sender)
        if who != self._chosen:
            self._in_a_row = self._in_a_row + 1 if who == self._rival else 1
            self._rival = who
            if self._chosen is not None and not self._replaces(self._chosen[0], ssrc, now_s):
                return False
        self._chosen, self._heard_s, self._rival = who, now_s, None
        return True

    def _replaces(self, chosen_ssrc: int, ssrc: int, now_s: float) -> bool:
        if ssrc == self._agreed != chosen_ssrc:
            return True
        return self._in_a_row >= self._patience and now_s - self._heard_s >= self._silence_s


_SETTLING = 8
"""Packets that are waited for where a stream begins."""


class Reorderer:
    """Gives packets in the order of their numbers, each once.

    A packet that is missing is waited for until ``window`` later ones have come or the oldest of these has waited for
    ``patience_s``; then it is lost, and the next one says so. A number far off the others is a sender that has started
    over: there, as at the beginning, a few packets are waited for, because the first to come need not be the first.

    Attributes:
        lost: packets that were given up so far.
    """

    def __init__(self, *, window: int = 64, patience_s: float = 0.3) -> None:
        self.lost = 0
        self._window = window
        self._patience_s = patience_s
        self._next: int | None = None
        self._ssrc: int | None = None
        self._settling, self._restarted = True, False
        self._waiting: dict[int, tuple[float, RtpPacket]] = {}

    def add(self, packet: RtpPacket, now_s: float) -> list[RtpPacket]:
        """What can be given now that ``packet`` has come, in order.

        Args:
            packet: the next as it came from the network.
            now_s: when it came, on any clock that never goes back.
        """
        ready: list[RtpPacket] = []
        if self._next is None or packet.ssrc != self._ssrc or self._is_far(packet.sequence - self._next):
            while self._waiting:
                ready += self._skip_to_the_oldest()
            self._start_over(packet)
        assert self._next is not None
        if (packet.sequence - self._next) % _SEQUENCES > _SEQUENCES // 2:
            return ready
        self._waiting.setdefault(packet.sequence, (now_s, packet))
        ready += self._in_a_row()
        while len(self._waiting) >= (_SETTLING if self._settling else self._window):
            ready += self._skip_to_the_oldest()
        return ready + self.overdue(now_s)

    def overdue(self, now_s: float) -> list[RtpPacket]:
        """What has waited long enough for packets before it."""
        ready: list[RtpPacket] = []
        while self._waiting and now_s - min(since for since, _ in self._waiting.values()) > self._patience_s:
            ready += self._skip_to_the_oldest()
        return ready

    def _is_far(self, ahead: int) -> bool:
        reach = 16 * self._window
        return reach < ahead % _SEQUENCES < _SEQUENCES - reach

    def _in_a_row(self) -> list[RtpPacket]:
        ready: list[RtpPacket] = []
        assert self._next is not None
        while (entry := self._waiting.pop(self._next, None)) is not None:
            ready.append(entry[1])
            self._next = (self._next + 1) % _SEQUENCES
        return ready

    def _skip_to_the_oldest(self) -> list[RtpPacket]:
        assert self._next is not None
        expected = self._next
        missing = min((sequence - expected) % _SEQUENCES for sequence in self._waiting)
        self._next = (expected + missing) % _SEQUENCES
        first, *rest = self._in_a_row()
        if not self._settling:
            self.lost += missing
        after_loss = self._restarted or not self._settling
        self._settling = False
        return [replace(first, after_loss=after_loss), *rest]

    def _start_over(self, packet: RtpPacket) -> None:
        self._restarted = self._next is not None
        self._settling = True
        self._ssrc, self._next = packet.ssrc, (packet.sequence - _SETTLING) % _SEQUENCES
