"""Live streams through PyAV: which options FFmpeg gets for which protocol, and what its errors mean."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av

from streamserver.core.errors import LoginRefusedError, SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import for_ffmpeg, take_apart
from streamserver.media import diagnosis
from streamserver.media.av_reader import VideoReader, reason_in_words
from streamserver.media.connection import Decoded
from streamserver.media.egress import PROTOCOLS, Egress, require_camera
from streamserver.media.flv import FlvPictures
from streamserver.media.sources import SourceSpec

_OPEN_TIMEOUT_S = 10.0

_BLIND_S = 60.0
"""Longest wait for a first picture while data comes; cameras that save bandwidth send a key frame a minute."""

_DIAGNOSIS_S = 3.0

_PROBE = {"analyzeduration": "1000000", "probesize": "1000000", "fpsprobesize": "3"}
"""How much of a stream FFmpeg looks at before it gives the first picture; its rate is only shown."""

_OPTIONS: dict[str, dict[str, str]] = {
    "RTSP": {**_PROBE, "allowed_media_types": "video", "max_delay": "500000", "buffer_size": "1048576"},
    "RTMP": _PROBE,
    "HTTP": {**_PROBE, "merge_pmt_versions": "1"},
    "UDP": {**_PROBE, "merge_pmt_versions": "1", "overrun_nonfatal": "1", "buffer_size": "1048576"},
    "SRT": {**_PROBE, "merge_pmt_versions": "1"},
    "CAMERA": {},
}
_TIMEOUT_OPTION = {"RTSP": "timeout", "UDP": "timeout", "CAMERA": ""}
"""FFmpeg's name for a limit of one read, in microseconds, where it is not ``rw_timeout``."""

_FLV = {"analyzeduration": "1"}
"""FFmpeg looks out for more streams as long as it may, also where the header says that there is but one."""

_RAW = {"raw_packet_size": "65536", "analyzeduration": "0", "probesize": "32"}

_IN_BURSTS = frozenset({"hls", "dash", "mp4", "matroska"})
"""Formats that hand over many seconds at once, or a whole file: those are held back to their timestamps."""

_RTSP_WORDS: dict[type[BaseException], str] = {
    av.error.InvalidDataError: "the server ended the connection, or what it says is not RTSP",
    av.error.PermissionError: "the server did not start the stream",
}
"""What FFmpeg's RTSP means by these: it knows no better words for an answer that did not come."""

_OTHER_TRANSPORT = {"tcp": "udp", "udp": "tcp"}


