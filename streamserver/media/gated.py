"""Decodes a stream behind its motion gate: key frames only at rest, and all since the last one as soon as it moves.

While nothing moves, packets since the last key frame are kept; when something does, they are decoded then, so that no
frame of what happened is lost, only late. Numbers and times are those that the pictures would have had.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.connection import Luma, Moment
from streamserver.media.gate import GateSpec, MotionWatch, SizeWatch
from streamserver.media.source_clock import ArrivalClock, SourceClock

logger = logging.getLogger(__name__)

LONGEST_GROUP_S = 12.0
LARGEST_GROUP_BYTES = 16 << 20
"""Of a stream with longer groups of pictures, from key frame to key frame, everything is decoded."""

_LOOK_S = 0.4
"""How often pictures are compared while all are decoded."""

_KEY_FRAMES_APART_S = 1.0
"""Of key frames that come closer (in MJPEG all are such), not all are decoded at rest."""

_LATE_S = 0.25
_CATCH_UP_S = 10.0
"""Pictures that come while the late ones are worked off are late too; after so long, the engine is too slow for it."""


class Packet(Protocol):
    """What a demuxer gives: one picture, compressed."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def is_keyframe(self) -> bool:
        """Whether it can be decoded by itself."""

    @property
    def pts(self) -> int | None:
        """When it is to be shown."""

    @property
    def dts(self) -> int | None:
        """When it is to be decoded."""

    @property
    def time_base(self) -> Fraction | None:
        """What one of these ticks is, in seconds."""


class Decodable(Protocol):
    """A picture as the decoder gives it."""

    @property
    def pts(self) -> int | None:
        """That of its packet."""


PacketT = TypeVar("PacketT", bound=Packet)
FrameT = TypeVar("FrameT", bound=Decodable)


@dataclass(frozen=True, slots=True)
class Decoder(Generic[PacketT, FrameT]):
    """What is asked of a decoder; nothing is raised for what cannot be decoded.

    Attributes:
        decode: the pictures that are complete with this packet.
        rest: those that it still holds; a key frame follows.
        luma: a picture's brightness.
    """

    decode: Callable[[PacketT], list[FrameT]]
    rest: Callable[[], list[FrameT]]
    luma: Callable[[FrameT], Luma]


@dataclass(frozen=True, slots=True)
class _Kept(Generic[PacketT]):
    """A packet, how many came before it, when it came, and its time in the stream."""

    packet: PacketT
    number: int
    arrived: float
    stream_s: float


