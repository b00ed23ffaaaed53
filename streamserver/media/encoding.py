"""How pictures become compressed video: which encoder, in which form.

PyAV compresses, and is imported when something is to be compressed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError

if TYPE_CHECKING:
    import av

logger = logging.getLogger(__name__)

CODECS = ("h264", "h265")
PIXEL_FORMATS = ("yuv420p", "nv12")

_ENCODERS = {
    "h264": ("libx264", "libopenh264", "mpeg4", "mjpeg"),
    "h265": ("libx265", "libx264", "libopenh264", "mpeg4", "mjpeg"),
}
"""What is used for a codec: the first that this build of FFmpeg has. The last two are FFmpeg's own, so always there."""

_QUICK = {"preset": "veryfast", "tune": "zerolatency", "forced-idr": "1"}
_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {**_QUICK, "crf": "23"},
    "libx265": {**_QUICK, "crf": "26", "x265-params": "log-level=error"},
    "mpeg4": {"qscale": "5", "flags": "+qscale"},
    "mjpeg": {"qscale": "5", "flags": "+qscale"},
}
KEY_FRAMES_S = 2.0
"""From one key frame to the next: what a late viewer waits for, and what is lost of a file that breaks off."""

_LEAST_PX = 16
"""libx265 refuses less."""

_MPEG_RANGE, _BT_601 = 1, 5
"""FFmpeg's numbers for what swscale makes of BGR."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What comes out.

    Attributes:
        codec: one of ``CODECS``.
        pixel_format: one of ``PIXEL_FORMATS``; an encoder that cannot takes its own.
        rate: frames a second, as the stream will say.
        size_wh: of the video in pixels; -1 for what the first picture has.
    """

    codec: str = "h264"
    pixel_format: str = "yuv420p"
    rate: float = 25.0
    size_wh: tuple[int, int] = (-1, -1)

    def for_picture(self, size_wh: tuple[int, int]) -> Encoding:
        """With its size settled by the first picture, even, as 4:2:0 must be, and no less than an encoder takes."""
        width, height = (own if own > 0 else given for own, given in zip(self.size_wh, size_wh, strict=True))
        return dataclasses.replace(self, size_wh=(max(_LEAST_PX, width & ~1), max(_LEAST_PX, height & ~1)))


def encoder_for(codec: str, available: Mapping[str, object] | frozenset[str] | None = None) -> str:
    """The name of the encoder to use for ``codec``; says so when it makes something else.

    Args:
        codec: one of ``CODECS``.
        available: names of encoders; what FFmpeg has unless given.

    Raises:
        SourceError: there is none at all.
    """
    import av

    names = av.codecs_available if available is None else available
    for name in _ENCODERS[codec]:
        if name in names and (available is not None or _can_encode(name)):
            if name != _ENCODERS[codec][0]:
                logger.warning("this FFmpeg has no %s; %s takes its place for %s", _ENCODERS[codec][0], name, codec)
            return name
    raise SourceError(f"this FFmpeg has no encoder for {codec}: none of {', '.join(_ENCODERS[codec])}")


def add_stream(container: av.container.OutputContainer, encoding: Encoding, time_base: Fraction) -> av.VideoStream:
    """A video stream of ``container`` that encodes pictures of ``encoding.size_wh``."""
    name = encoder_for(encoding.codec)
    rate = Fraction(encoding.rate).limit_denominator(1001)
    stream = container.add_stream(name, rate=rate, options=dict(_OPTIONS.get(name, {})))
    stream.width, stream.height = encoding.size_wh
    stream.pix_fmt = _pixel_format(name, encoding.pixel_format)
    context = stream.codec_context
    context.time_base = time_base
    context.gop_size = max(1, round(encoding.rate * KEY_FRAMES_S))
    context.max_b_frames = 0
    context.thread_count = 1
    context.color_range, context.colorspace = _MPEG_RANGE, _BT_601
    return stream


def to_frame(image_bgr: ImageBgr, size_wh: tuple[int, int], pixel_format: str) -> av.VideoFrame:
    """A picture in the form that an encoder takes, stretched to ``size_wh``."""
    import av

    frame = av.VideoFrame.from_ndarray(image_bgr, format="bgr24")
    return frame.reformat(width=size_wh[0], height=size_wh[1], format=pixel_format)


def _pixel_format(encoder: str, wanted: str) -> str:
    import av

    known = [known.name for known in av.Codec(encoder, "w").video_formats or ()]
    return wanted if wanted in known else known[0]


def _can_encode(name: str) -> bool:
    import av

    try:
        return bool(av.Codec(name, "w").is_encoder)
    except av.codec.codec.UnknownCodecError:
        return False
