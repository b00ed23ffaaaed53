"""What all readers through PyAV share: opening, decoding, converting, and FFmpeg's errors in words."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping

import av
import numpy as np

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.core.urls import mask_credentials
from streamserver.media.connection import Luma

logger = logging.getLogger(__name__)

DEFAULT_RATE = 25.0
"""Frames a second of a stream that does not say, or says something impossible."""

_HIGHEST_RATE = 240.0

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (av.error.HTTPUnauthorizedError, "the user name or the password was refused (401)"),
    (av.error.HTTPForbiddenError, "access was refused (403)"),
    (av.error.HTTPNotFoundError, "there is no such stream (404)"),
    (av.error.ConnectionRefusedError, "the connection was refused"),
    (av.error.ExitError, "no answer in time"),
    (av.error.TimeoutError, "no answer in time"),
    (av.error.InvalidDataError, "this is not a video that can be read"),
    (av.error.PermissionError, "no permission to read it"),
)


def reason_in_words(error: BaseException) -> str:
    """Why FFmpeg gave up, without the address (which may hold a password)."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return mask_credentials(str(getattr(error, "strerror", None) or error or type(error).__name__))


class VideoReader:
    """The first video stream of a file or address, decoded in one thread.

    Args:
        address: what FFmpeg opens.
        options: FFmpeg's options for this protocol.
        timeout_s: seconds to open and seconds to read, ``None`` for no limit.
        blind_s: seconds of data without a picture after which it is given up, ``None`` for no limit.
        on_broken: told of each packet that could not be decoded.

    Raises:
        av.FFmpegError: it cannot be opened.
        SourceError: it has no video.
    """

    def __init__(
        self,
        address: str,
        *,
        options: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] | None = None,
        blind_s: float | None = None,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_broken = on_broken
        self._blind_s = math.inf if blind_s is None else blind_s
        self._container = av.open(address, options=dict(options or {}), timeout=timeout_s, metadata_errors="replace")
        if not self._container.streams.video:
            self._container.close()
            raise SourceError("it has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; may be called more than once."""
        self._container.close()

    @property
    def stream(self) -> str:
        """What is read, in words: ``h264 1920x1080 25 fps``."""
        codec = self._stream.codec_context
        return f"{codec.name} {codec.width}x{codec.height} {self.rate:.4g} fps"

    @property
    def rate(self) -> float:
        """Frames a second, as the stream says; ``DEFAULT_RATE`` where that cannot be."""
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        return rate if 0 < rate <= _HIGHEST_RATE else DEFAULT_RATE

    @property
    def format_names(self) -> frozenset[str]:
        """FFmpeg's names for the container's format, e.g. ``hls`` or ``mov`` and ``mp4``."""
        return frozenset(self._container.format.name.split(","))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded; a packet that cannot is left out.

        What the decoder still holds when the container breaks off is lost with it: of a frozen camera, those frames
        would come many seconds late and look like a sign of life.

        Raises:
            av.FFmpegError: the container itself cannot be read on.
            SourceError: data goes on coming, and for ``blind_s`` no picture could be decoded from it.
        """
        broken = 0
        last_frame = time.monotonic()
        for packet in self._container.demux(self._stream):
            try:
                for frame in packet.decode():
                    yield frame
                    last_frame = time.monotonic()
            except av.FFmpegError:
                broken += 1
                self._on_broken()
            if time.monotonic() - last_frame > self._blind_s:
                raise SourceError(f"data comes, but for {self._blind_s:.0f} s no picture could be decoded from it")
        if broken:
            logger.warning("%d packets could not be decoded and were left out", broken)


def to_picture(frame: av.VideoFrame) -> Picture:
    """The decoder's frame as a picture; upright, whatever way the camera was held.

    The decoder's frame is counted by reference and never written again, so it may be converted later and by another
    thread, and stays right after the reader has gone on or was closed.
    """
    quarter_turns = round(frame.rotation / 90) % 4
    size_wh = (frame.width, frame.height) if quarter_turns % 2 == 0 else (frame.height, frame.width)

    def load() -> ImageBgr:
        image: ImageBgr = frame.to_ndarray(format="bgr24", threads=1)
        return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image

    return Picture(size_wh, load)


_GRID = 8
"""Of every so many rows and columns, ``luma_of`` takes one."""


def luma_of(frame: av.VideoFrame) -> Luma:
    """The brightness of every eighth pixel of every eighth row, a copy."""
    if frame.format.components and frame.format.components[0].bits == 8 and frame.format.is_planar:
        plane = frame.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        return rows[::_GRID, : plane.width : _GRID].copy()
    grey: Luma = frame.to_ndarray(format="gray8", threads=1)
    return grey[::_GRID, ::_GRID].copy()