class AvConnector:
    """Connects to ``spec`` through PyAV, again and again.

    It learns over which transport an RTSP server sends, and that an HTTP address gives FLV.
    """

    def __init__(self, spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> None:
        self._spec = spec
        self._stopping = stopping
        self._monitor = monitor
        self._transport = spec.transport if spec.transport in _OTHER_TRANSPORT else "tcp"
        self._egress = Egress(spec.policy)
        self._is_flv = spec.source_type == "RTMP" or _path_of(spec.url).endswith(".flv")
        av.logging.set_level(None)

    def connect(self) -> AvConnection:
        """Opens the stream; raises ``SourceError`` when it is not to be had now."""
        if self._spec.source_type == "CAMERA":
            require_camera(self._spec.url, self._spec.policy)
        elif reason := diagnosis.why_no_name(self._spec.url, egress=self._egress):
            raise SourceError(reason)
        self._egress.forget()
        asked = time.monotonic()
        try:
            connection = self._open_flv() if self._is_flv else self._open()
            if connection.is_flv and not self._is_flv:
                connection.close()
                self._is_flv = True
                connection = self._open_flv()
        except SourceError:
            self._egress.raise_if_refused()
            raise
        except av.error.ProtocolNotFoundError as e:
            raise SourceMissingError(
                f"'{self._spec.masked_url}': this PyAV cannot read {_scheme_of(self._spec.url)} addresses",
                cure="let a media server read it and give its RTSP address, or install a PyAV built with that protocol",
            ) from e
        except av.FFmpegError as e:
            self._egress.raise_if_refused()
            if isinstance(e, av.error.HTTPUnauthorizedError):
                raise LoginRefusedError(diagnosis.UNAUTHORIZED) from e
            raise SourceError(self._why_not_open(e, time.monotonic() - asked)) from e
        return connection

    def close(self) -> None:
        """Nothing is kept open from connection to connection."""

    def _open(self) -> AvConnection:
        address = for_ffmpeg(self._spec.url)
        if self._spec.source_type == "SRT":
            address = self._egress.numbered(address)
        return AvConnection(self._reader(address), egress=self._egress)

    def _open_flv(self) -> AvConnection:
        with self._egress:
            transport = av.open(
                for_ffmpeg(self._spec.url),
                format="data",
                options={**self._options(), **_RAW},
                timeout=(_OPEN_TIMEOUT_S, self._spec.silent_s),
                metadata_errors="replace",
            )
        packets = self._egress.each(transport.demux())
        pictures = FlvPictures(_bytes_of(packets, self._stopping), silent_s=self._spec.silent_s)
        parts = self._next_flv_part(pictures)
        try:
            return AvConnection(self._flv_reader(pictures), parts, transport.close, egress=self._egress)
        except BaseException:
            transport.close()
            raise

    def _next_flv_part(self, pictures: FlvPictures) -> Callable[[], VideoReader | None]:
        return lambda: self._flv_reader(pictures) if pictures.next_part() else None

    def _flv_reader(self, pictures: FlvPictures) -> VideoReader:
        return VideoReader(
            pictures,
            form="flv",
            options=_FLV,
            blind_s=(_BLIND_S, self._spec.silent_s),
            on_broken=self._monitor.broken,
            stopping=self._stopping,
            gate=self._spec.gate,
            monitor=self._monitor,
        )

    def _reader(self, address: str) -> VideoReader:
        return VideoReader(
            address,
            form="v4l2" if self._spec.source_type == "CAMERA" else None,
            options=self._options(),
            timeout_s=(_OPEN_TIMEOUT_S, self._spec.silent_s),
            blind_s=(_BLIND_S, self._spec.silent_s),
            on_broken=self._monitor.broken,
            stopping=self._stopping,
            gate=self._spec.gate,
            monitor=self._monitor,
            egress=self._egress,
        )

    def _options(self) -> dict[str, str]:
        kind = self._spec.source_type
        options = {**_OPTIONS[kind], **PROTOCOLS[kind]}
        if kind == "RTSP":
            options["rtsp_transport"] = self._transport
        limit = _TIMEOUT_OPTION.get(kind, "rw_timeout")
        return {**options, limit: str(round(self._spec.silent_s * 1_000_000))} if limit else options

    def _why_not_open(self, error: av.FFmpegError, waited_s: float) -> str:
        """Why a connection did not come about; where FFmpeg does not know, the host is asked."""
        kind = self._spec.source_type
        if kind == "CAMERA":
            return diagnosis.CAMERA_WORDS.get(error.errno or 0) or reason_in_words(error)
        if kind == "RTSP" and self._try_other_transport(error):
            return f"the server does not send over {_OTHER_TRANSPORT[self._transport].upper()}"
        if kind == "UDP" and (
            error.errno == errno.EIO or isinstance(error, (av.error.ExitError, av.error.TimeoutError))
        ):
            return "nothing has come at this port"
        if isinstance(error, av.error.InvalidDataError) and waited_s >= _OPEN_TIMEOUT_S * 0.5:
            return diagnosis.NO_ANSWER
        if kind == "RTSP" and type(error) in _RTSP_WORDS:
            return _RTSP_WORDS[type(error)]
        if kind == "RTMP" and isinstance(error, av.error.PermissionError):
            return "the server does not give this stream; perhaps nobody publishes it"
        if error.errno not in (errno.EIO, errno.EPIPE):
            return reason_in_words(error)
        nothing = "what came is no video, or it ended at once" if kind == "HTTP" else "the server ended the connection"
        return diagnosis.why_not(self._spec.url, _DIAGNOSIS_S, self._egress) or nothing

    def _try_other_transport(self, error: av.FFmpegError) -> bool:
        """True if the next try goes over the other transport, because this one was refused or brings nothing."""
        refused: bool = error.errno == errno.EPROTONOSUPPORT
        if self._spec.transport in _OTHER_TRANSPORT or not (refused or self._transport == "udp"):
            return False
        self._transport = _OTHER_TRANSPORT[self._transport]
        return refused


class AvConnection:
    """One connection through PyAV.

    Args:
        reader: reads what came first.
        next_part: opens a reader for what follows once a reader is through; ``None`` as its answer is the end.
        close: ends what lies below the readers.
        egress: knows what was refused.
    """

    over = False

    def __init__(
        self,
        reader: VideoReader,
        next_part: Callable[[], VideoReader | None] = lambda: None,
        close: Callable[[], None] = lambda: None,
        *,
        egress: Egress,
    ) -> None:
        self._reader = reader
        self._next_part = next_part
        self._close = close
        self._egress = egress
        self.in_bursts = bool(reader.format_names & _IN_BURSTS)

    @property
    def stream(self) -> str:
        """What is read now, in words."""
        return self._reader.stream

    @property
    def is_flv(self) -> bool:
        """Whether FFmpeg has found FLV."""
        return bool(self._reader.format_names & {"flv", "live_flv"})

    def pictures(self) -> Iterator[Decoded]:
        """The pictures in order; raises ``SourceError`` when the stream breaks off."""
        try:
            while True:
                yield from self._reader.pictures()
                following = self._next_part()
                if following is None:
                    return
                self._reader.close()
                self._reader = following
        except SourceError:
            self._egress.raise_if_refused()
            raise
        except av.FFmpegError as e:
            self._egress.raise_if_refused()
            broke_off = e.errno == errno.EIO
            raise SourceError("the stream broke off" if broke_off else reason_in_words(e)) from e

    def close(self) -> None:
        """Ends the connection."""
        self._reader.close()
        self._close()


def _bytes_of(packets: Iterator[av.Packet], stopping: threading.Event) -> Iterator[bytes]:
    """What a connection brings, as it comes."""
    for packet in packets:
        if stopping.is_set():
            return
        if packet.size:
            yield bytes(packet)


def _path_of(address: str) -> str:
    parts = take_apart(address)
    return "" if parts is None else Path(parts.location.partition("?")[0].partition("#")[0]).name.lower()


def _scheme_of(address: str) -> str:
    parts = take_apart(address)
    return "such" if parts is None else f"{parts.scheme}://"