class Gated(Generic[PacketT, FrameT]):
    """Gives the pictures of a stream, or its key frames only while nothing moves.

    It starts at rest: what moves between the first two key frames is decoded late like all else, and the cameras of a
    machine that starts need not all be decoded at once.

    Args:
        spec: what to watch.
        decoder: decodes it; nobody else uses it.
        rate: pictures a second, where timestamps do not tell.
        monitor: told what comes, and whether the gate is open.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        spec: GateSpec,
        decoder: Decoder[PacketT, FrameT],
        *,
        rate: float,
        monitor: SourceMonitor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._decoder, self._rate = spec, decoder, rate
        self._monitor, self._clock = monitor, clock
        self._times, self._arrivals = SourceClock(), ArrivalClock()
        self._taken = self._next = 0
        self._last: _Kept[PacketT] | None = None
        self._late_until: float | None = None
        self._open, self._open_until_s, self._complained = False, 0.0, False
        self._monitor.gate(is_open=False)
        self._forget()

    @property
    def is_open(self) -> bool:
        """Whether everything is decoded."""
        return self._open

    def start_over(self) -> None:
        """Another video follows: what was learned does not hold, and what is kept cannot be decoded any more."""
        self._forget()

    def take(self, packet: PacketT) -> Iterator[tuple[FrameT, Moment]]:
        """The pictures that are to be looked at now that ``packet`` has come."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        stamp_s = None if stamp is None or packet.time_base is None else float(stamp * packet.time_base)
        kept = _Kept(
            packet,
            self._taken,
            self._arrivals.at(stamp_s, now=self._clock()),
            self._times.at(stamp_s, rate=self._rate),
        )
        self._taken += 1
        self._last = kept
        yield from self._through(kept) if self._open else self._at_rest(kept)

    def finish(self) -> Iterator[tuple[FrameT, Moment]]:
        """What is left at the end of the stream."""
        if self._last is None:
            return
        if not self._open and self._moved_meanwhile():
            yield from self._open_up(self._last.stream_s)
        if self._open:
            for frame in self._decoder.rest():
                yield self._given(frame, self._last)

    def _forget(self) -> None:
        self._watch, self._sizes = MotionWatch(self._spec.areas), SizeWatch()
        self._group: deque[_Kept[PacketT]] = deque()
        self._group_bytes = 0
        self._next = self._taken = max(self._next, self._taken)
        self._looked_s = self._key_frame_s = -math.inf
        self._bytes_since = 0
        self._group_fits = False
        self._rests_since_s = math.inf

    # Open: every packet is decoded.

    def _through(self, kept: _Kept[PacketT]) -> Iterator[tuple[FrameT, Moment]]:
        self._measure_group(kept)
        if kept.packet.is_keyframe and self._group_fits and kept.stream_s >= self._open_until_s:
            yield from self._close(kept)
            return
        for frame in self._decoder.decode(kept.packet):
            yield self._given(frame, kept)

    def _measure_group(self, kept: _Kept[PacketT]) -> None:
        """Notes whether the stream's groups are of a size that can be kept."""
        fits = self._bytes_since <= LARGEST_GROUP_BYTES and kept.stream_s - self._key_frame_s <= LONGEST_GROUP_S
        self._bytes_since += kept.packet.size
        if kept.packet.is_keyframe:
            self._group_fits = fits
            self._key_frame_s, self._bytes_since = kept.stream_s, kept.packet.size
        if not fits and self._key_frame_s > -math.inf and kept.stream_s > self._open_until_s:
            self._complain()

    def _complain(self) -> None:
        if not self._complained:
            logger.warning(
                "no key frame within %.0f s or %d MB: the motion gate stays open while that is so; "
                "set the camera to a key frame every 1 to 4 s",
                *(LONGEST_GROUP_S, LARGEST_GROUP_BYTES >> 20),
            )
        self._complained = True

    def _given(self, frame: FrameT, kept: _Kept[PacketT], *, late: bool = False) -> tuple[FrameT, Moment]:
        if kept.stream_s - self._looked_s >= _LOOK_S:
            self._looked_s = kept.stream_s
            if self._watch.moves(self._decoder.luma(frame), at_rest=False):
                self._open_until_s = max(self._open_until_s, kept.stream_s + self._spec.hold_s)
        moment = Moment(self._next, kept.arrived, late=late or self._still_late(kept.arrived))
        self._next += 1
        return frame, moment

    def _still_late(self, arrived: float) -> bool:
        """Whether a picture that came just now waited because those before were late."""
        if self._late_until is None:
            return False
        now = self._clock()
        if now - arrived < _LATE_S or now > self._late_until:
            self._late_until = None
        return self._late_until is not None

    def _close(self, kept: _Kept[PacketT]) -> Iterator[tuple[FrameT, Moment]]:
        """``kept`` is a key frame, and nothing has moved for a while."""
        for frame in self._decoder.rest():
            yield self._given(frame, kept)
        if self._next > kept.number:  # packets may hold more than one picture
            kept = _Kept(kept.packet, self._next, kept.arrived, kept.stream_s)
            self._taken = self._next + 1
        self._open, self._key_frame_s, self._rests_since_s = False, -math.inf, kept.stream_s
        self._monitor.gate(is_open=False)
        yield from self._at_rest(kept)

    # At rest: packets are kept, key frames looked at.

    def _at_rest(self, kept: _Kept[PacketT]) -> Iterator[tuple[FrameT, Moment]]:
        self._monitor.resting()
        if kept.packet.is_keyframe and kept.stream_s - self._key_frame_s >= _KEY_FRAMES_APART_S:
            yield from self._key_frame(kept)
            return
        if self._group:
            self._keep(kept)
        self._rests_since_s = min(self._rests_since_s, kept.stream_s)
        since_s = max(self._key_frame_s, self._rests_since_s)
        if self._group_bytes > LARGEST_GROUP_BYTES or kept.stream_s - since_s > LONGEST_GROUP_S:
            self._group_fits = False
            self._complain()
            yield from self._open_up(kept.stream_s)
        elif not kept.packet.is_keyframe and self._sizes.suspicious(kept.packet.size):
            if self._moved_meanwhile():
                yield from self._open_up(kept.stream_s)
            else:
                self._sizes.nothing()

    def _key_frame(self, kept: _Kept[PacketT]) -> Iterator[tuple[FrameT, Moment]]:
        frames = [*self._decoder.decode(kept.packet), *self._decoder.rest()]
        if not frames:
            if self._group:
                self._keep(kept)
            return
        self._sizes.key_frame()
        if self._watch.moves(self._decoder.luma(frames[-1]), at_rest=True):
            yield from self._open_up(kept.stream_s)
            yield from self._through(kept)
            return
        self._group.clear()
        self._group_bytes = 0
        self._keep(kept)
        self._next, self._key_frame_s = kept.number + 1, kept.stream_s
        yield frames[-1], Moment(kept.number, kept.arrived, at_rest=True)

    def _keep(self, kept: _Kept[PacketT]) -> None:
        self._group.append(kept)
        self._group_bytes += kept.packet.size

    def _moved_meanwhile(self) -> bool:
        """Decodes what is kept, only to see whether something moves in it."""
        looked_s = -math.inf
        for kept in self._group:
            for frame in self._decoder.decode(kept.packet):
                due = kept.stream_s - looked_s >= _LOOK_S / 2 or kept is self._group[-1]
                if due and self._watch.moves(self._decoder.luma(frame), at_rest=False, learn=False):
                    self._decoder.rest()
                    return True
                looked_s = kept.stream_s if due else looked_s
        held = self._decoder.rest()
        return bool(held) and self._watch.moves(self._decoder.luma(held[-1]), at_rest=False, learn=False)

    def _open_up(self, stream_s: float) -> Iterator[tuple[FrameT, Moment]]:
        """Goes back to the last key frame: all that came after it, late."""
        self._open, self._open_until_s, self._late_until = True, stream_s + self._spec.hold_s, None
        self._monitor.gate(is_open=True)
        if not self._group:
            return
        key = self._group[0]
        before = sum(_is_before(kept.packet.pts, key.packet.pts) for kept in self._group)
        self._next = key.number + 1 + before
        self._key_frame_s, self._bytes_since, self._group_bytes = key.stream_s, self._group_bytes, 0
        shown, left_out = False, 0
        while self._group:
            kept = self._group.popleft()
            for frame in self._decoder.decode(kept.packet):
                shown = shown or left_out > before or not _is_known(frame.pts, key.packet.pts, left_out)
                if shown:
                    yield self._given(frame, kept, late=True)
                left_out += not shown
        self._late_until = self._clock() + _CATCH_UP_S


def _is_before(pts: int | None, key_frame_pts: int | None) -> bool:
    """Whether a packet is shown before the key frame that it follows: it needs pictures that were not decoded."""
    return pts is not None and key_frame_pts is not None and pts < key_frame_pts


def _is_known(pts: int | None, key_frame_pts: int | None, left_out: int) -> bool:
    """Whether a picture is the key frame that was given before, or one that is shown before it."""
    if pts is None or key_frame_pts is None:
        return left_out == 0
    return pts <= key_frame_pts
