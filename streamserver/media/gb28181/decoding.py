"""From the bytes of a video to pictures, with PyAV."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from streamserver.core.errors import SourceError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.av_reader import luma_of, to_picture
from streamserver.media.connection import Decoded, Moment
from streamserver.media.gate import GateSpec
from streamserver.media.gated import Decoder, Gated
from streamserver.media.gb28181.elementary import has_key_frame
from streamserver.media.gb28181.program_stream import CLOCK_HZ, Piece
from streamserver.media.pacing import DEFAULT_RATE

_CURE = "set the camera to H.264 or H.265"

_LARGEST_PICTURE_BYTES = 16 << 20
"""So much without the end of a picture is no video: it is thrown away, or it would be kept without end."""

_MOST_TIMES = 4096
"""Presentation times that are kept for pictures whose end has not come."""


class AvDecoding:
    """Decodes pieces in one thread; another codec or size in mid-stream goes on.

    Args:
        on_broken: told of each picture that could not be decoded, or came out damaged.
        gate: key frames only while nothing moves; ``None`` for every picture.
        monitor: told whether the gate is open.

    Attributes:
        video: what is decoded, in words: ``h264 1920x1080``; empty before the first picture.
    """

    def __init__(
        self, on_broken: Callable[[], None], *, gate: GateSpec | None = None, monitor: SourceMonitor | None = None
    ) -> None:
        self.video = ""
        self._on_broken = on_broken
        self._gate, self._monitor = gate, monitor or SourceMonitor()

    def pictures(self, pieces: Iterator[tuple[str, Piece]]) -> Iterator[Decoded]:
        """The pictures in order, those that the decoder still holds at the end as well.

        Args:
            pieces: each with its codec.

        Raises:
            SourceError: FFmpeg has no decoder for it.
        """
        decoder: _Decoder | None = None
        for codec, piece in pieces:
            if decoder is None or decoder.name != codec:
                if decoder is not None:
                    yield from self._decoded(decoder.name, decoder.finish())
                decoder = _Decoder(codec, self._on_broken)
                if self._gate is not None:
                    decoder.put_behind(self._gate, self._monitor)
            yield from self._decoded(codec, decoder.decode(piece))
        if decoder is not None:
            yield from self._decoded(decoder.name, decoder.finish())

    def _decoded(self, codec: str, given: Iterator[tuple[av.VideoFrame, Moment | None]]) -> Iterator[Decoded]:
        for frame, moment in given:
            self.video = f"{codec} {frame.width}x{frame.height}"
            yield Decoded(to_picture(frame), frame.time, functools.partial(luma_of, frame), moment)


class _Decoder:
    """One decoder of FFmpeg's; knows which picture is due when, by where its bytes began."""

    def __init__(self, name: str, on_broken: Callable[[], None]) -> None:
        self.name = name
        self._on_broken = on_broken
        self._gated: Gated[av.Packet, av.VideoFrame] | None = None
        self._open()

    def put_behind(self, gate: GateSpec, monitor: SourceMonitor) -> None:
        """From now on only key frames are decoded while nothing moves."""
        decoder = Decoder(self._decode_leniently, self._rest, luma_of)
        self._gated = Gated(gate, decoder, rate=DEFAULT_RATE, monitor=monitor)

    def _open(self) -> None:
        try:
            self._context = av.CodecContext.create(self.name, "r")
        except (av.FFmpegError, ValueError) as e:
            raise SourceError(f"the video is {self.name}, which cannot be decoded", cure=_CURE) from e
        self._context.thread_count = 1
        self._fed = self._parsed = 0
        self._times: deque[tuple[int, int]] = deque(maxlen=_MOST_TIMES)

    def decode(self, piece: Piece) -> Iterator[tuple[av.VideoFrame, Moment | None]]:
        """The pictures that are complete now."""
        if piece.pts is not None:
            self._times.append((self._fed, piece.pts))
        self._fed += len(piece.data)
        yield from self._decode_parsed(piece.data)
        if self._fed - self._parsed > _LARGEST_PICTURE_BYTES:
            self._on_broken()
            self._open()
            if self._gated is not None:
                self._gated.start_over()

    def finish(self) -> Iterator[tuple[av.VideoFrame, Moment | None]]:
        """What it still holds; the last picture was not known to be complete before."""
        yield from self._decode_parsed(b"")
        if self._gated is not None:
            yield from self._gated.finish()
        else:
            yield from ((frame, None) for frame in self._decode_leniently(None))

    def _decode_parsed(self, data: bytes) -> Iterator[tuple[av.VideoFrame, Moment | None]]:
        for packet in self._context.parse(data):
            packet.pts = self._time_of_next()
            packet.time_base = Fraction(1, CLOCK_HZ)
            self._parsed += packet.size
            if self._gated is not None:
                packet.is_keyframe = has_key_frame(bytes(packet), self.name)
                yield from self._gated.take(packet)
            else:
                yield from ((frame, None) for frame in self._decode_leniently(packet))

    def _time_of_next(self) -> int | None:
        """When the picture is due whose bytes begin where parsing stands."""
        time: int | None = None
        while self._times and self._times[0][0] <= self._parsed:
            time = self._times.popleft()[1]
        return time

    def _decode_leniently(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        try:
            frames = list(self._context.decode(packet))
        except av.EOFError:
            return []
        except av.FFmpegError:
            self._on_broken()
            return []
        for frame in frames:
            if frame.is_corrupt:
                self._on_broken()
        return frames

    def _rest(self) -> list[av.VideoFrame]:
        frames = self._decode_leniently(None)
        self._context.flush_buffers()
        for frame in frames:
            frame.time_base = Fraction(1, CLOCK_HZ)  # only a packet tells them
        return frames
