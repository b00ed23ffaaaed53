"""Live streams through PyAV: which options FFmpeg gets for which protocol, and what its errors mean."""

from __future__ import annotations

import errno
import functools
import threading
import time
from collections.abc import Iterator

import av

from streamserver.core.errors import SourceError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.av_reader import VideoReader, luma_of, reason_in_words, to_picture
from streamserver.media.connection import Decoded
from streamserver.media.sources import SourceSpec

_OPEN_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 5.0
"""FFmpeg notices silence on RTSP after twice this time: at the first expiry it only flushes its parser."""

_BLIND_S = 60.0
"""Longest wait for a first or next picture while data comes; cameras that save bandwidth send a key frame a minute."""

_TIMEOUT_US = str(int(_READ_TIMEOUT_S * 1_000_000))
_PROBE = {"analyzeduration": "1000000", "probesize": "1000000"}
_OPTIONS = {
    "RTSP": {**_PROBE, "rtsp_transport": "tcp", "timeout": _TIMEOUT_US},
    "RTMP": {**_PROBE, "rw_timeout": _TIMEOUT_US},
    "HTTP": {"rw_timeout": _TIMEOUT_US},
}

_IN_BURSTS = frozenset({"hls", "dash", "mp4", "matroska"})
"""Formats that hand over many seconds at once, or a whole file: those are held back to their timestamps."""


class AvConnector:
    """Connects to ``spec`` through PyAV, again and again."""

    def __init__(self, spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> None:
        self._spec = spec
        self._stopping = stopping
        self._monitor = monitor

    def connect(self) -> AvConnection:
        """Opens the stream; raises ``SourceError`` when it is not to be had now."""
        opened = time.monotonic()
        try:
            reader = VideoReader(
                self._spec.url,
                options=_OPTIONS[self._spec.source_type],
                timeout_s=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S),
                blind_s=_BLIND_S,
                on_broken=self._monitor.broken,
            )
        except av.FFmpegError as e:
            waited_in_vain = time.monotonic() - opened >= _READ_TIMEOUT_S
            raise SourceError(_reason(e, waited_in_vain=waited_in_vain)) from e
        return AvConnection(reader)

    def close(self) -> None:
        """Nothing is kept from connection to connection."""


class AvConnection:
    """One connection through PyAV."""

    over = False

    def __init__(self, reader: VideoReader) -> None:
        self._reader = reader
        self.stream = reader.stream
        self.in_bursts = bool(reader.format_names & _IN_BURSTS)

    def pictures(self) -> Iterator[Decoded]:
        """The pictures in order; raises ``SourceError`` when the stream breaks off."""
        try:
            for frame in self._reader.frames():
                yield Decoded(to_picture(frame), frame.time, functools.partial(luma_of, frame))
        except av.FFmpegError as e:
            raise SourceError(_reason(e, waited_in_vain=False)) from e

    def close(self) -> None:
        """Ends the connection."""
        self._reader.close()


def _reason(error: av.FFmpegError, *, waited_in_vain: bool) -> str:
    """Why a connection ended. A host that takes the connection and says nothing is invalid data to FFmpeg's RTSP."""
    if error.errno == errno.EIO:
        return "the stream broke off"
    if waited_in_vain and isinstance(error, av.error.InvalidDataError):
        return "no answer in time"
    return reason_in_words(error)
