"""Live streams over RTSP, RTMP and HTTP: they have no end, so whenever one stops, we connect again."""

from __future__ import annotations

import errno
import logging
import random
import threading
import time
from collections.abc import Generator, Iterator

import av

from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.core.states import SourceState
from streamserver.media.av_reader import VideoReader, reason_in_words, to_picture
from streamserver.media.pacing import TimestampPacer
from streamserver.media.sources import OnState, SourceFrame, SourceSpec

logger = logging.getLogger(__name__)

SOURCE_TYPES = frozenset({"RTSP", "RTMP", "HTTP"})

CONTINUITY_S = 5.0
"""A stream that is back within this time goes on; after a longer gap it starts over."""

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

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S, _SHORTEST_BACKOFF_S = 1.0, 30.0, 0.1
_HEALTHY_S = 10.0


def backoff_s(failures: int) -> float:
    """Seconds to wait after the given number of failures in a row: 1 to 30 s, times a random factor (full jitter)."""
    ceiling_s = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 10))
    return max(_SHORTEST_BACKOFF_S, random.uniform(0.0, ceiling_s))


def read(spec: SourceSpec, *, stopping: threading.Event, on_state: OnState) -> Iterator[SourceFrame]:
    """Frames of ``spec`` until ``stopping`` is set; never raises for a stream that is away.

    Frame ids start over with each connection; ``loop`` grows only when continuity is lost.
    """
    stream = _Stream(spec, stopping, on_state)
    on_state(SourceState.CONNECTING, "")
    while not stopping.is_set():
        reason = yield from stream.connection()
        if stopping.is_set():
            return
        stream.wait_before_next(reason)


def _reason(error: av.FFmpegError, *, waited_in_vain: bool) -> str:
    """Why a connection ended. A host that takes the connection and says nothing is invalid data to FFmpeg's RTSP."""
    if error.errno == errno.EIO:
        return "the stream broke off"
    if waited_in_vain and isinstance(error, av.error.InvalidDataError):
        return "no answer in time"
    return reason_in_words(error)


class _Stream:
    """What one stream remembers from connection to connection."""

    def __init__(self, spec: SourceSpec, stopping: threading.Event, on_state: OnState) -> None:
        self._spec = spec
        self._stopping = stopping
        self._on_state = on_state
        self._loop = -1
        self._last_frame: float | None = None
        self._failures = 0
        self._last_reason = ""

    def connection(self) -> Generator[SourceFrame, None, str]:
        """The frames of one connection; the generator's value is why it ended, in words."""
        since = None
        opened = time.monotonic()
        try:
            for frame_id, picture in enumerate(self._pictures()):
                now = time.monotonic()
                broken = frame_id == 0 and self._started(now)
                since = since or now
                self._last_frame = now
                yield SourceFrame(frame_id, self._loop, time.time_ns() // 1000, discontinuity=broken, picture=picture)
            reason = "the stream ended"
        except av.FFmpegError as e:
            waited_in_vain = since is None and time.monotonic() - opened >= _READ_TIMEOUT_S
            reason = _reason(e, waited_in_vain=waited_in_vain)
        except SourceError as e:
            reason = e.message
        if since is not None and time.monotonic() - since >= _HEALTHY_S:
            self._failures = 0
        return reason

    def wait_before_next(self, reason: str) -> None:
        """Says why the stream is away, and waits; a reason that repeats itself is logged once."""
        self._failures += 1
        delay_s = backoff_s(self._failures)
        self._on_state(SourceState.RECONNECTING, reason)
        level = logging.DEBUG if reason == self._last_reason else logging.WARNING
        logger.log(level, "%s: %s; connecting again in %.1f s", self._spec.masked_url, reason, delay_s)
        self._last_reason = reason
        self._stopping.wait(delay_s)

    def _started(self, now: float) -> bool:
        """The first frame of a connection has come; True if continuity is lost."""
        self._on_state(SourceState.STREAMING, "")
        self._last_reason = ""
        lost = self._last_frame is None or now - self._last_frame > CONTINUITY_S
        self._loop += lost
        logger.info("%s: streaming", self._spec.masked_url)
        return lost

    def _pictures(self) -> Iterator[Picture]:
        with VideoReader(
            self._spec.url,
            options=_OPTIONS[self._spec.source_type],
            timeout_s=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S),
            blind_s=_BLIND_S,
        ) as reader:
            in_bursts = self._spec.paced and bool(reader.format_names & _IN_BURSTS)
            pacer = TimestampPacer(self._stopping) if in_bursts else None
            for frame in reader.frames():
                if self._stopping.is_set():
                    return
                if pacer is not None:
                    pacer.wait(frame.time)
                yield to_picture(frame)
