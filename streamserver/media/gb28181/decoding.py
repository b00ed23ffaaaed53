"""From the bytes of a video to pictures, with PyAV."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from streamserver.core.errors import SourceError
from streamserver.media.av_reader import luma_of, to_picture
from streamserver.media.connection import Decoded
from streamserver.media.gb28181.program_stream import CLOCK_HZ, Piece

_CURE = "set the camera to H.264 or H.265"

_LARGEST_PICTURE_BYTES = 16 << 20
"""So much without the end of a picture is no video: it is thrown away, or it would be kept without end."""

_MOST_TIMES = 4096
"""Presentation times that are kept for pictures whose end has not come."""


class AvDecoding:
    """Decodes pieces in one thread; another codec or size in mid-stream goes on.

    Args:
        on_broken: told of each picture that could not be decoded, or came out damaged.

    Attributes:
        video: what is decoded, in words: ``h264 1920x1080``; empty before the first picture.
    """

    def __init__(self, on_broken: Callable[[], None]) -> None:
        self.video = ""
        self._on_broken = on_broken

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
            yield from self._decoded(codec, decoder.decode(piece))
        if decoder is not None:
            yield from self._decoded(decoder.name, decoder.finish())

    def _decoded(self, codec: str, frames: Iterator[av.VideoFrame]) -> Iterator[Decoded]:
        for frame in frames:
            self.video = f"{codec} {frame.width}x{frame.height}"
            yield Decoded(to_picture(frame), frame.time, functools.partial(luma_of, frame))


class _Decoder:
    """One decoder of FFmpeg's; knows which picture is due when, by where its bytes began."""

    def __init__(self, name: str, on_broken: Callable[[], None]) -> None:
        self.name = name
        self._on_broken = on_broken
        self._open()

    def _open(self) -> None:
        try:
            self._context = av.CodecContext.create(self.name, "r")
        except (av.FFmpegError, ValueError) as e:
            raise SourceError(f"the video is {self.name}, which cannot be decoded", cure=_CURE) from e
        self._context.thread_count = 1
        self._fed = self._parsed = 0
        self._times: deque[tuple[int, int]] = deque(maxlen=_MOST_TIMES)

    def decode(self, piece: Piece) -> Iterator[av.VideoFrame]:
        """The pictures that are complete now."""
        if piece.pts is not None:
            self._times.append((self._fed, piece.pts))
        self._fed += len(piece.data)
        yield from self._decode_parsed(piece.data)
        if self._fed - self._parsed > _LARGEST_PICTURE_BYTES:
            self._on_broken()
            self._open()

    def finish(self) -> Iterator[av.VideoFrame]:
        """What it still holds; the last picture was not known to be complete before."""
        yield from self._decode_parsed(b"")
        yield from self._decode_packet(None)

    def _decode_parsed(self, data: bytes) -> Iterator[av.VideoFrame]:
        for packet in self._context.parse(data):
            packet.pts = self._time_of_next()
            packet.time_base = Fraction(1, CLOCK_HZ)
            self._parsed += packet.size
            yield from self._decode_packet(packet)

    def _time_of_next(self) -> int | None:
        """When the picture is due whose bytes begin where parsing stands."""
        time: int | None = None
        while self._times and self._times[0][0] <= self._parsed:
            time = self._times.popleft()[1]
        return time

    def _decode_packet(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            self._on_broken()
            return
        for frame in frames:
            if frame.is_corrupt:
                self._on_broken()
            yield frame
