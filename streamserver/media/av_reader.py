"""What all readers through PyAV share: opening, decoding, converting, and FFmpeg's errors in words."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.stream import Discard

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.core.urls import mask_credentials
from streamserver.media import diagnosis
from streamserver.media.connection import Luma
from streamserver.media.pacing import plausible_rate

logger = logging.getLogger(__name__)

_EXPIRED = 0.9
"""When its time limit expires, FFmpeg may first hand out what its parser holds: a packet that took this share of it."""


class ByteFile(Protocol):
    """What FFmpeg can read a format from, instead of an address."""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end."""


_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (av.error.HTTPUnauthorizedError, diagnosis.UNAUTHORIZED),
    (av.error.HTTPForbiddenError, diagnosis.FORBIDDEN),
    (av.error.HTTPNotFoundError, diagnosis.NOT_FOUND),
    (av.error.HTTPTooManyRequestsError, "the server wants to be asked less often (429)"),
    (av.error.HTTPClientError, "the server refused the request (4xx)"),
    (av.error.HTTPServerError, "the server has failed (5xx)"),
    (av.error.ExitError, diagnosis.NO_ANSWER),
    (av.error.InvalidDataError, diagnosis.NO_VIDEO),
    (av.error.PermissionError, "no permission to read it"),
)

_CHECKED_CODECS = {
    "h264": "h264_metadata",
    "hevc": "hevc_metadata",
    "mpeg4": "mpeg4_unpack_bframes",
    "mpeg2video": "mpeg2_metadata",
    "mjpeg": "mjpeg2jpeg",
    "vvc": "vvc_metadata",
}
"""For each codec that a camera may change to, a filter of FFmpeg's that takes no other.

Only codecs whose decoder has the codec's own name: for AV1, the decoder called ``av1`` needs a graphics card.
"""


def reason_in_words(error: BaseException) -> str:
    """Why FFmpeg gave up, without the address (which may hold a password)."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    number = getattr(error, "errno", None)
    words = diagnosis.words_for(number if isinstance(number, int) else None)
    return words or mask_credentials(str(getattr(error, "strerror", None) or error or type(error).__name__))


class VideoReader:
    """The first video stream of a file or address, decoded in one thread; other streams are not looked at.

    Args:
        address: what FFmpeg opens, or a file object that gives the bytes.
        form: FFmpeg's name for the format, ``None`` to find out.
        options: FFmpeg's options for this protocol.
        timeout_s: seconds to open and seconds to read, ``None`` for no limit.
        blind_s: seconds of data without a picture after which it is given up, before the first picture and after it;
            ``None`` for no limit.
        on_broken: told of each packet that could not be decoded and of each picture that came out damaged.
        stopping: ends ``frames``.

    Raises:
        av.FFmpegError: it cannot be opened.
        SourceError: it has no video.
    """

    def __init__(
        self,
        address: str | ByteFile,
        *,
        form: str | None = None,
        options: Mapping[str, str] | None = None,
        timeout_s: tuple[float, float] | None = None,
        blind_s: tuple[float, float] | None = None,
        on_broken: Callable[[], None] = lambda: None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._on_broken = on_broken
        self._blind_s = blind_s or (math.inf, math.inf)
        self._silent_s = timeout_s[1] * _EXPIRED if timeout_s else math.inf
        self._stopping = stopping or threading.Event()
        self._container = av.open(
            address, format=form, options=dict(options or {}), timeout=timeout_s, metadata_errors="replace"
        )
        if not self._container.streams.video:
            self._container.close()
            raise SourceError("it has no video stream")
        self._stream = self._container.streams.video[0]
        self._decoder = self._stream.codec_context
        if self._decoder is None:
            self._container.close()
            raise SourceError("its video is of a kind that FFmpeg cannot decode")
        if self._decoder.name in diagnosis.DRAWN_TEXT_CODECS:
            self._container.close()
            raise SourceError(diagnosis.NO_VIDEO)
        self._decoder.thread_count = 1
        for stream in self._container.streams:
            if stream is not self._stream:
                stream.discard = Discard.all

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
        return f"{self._decoder.name} {self._decoder.width}x{self._decoder.height} {self.rate:.4g} fps"

    @property
    def rate(self) -> float:
        """Frames a second, as the stream says; a plausible one where that cannot be."""
        return plausible_rate(float(self._stream.average_rate or self._stream.guessed_rate or 0))

    @property
    def format_names(self) -> frozenset[str]:
        """FFmpeg's names for the container's format, e.g. ``hls`` or ``mov`` and ``mp4``."""
        return frozenset(self._container.format.name.split(","))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded; a packet that cannot is left out. Ends early once ``stopping`` is set.

        A frame that the decoder has mended after a loss is given all the same: a picture with a smear still shows who
        is there, and trackers lose more by a gap. It counts as broken.

        What the decoder still holds when the container breaks off is lost with it: of a frozen camera, those frames
        would come many seconds late and look like a sign of life.

        Raises:
            av.FFmpegError: the container itself cannot be read on.
            SourceError: nothing comes, or data goes on coming and no picture could be decoded from it.
        """
        broken = 0
        limit_s = self._blind_s[0]
        last_frame = asked = time.monotonic()
        for packet in self._container.demux(self._stream):
            now = time.monotonic()
            if now - asked > self._silent_s:
                raise SourceError(diagnosis.NO_ANSWER)
            try:
                for frame in self._decode(packet):
                    broken += self._damaged(frame)
                    yield frame
                    limit_s, last_frame = self._blind_s[1], time.monotonic()
            except av.FFmpegError:
                broken += 1
                self._on_broken()
            asked = time.monotonic()
            if asked - last_frame > limit_s:
                raise SourceError(f"data comes, but for {limit_s:.0f} s no picture could be decoded from it")
            if self._stopping.is_set():
                break
        if broken:
            logger.warning("%d packets could not be decoded, or came out damaged", broken)

    def _damaged(self, frame: av.VideoFrame) -> bool:
        if frame.is_corrupt:
            self._on_broken()
        return bool(frame.is_corrupt)

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """The frames that are complete now; a stream whose codec has changed gets a new decoder.

        A decoder may swallow another codec's key frame without a word, so the codec is looked up at each of them.
        """
        if packet.is_keyframe:
            self._follow_codec()
        try:
            return list(self._decoder.decode(packet))
        except av.FFmpegError:
            if not self._follow_codec():
                raise
        return list(self._decoder.decode(packet))

    def _follow_codec(self) -> bool:
        """True if the stream had changed its codec, and there is a new decoder now."""
        before, codec = self._decoder.codec.name, self._codec_now()
        if codec in ("", before):
            return False
        logger.warning("the video changed from %s to %s", before, codec)
        self._decoder = av.CodecContext.create(codec, "r")
        self._decoder.thread_count = 1
        return True

    def _codec_now(self) -> str:
        """The codec that the demuxer sees in the stream by now; empty for one that is not in ``_CHECKED_CODECS``."""
        named = self._decoder.codec.name
        for codec in sorted(_CHECKED_CODECS, key=lambda codec: codec != named):
            try:
                BitStreamFilterContext(_CHECKED_CODECS[codec], in_stream=self._stream)
            except (av.FFmpegError, ValueError):
                continue
            return codec
        return ""


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
