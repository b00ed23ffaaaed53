"""What all readers through PyAV share: opening, decoding, converting, and FFmpeg's errors in words."""

from __future__ import annotations

import functools
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
from av.video.reformatter import ColorRange

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError
from streamserver.core.picture import Coding, Picture, Planes
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import mask_credentials
from streamserver.media import diagnosis, ffmpeg_memory
from streamserver.media.connection import Decoded, Luma, Moment
from streamserver.media.egress import BYTES_ONLY, Egress
from streamserver.media.gate import GateSpec
from streamserver.media.gated import Decoder, Gated
from streamserver.media.pacing import plausible_rate
from streamserver.media.picture_size import MAX_VIDEO_PIXELS, too_large

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
        gate: key frames only while nothing moves; ``None`` for every frame.
        monitor: told whether the gate is open.
        egress: what it may reach; ``None`` for everything.

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
        gate: GateSpec | None = None,
        monitor: SourceMonitor | None = None,
        egress: Egress | None = None,
    ) -> None:
        self._on_broken = on_broken
        self._broken = 0
        self._blind_s = blind_s or (math.inf, math.inf)
        self._silent_s = timeout_s[1] * _EXPIRED if timeout_s else math.inf
        self._stopping = stopping or threading.Event()
        self._egress = egress or Egress(None)
        limits = {} if isinstance(address, str) else BYTES_ONLY
        ffmpeg_memory.bound()
        with self._egress:
            self._container = av.open(
                address,
                format=form,
                options={**limits, **(options or {})},
                timeout=timeout_s,
                metadata_errors="replace",
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
        if problem := too_large((self._decoder.width, self._decoder.height)):
            self._container.close()
            raise SourceError(problem)
        _restrain(self._decoder)
        for stream in self._container.streams:
            if stream is not self._stream:
                stream.discard = Discard.all
        self._gated: Gated[av.Packet, av.VideoFrame] | None = None
        if gate is not None:
            decoder = Decoder(self._decode_leniently, self._rest, luma_of)
            self._gated = Gated(gate, decoder, rate=self.rate, monitor=monitor or SourceMonitor())

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

    @functools.cached_property
    def rate(self) -> float:
        """Frames a second, as the stream says; a plausible one where that cannot be."""
        return plausible_rate(float(self._stream.average_rate or self._stream.guessed_rate or 0))

    @property
    def format_names(self) -> frozenset[str]:
        """FFmpeg's names for the container's format, e.g. ``hls`` or ``mov`` and ``mp4``."""
        return frozenset(self._container.format.name.split(","))

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded and that the gate lets through, see ``pictures``."""
        return (frame for frame, _ in self._frames())

    def pictures(self) -> Iterator[Decoded]:
        """Every frame that can be decoded; a packet that cannot is left out. Ends early once ``stopping`` is set.

        A frame that the decoder has mended after a loss is given all the same: a picture with a smear still shows who
        is there, and trackers lose more by a gap. It counts as broken.

        What the decoder still holds when the container breaks off is lost with it: of a frozen camera, those frames
        would come many seconds late and look like a sign of life.

        Raises:
            av.FFmpegError: the container itself cannot be read on.
            SourceError: nothing comes, or data goes on coming and no picture could be decoded from it.
        """
        for frame, moment in self._frames():
            yield Decoded(to_picture(frame), frame.time, functools.partial(luma_of, frame), moment)

    def _frames(self) -> Iterator[tuple[av.VideoFrame, Moment | None]]:
        limit_s = self._blind_s[0]
        last_frame = asked = time.monotonic()
        for packet in self._egress.each(self._container.demux(self._stream)):
            now = time.monotonic()
            if now - asked > self._silent_s:
                raise SourceError(diagnosis.NO_ANSWER)
            for given in self._decoded(packet):
                yield given
                limit_s, last_frame = self._blind_s[1], time.monotonic()
            if self._gated is not None and not self._gated.is_open:
                last_frame = time.monotonic()
            asked = time.monotonic()
            if asked - last_frame > limit_s:
                raise SourceError(f"data comes, but for {limit_s:.0f} s no picture could be decoded from it")
            if self._stopping.is_set():
                break
        if self._broken:
            logger.warning("%d packets could not be decoded, or came out damaged", self._broken)

    def _decoded(self, packet: av.Packet) -> Iterator[tuple[av.VideoFrame, Moment | None]]:
        if self._gated is None:
            yield from ((frame, None) for frame in self._decode_leniently(packet))
        elif not packet.size:
            yield from self._gated.finish()
        else:
            if packet.is_keyframe and self._follow_codec():
                self._gated.start_over()
            yield from self._gated.take(packet)

    def _decode_leniently(self, packet: av.Packet) -> list[av.VideoFrame]:
        """The frames that are complete now; damaged ones, and a packet that cannot be decoded, are counted."""
        try:
            frames = self._decode(packet)
        except av.FFmpegError:
            self._count_broken()
            return []
        for frame in frames:
            if frame.is_corrupt:
                self._count_broken()
        return frames

    def _rest(self) -> list[av.VideoFrame]:
        """The frames that the decoder still holds; it is ready for a key frame then."""
        try:
            frames = list(self._decoder.decode(None))
        except av.FFmpegError:
            frames = []
        self._decoder.flush_buffers()
        for frame in frames:
            frame.time_base = self._stream.time_base or frame.time_base  # only a packet tells them
        return frames

    def _count_broken(self) -> None:
        self._broken += 1
        self._on_broken()

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
        _restrain(self._decoder)
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


def _restrain(decoder: av.CodecContext) -> None:
    """Sets, before it is opened, what a decoder may take of the machine: one thread, and pictures of some size."""
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_VIDEO_PIXELS)}


_PLANAR_420 = frozenset({"yuv420p", "yuvj420p"})

_CODINGS: dict[int, Coding] = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601", 9: "bt2020"}
"""By FFmpeg's number for a frame's colours; what does not say which it has (2) is converted like BT.601."""


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

    return Picture(size_wh, load, load_planes=None if quarter_turns else functools.partial(planes_of, frame))


def planes_of(frame: av.VideoFrame) -> Planes | None:
    """The planes of a frame in 8-bit 4:2:0, views that keep it; ``None`` for all other formats and colours."""
    coding = _CODINGS.get(int(frame.colorspace))
    if coding is None or frame.format.name not in _PLANAR_420:
        return None
    y, u, v = (
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    )
    return Planes(y, u, v, frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG, coding)


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
