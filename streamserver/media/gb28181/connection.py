"""One connection to a GB28181 stream: from the first packet to the last picture."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from streamserver.core.errors import SourceError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.connection import Decoded
from streamserver.media.gb28181.dialog import Dialog
from streamserver.media.gb28181.elementary import CodecWatch, Unpacking
from streamserver.media.gb28181.played import PlayedTime, Recording
from streamserver.media.gb28181.program_stream import Piece
from streamserver.media.gb28181.receiver import Receiver
from streamserver.media.gb28181.rtp import RtpPacket
from streamserver.media.gb28181.user_agent import BYE_REASON

FIRST_MEDIA_S = 8.0
"""Longest wait for the first packet after the platform has accepted the stream."""

BLIND_S = 60.0
"""Longest wait for a first or next picture while data comes; cameras that save bandwidth send a key frame a minute."""

_TICK_S = 0.2
_REST_S = {False: 1.0, True: 60.0}
"""Longest time to take what has arrived when the platform has ended a live stream, or a recording."""

_QUIET_S = 0.5
"""What was sent before the stream's end has arrived when nothing has come for so long."""

_FAREWELL_S = 2.0
"""A device that closes the media connection says why within this time, if it does."""


class Decoding(Protocol):
    """Makes pictures of the video.

    Attributes:
        video: what is decoded, in words; empty before the first picture.
    """

    video: str

    def pictures(self, pieces: Iterator[tuple[str, Piece]]) -> Iterator[Decoded]:
        """The pictures in order, those that the decoder still holds at the end as well.

        Args:
            pieces: the video, each piece with its codec.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a connection is made of.

    Attributes:
        receiver: where the media arrives.
        dialog: the agreement with the platform.
        decoding: makes pictures of it.
        recording: what is played back; ``None`` for live.
        silence_s: longest wait for the next packet.
    """

    receiver: Receiver
    dialog: Dialog
    decoding: Decoding
    recording: Recording | None
    silence_s: float


class Gb28181Connection:
    """One connection; see ``media.connection.Connection``.

    Args:
        parts: what it is made of; closed with it.
        stopping: ends every wait.
        monitor: told of what is missing.
    """

    in_bursts = False

    def __init__(self, parts: Parts, *, stopping: threading.Event, monitor: SourceMonitor) -> None:
        self.over = False
        self._receiver, self._dialog = parts.receiver, parts.dialog
        self._decoding = parts.decoding
        self._recording = parts.recording
        self._silence_s = parts.silence_s
        self._stopping = stopping
        self._monitor = monitor
        self._played = PlayedTime()
        if parts.recording is not None:
            parts.recording.plays(self._played)
        self._first: list[RtpPacket] = []
        self._reason = ""
        self._lost = 0
        self._last_picture = time.monotonic()

    @property
    def stream(self) -> str:
        """What is read, in words: ``h264 1920x1080 25 fps``."""
        rate = self._played.rate
        return f"{self._decoding.video} {rate:.4g} fps" if rate else self._decoding.video

    def wait_for_media(self) -> None:
        """Returns when the first packet has come, or when the platform says that there is nothing more to play.

        Raises:
            SourceError: nothing has come.
        """
        began = time.monotonic()
        while not self._stopping.is_set() and (waited_s := time.monotonic() - began) < FIRST_MEDIA_S:
            self._first = self._receiver.packets(_TICK_S)
            if self._first or self._has_ended(waited_s=waited_s):
                if self._reason:
                    raise SourceError(self._reason)
                return
        raise SourceError(
            f"the platform has accepted the stream, and for {FIRST_MEDIA_S:.0f} s no media has come",
            cure="open the media port of this server to the device, see docs/sources.md",
        )

    def pictures(self) -> Iterator[Decoded]:
        """The pictures in order; raises ``SourceError`` when the stream breaks off."""
        for decoded in self._decoding.pictures(self._pieces()):
            known = decoded.time_s is not None
            yield decoded if known else dataclasses.replace(decoded, time_s=self._played.seconds)
            self._last_picture = time.monotonic()
        if self._reason:
            raise SourceError(self._reason)

    def close(self) -> None:
        """Hangs up and frees the port."""
        self._dialog.bye()
        self._receiver.close()
        if self._recording is not None:
            self._recording.broke_off()

    def _pieces(self) -> Iterator[tuple[str, Piece]]:
        """The video as it comes, each piece with its codec; what comes before the codec is known cannot be decoded."""
        unpacking = Unpacking(self._dialog.answer.payloads)
        codecs = CodecWatch()
        for packet in self._packets():
            for piece in unpacking.feed(packet):
                if codec := self._noted(piece, codecs):
                    yield codec, piece
        for piece in unpacking.finish():
            if codec := self._noted(piece, codecs):
                yield codec, piece

    def _noted(self, piece: Piece, codecs: CodecWatch) -> str | None:
        codec = codecs.codec_of(piece)
        self._played.note(piece.pts, is_key=codecs.at_key_frame)
        return codec

    def _packets(self) -> Iterator[RtpPacket]:
        """The packets in order; ends when the stream has ended or broken off, and says in ``_reason`` which."""
        arrived = self._last_picture = time.monotonic()
        rest_until = math.inf
        packets, self._first = self._first, []
        while not self._stopping.is_set():
            yield from packets
            now = time.monotonic()
            if packets:
                arrived = now
            if self._dialog.ended is not None:
                rest_until = min(rest_until, now + _REST_S[self._recording is not None])
            if self._has_ended(waited_s=math.inf if now > rest_until else now - arrived):
                return
            if now - self._last_picture > BLIND_S:
                raise SourceError(f"data comes, but for {BLIND_S:.0f} s no picture could be decoded from it")
            packets = self._receiver.packets(_TICK_S)
            self._tell_losses()

    def _has_ended(self, *, waited_s: float) -> bool:
        """True if nothing more comes; sets ``over`` or ``_reason``.

        Args:
            waited_s: seconds since the last packet.
        """
        reason = self._dialog.ended if waited_s > _QUIET_S else None
        if reason is None and self._receiver.closed_by_sender and waited_s > _FAREWELL_S:
            reason = "the device has closed the media connection"
        if reason is None and waited_s > self._silence_s:
            reason = f"no media has come for {self._silence_s:.0f} s"
        if reason is None:
            return False
        self.over = self._recording is not None and (not reason or self._recording.is_played or self._no_more(reason))
        self._reason = "" if self.over else reason or "the platform says that the stream has ended"
        return True

    def _no_more(self, reason: str) -> bool:
        """A recording has broken off; True if that has been its end."""
        assert self._recording is not None
        if reason == BYE_REASON:
            return self._recording.hung_up()
        return False

    def _tell_losses(self) -> None:
        lost = self._receiver.lost
        if lost > self._lost:
            self._monitor.broken(lost - self._lost)
            self._lost = lost
