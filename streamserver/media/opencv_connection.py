"""Live streams through OpenCV, for those who cannot ship PyAV's GPL parts.

OpenCV says only that it could not open a stream: why, is asked of the machine, the resolver and the server themselves.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from streamserver.core.errors import LoginRefusedError, SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import for_ffmpeg
from streamserver.media.asking import refusal
from streamserver.media.connection import Decoded
from streamserver.media.diagnosis import (
    CAMERA_WORDS,
    NO_ANSWER,
    NO_VIDEO,
    UNAUTHORIZED,
    endpoint_of,
    why_no_name,
    why_not,
    words_for,
)
from streamserver.media.egress import PROTOCOLS, Egress, require_camera
from streamserver.media.opencv_reader import NO_KEY_FRAME, OpenCvReader
from streamserver.media.sources import SourceSpec

_OPEN_TIMEOUT_S = 10.0

_ASK_TIMEOUT_S = 3.0
_PROBE = {"analyzeduration": "1000000", "probesize": "1000000", "fpsprobesize": "3"}
_PROBE_FLV = {**_PROBE, "analyzeduration": "300000"}
"""FLV that promises sound, and has none, is searched for it all that time."""

_OPTIONS = {
    "RTSP": {**_PROBE, "allowed_media_types": "video", "max_delay": "500000", "buffer_size": "1048576"},
    "RTMP": _PROBE_FLV,
    "HTTP": _PROBE_FLV,
    "UDP": {**_PROBE, "overrun_nonfatal": "1", "buffer_size": "1048576"},
    "SRT": _PROBE,
    "CAMERA": {},
}
_OTHER_TRANSPORT = {"tcp": "udp", "udp": "tcp"}

_IN_BURSTS = re.compile(r"\.(?:m3u8|mpd|mp4|m4v|mov|mkv|webm)(?:[?#]|\Z)", re.IGNORECASE)
"""HLS, DASH and whole files; OpenCV does not tell the format."""


class OpenCvConnector:
    """Connects to ``spec`` through OpenCV, again and again.

    With transport ``auto``, RTSP takes turns between TCP and UDP, TCP first, until one of them brings pictures. Where a
    connection begins without a key frame, those that follow wait for one.
    """

    def __init__(self, spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> None:
        self._spec = spec
        self._stopping = stopping
        self._monitor = monitor
        self._transport = "udp" if spec.transport == "udp" else "tcp"
        self._probe: dict[str, str] = {}
        self._egress = Egress(spec.policy)

    def connect(self) -> OpenCvConnection:
        """Opens the stream; raises ``SourceError`` when it is not to be had now."""
        kind = self._spec.source_type
        if kind == "SRT" and not _may_have_protocol("srt"):
            raise SourceMissingError(
                f"'{self._spec.masked_url}': this OpenCV's FFmpeg has no SRT",
                cure="let a media server offer the stream as RTSP, or install an OpenCV built with libsrt",
            )
        if kind == "CAMERA":
            require_camera(self._spec.url, self._spec.policy)
        elif reason := why_no_name(self._spec.url, egress=self._egress):
            raise SourceError(reason)
        self._egress.forget()
        address = self._spec.url if kind == "CAMERA" else for_ffmpeg(self._spec.url)
        if kind == "SRT":
            address = self._egress.numbered(address)
        opened = time.monotonic()
        try:
            reader = OpenCvReader(
                address,
                options=self._options(),
                timeout_s=(max(_OPEN_TIMEOUT_S, self._spec.silent_s), self._spec.silent_s),
                camera=kind == "CAMERA",
                stopping=self._stopping,
                on_broken=self._monitor.broken,
                egress=self._egress,
            )
        except SourceMissingError:
            raise
        except SourceError as e:
            self._egress.raise_if_refused()
            if e.message == NO_KEY_FRAME:
                self._probe = {"analyzeduration": f"{self._spec.silent_s * 1e6:.0f}", "probesize": "50000000"}
                raise
            reason = self._why_not_open(time.monotonic() - opened)
            raise (LoginRefusedError if reason == UNAUTHORIZED else SourceError)(reason) from e
        return OpenCvConnection(
            reader, egress=self._egress, in_bursts=kind == "HTTP" and comes_in_bursts(self._spec.url)
        )

    def close(self) -> None:
        """Nothing is kept from connection to connection."""

    def _options(self) -> dict[str, str]:
        kind = self._spec.source_type
        transport = {"rtsp_transport": self._transport} if kind == "RTSP" else {}
        return {**_OPTIONS[kind], **PROTOCOLS[kind], **self._probe, **transport}

    def _why_not_open(self, waited_s: float) -> str:
        if self._spec.source_type == "CAMERA":
            return _why_no_camera(self._spec.url)
        address, egress = self._spec.url, self._egress
        reason = why_not(address, _ASK_TIMEOUT_S, egress) or refusal(address, _ASK_TIMEOUT_S, egress)
        if reason:
            return reason
        if waited_s >= _OPEN_TIMEOUT_S:
            return "nothing has come at this port" if self._spec.source_type == "UDP" else NO_ANSWER
        if self._spec.source_type == "UDP":
            return _why_no_port(self._spec.url) or NO_VIDEO
        if self._spec.source_type == "RTSP":
            reason = f"the server knows the stream, but gives no video over {self._transport.upper()}"
            if self._spec.transport == "auto":
                self._transport = _OTHER_TRANSPORT[self._transport]
            return reason
        return NO_VIDEO


class OpenCvConnection:
    """One connection through OpenCV."""

    over = False

    def __init__(self, reader: OpenCvReader, *, egress: Egress, in_bursts: bool) -> None:
        self._reader = reader
        self._egress = egress
        self.in_bursts = in_bursts

    @property
    def stream(self) -> str:
        """What is read, in words."""
        return self._reader.stream

    def pictures(self) -> Iterator[Decoded]:
        """The pictures in order, all of the first one's size; raises ``SourceError`` when none come any more."""
        try:
            yield from self._reader.frames()
        except SourceError:
            self._egress.raise_if_refused()
            raise
        self._egress.raise_if_refused()

    def close(self) -> None:
        """Ends the connection."""
        self._reader.close()


def comes_in_bursts(address: str) -> bool:
    """Whether an HTTP address, by its ending, is of something that hands over many seconds at once."""
    return _IN_BURSTS.search(address) is not None


def _why_no_camera(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as e:
        return CAMERA_WORDS.get(e.errno or 0) or os.strerror(e.errno or errno.EIO)
    return "this device is not a camera"


def _why_no_port(address: str) -> str:
    """Why packets cannot be waited for at the port of ``address``; empty if they can."""
    endpoint = endpoint_of(address)
    with socket.socket(socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", endpoint.port))
        except OSError as e:
            return words_for(e.errno) or os.strerror(e.errno or errno.EIO)
    return ""


def _may_have_protocol(name: str) -> bool:
    """False only if the FFmpeg inside OpenCV is known to lack a protocol; OpenCV itself would say no more than no."""
    try:
        mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:
        return True
    libraries = [path for path in mapped if "/libavformat" in path and "opencv" in path]
    if len(libraries) != 1:
        return True
    find = ctypes.CDLL(libraries[0]).avio_find_protocol_name
    find.restype = ctypes.c_char_p
    return find(f"{name}://".encode()) is not None
