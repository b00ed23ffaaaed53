"""Sends video to an RTSP or RTMP server: the child process behind ``pusher``.

FFmpeg connects to a server while it holds Python's global lock, over RTMP without any limit in time, so in the engine's
own process one silent server would stop every camera. Here it stops nobody, and whoever started this can end it.

Standard input: one line of JSON (``Order``), then for each frame its time in milliseconds, in eight bytes with the most
significant first, and its pixels. Standard output: ``ready`` once the server has taken the stream; when something goes
wrong, the reason as one line. Standard error is the engine's, a file in the task's logs.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np
from av.video.frame import PictureType

from streamserver.core import logs
from streamserver.core.processes import die_with_parent
from streamserver.media.av_reader import reason_in_words
from streamserver.media.encoding import KEY_FRAMES_S, Encoding, add_stream

logger = logging.getLogger(__name__)

TIME_BYTES = 8
READY = b"ready\n"
_FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "rtmps": "flv", "rtsps": "rtsp"}
_OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}, "flv": {"flvflags": "no_duration_filesize"}}
_MILLISECONDS = Fraction(1, 1000)
_KEY_FRAMES_MS = round(KEY_FRAMES_S * 1000)
_NEVER_FRAMES = 10_000
"""Key frames come by the clock: frames come less often than the stream says where only some are analysed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send where; the address may hold a password, so it is never an argument."""

    url: str
    codec: str
    pixel_format: str
    rate: float
    size_wh: tuple[int, int]

    @property
    def frame_bytes(self) -> int:
        """Size of one frame's pixels, 4:2:0."""
        return self.size_wh[0] * self.size_wh[1] * 3 // 2

    def to_line(self) -> bytes:
        """The order as one line."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Order:
        """Reads what ``to_line`` wrote."""
        values = json.loads(line)
        return cls(**{**values, "size_wh": tuple(values["size_wh"])})


def send(order: Order, source: BinaryIO, answer: BinaryIO) -> None:
    """Sends what comes from ``source`` until it ends.

    Raises:
        av.FFmpegError: the server cannot be reached or does not take it.
    """
    format_name = _FORMATS[order.url.partition("://")[0]]
    encoding = Encoding(codec=order.codec, pixel_format=order.pixel_format, rate=order.rate, size_wh=order.size_wh)
    with av.open(order.url, "w", format=format_name, container_options=_OPTIONS[format_name]) as container:
        stream = add_stream(container, encoding, _MILLISECONDS)
        stream.codec_context.gop_size = _NEVER_FRAMES
        container.start_encoding()
        answer.write(READY)
        answer.flush()
        next_key_ms = 0
        while head := source.read(TIME_BYTES):
            pixels = np.frombuffer(source.read(order.frame_bytes), np.uint8)
            if len(pixels) != order.frame_bytes:
                break
            frame = av.VideoFrame.from_ndarray(
                pixels.reshape(order.size_wh[1] * 3 // 2, order.size_wh[0]), format=order.pixel_format
            )
            frame = frame.reformat(format=stream.pix_fmt)
            time_ms = int.from_bytes(head)
            frame.pts, frame.time_base = time_ms, _MILLISECONDS
            if time_ms >= next_key_ms:
                frame.pict_type = PictureType.I
                next_key_ms = time_ms + _KEY_FRAMES_MS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback may hold an address with its password, which the log masks."""
    logger.critical("unexpected", exc_info=(kind, error, trace))


def main() -> int:
    """Reads the order and follows it; returns 1 when it could not be followed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; whoever started this says when to end
    parent = os.environ.get("STREAMSERVER_PUSHER_PID", "")
    if parent.isdigit():
        die_with_parent(int(parent))
    logs.configure(level="WARNING", role="push")
    sys.excepthook = _log_uncaught
    source, answer = sys.stdin.buffer, sys.stdout.buffer
    line = source.readline()
    if not line:
        return 0
    try:
        send(Order.from_line(line), source, answer)
    except (av.FFmpegError, OSError) as e:
        answer.write(reason_in_words(e).replace("\n", " ").encode() + b"\n")
        answer.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
