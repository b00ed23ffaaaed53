"""Sends video to an RTSP or RTMP server: the child process behind ``pusher``.

FFmpeg connects to a server while it holds Python's global lock, over RTMP without any limit in time, so in the engine's
own process one silent server would stop every camera. Here it stops nobody, and whoever started this can end it.

Standard input: one line of JSON (``Order``), then for each frame its time in milliseconds, in eight bytes with the most
significant first, and its pixels. Standard output: ``ready`` once the server has taken the stream; when something goes
wrong, the reason as one line.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np

from streamserver.core.processes import die_with_parent
from streamserver.media.av_reader import reason_in_words
from streamserver.media.encoding import Encoding, add_stream

TIME_BYTES = 8
READY = b"ready\n"
_FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "rtmps": "flv", "rtsps": "rtsp"}
_OPTIONS = {"rtsp": {"rtsp_transport": "tcp"}, "flv": {"flvflags": "no_duration_filesize"}}
_MILLISECONDS = Fraction(1, 1000)


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
        container.start_encoding()
        answer.write(READY)
        answer.flush()
        while head := source.read(TIME_BYTES):
            pixels = np.frombuffer(source.read(order.frame_bytes), np.uint8)
            if len(pixels) != order.frame_bytes:
                break
            frame = av.VideoFrame.from_ndarray(
                pixels.reshape(order.size_wh[1] * 3 // 2, order.size_wh[0]), format=order.pixel_format
            )
            frame.pts, frame.time_base = int.from_bytes(head), _MILLISECONDS
            container.mux(stream.encode(frame if frame.format.name == stream.pix_fmt else _convert(frame, stream)))
        container.mux(stream.encode())


def _convert(frame: av.VideoFrame, stream: av.VideoStream) -> av.VideoFrame:
    converted = frame.reformat(format=stream.pix_fmt)
    converted.pts, converted.time_base = frame.pts, frame.time_base
    return converted


def main() -> int:
    """Reads the order and follows it; returns 1 when it could not be followed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; whoever started this says when to end
    parent = os.environ.get("STREAMSERVER_PUSHER_PID", "")
    if parent.isdigit():
        die_with_parent(int(parent))
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
