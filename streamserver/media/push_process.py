"""Sends video to an RTSP or RTMP server: the child process behind ``pusher``.

FFmpeg connects to a server while it holds Python's global lock, over RTMP without any limit in time, so in the engine's
own process one silent server would stop every camera. Here it stops nobody, and whoever started this can end it.

Standard input: one line of JSON (``Order``), then for each frame its time in milliseconds, in eight bytes with the most
significant first, and its pixels. Standard output: ``ready`` once the server has taken the stream; when something goes
wrong, the reason as one line. Standard error is the engine's, a file in the task's logs.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import PictureType

from streamserver.core import logs, secrets
from streamserver.core.errors import SourceError
from streamserver.core.processes import die_with_starter
from streamserver.media.av_reader import reason_in_words
from streamserver.media.diagnosis import why_not
from streamserver.media.encoding import KEY_FRAMES_S, Encoding, add_stream
from streamserver.media.push_order import READY, TIME_BYTES, Order

_FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "rtmps": "flv", "rtsps": "rtsp"}
_OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}, "flv": {"flvflags": "no_duration_filesize"}}
_MILLISECONDS = Fraction(1, 1000)
_KEY_FRAMES_MS = round(KEY_FRAMES_S * 1000)
_ASKING_S = 5.0
_GONE = "the connection broke off"
_BROKEN_OFF = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO})
_NEVER_FRAMES = 10_000
"""Key frames come by the clock: frames come less often than the stream says where only some are analysed."""


def send(order: Order, source: BinaryIO, answer: BinaryIO) -> None:
    """Sends what comes from ``source`` until it ends.

    Raises:
        av.FFmpegError: the server cannot be reached or does not take it.
        SourceError: it took it and is gone.
    """
    format_name = _FORMATS[order.url.partition("://")[0]]
    encoding = Encoding(codec=order.codec, pixel_format=order.pixel_format, rate=order.rate, size_wh=order.size_wh)
    with av.open(order.url, "w", format=format_name, container_options=_OPTIONS[format_name]) as container:
        stream = add_stream(container, encoding, _MILLISECONDS)
        stream.codec_context.gop_size = _NEVER_FRAMES
        container.start_encoding()
        answer.write(READY)
        answer.flush()
        try:
            for frame in _frames(order, source):
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode())
        except av.FFmpegError as e:
            if e.errno in _BROKEN_OFF:
                raise SourceError(_GONE) from e
            raise


def _frames(order: Order, source: BinaryIO) -> Iterator[av.VideoFrame]:
    """What comes, with its times; every so many seconds of the clock a key frame."""
    next_key_ms = 0
    while head := source.read(TIME_BYTES):
        pixels = np.frombuffer(source.read(order.frame_bytes), np.uint8)
        if len(pixels) != order.frame_bytes:
            return
        frame = av.VideoFrame.from_ndarray(
            pixels.reshape(order.size_wh[1] * 3 // 2, order.size_wh[0]), format=order.pixel_format
        )
        time_ms = int.from_bytes(head)
        frame.pts, frame.time_base = time_ms, _MILLISECONDS
        if time_ms >= next_key_ms:
            frame.pict_type = PictureType.I
            next_key_ms = time_ms + _KEY_FRAMES_MS
        yield frame


def _why(error: Exception, url: str) -> str:
    """Why the stream cannot be sent, in words without secrets."""
    if isinstance(error, SourceError):
        return error.message
    if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.ECONNRESET):
        return _GONE
    if isinstance(error, av.error.HTTPOtherClientError):
        return "the server refused it; it may be one that only plays streams"
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return why_not(url, _ASKING_S) or "the server did not take it"
    return reason_in_words(error)


def main() -> int:
    """Reads the order and follows it; returns 1 when it could not be followed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; whoever started this says when to end
    die_with_starter()
    logs.configure(level="WARNING", role="push")
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    line = source.readline()
    if not line:
        return 0
    order = Order.from_line(line)
    secrets.register(order.url)
    try:
        send(order, source, answer)
    except (av.FFmpegError, OSError, SourceError) as e:
        answer.write(secrets.hide(_why(e, order.url)).replace("\n", " ").encode() + b"\n")
        answer.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
