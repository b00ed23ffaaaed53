"""A video file through PyAV."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import av

from streamserver.core.errors import SourceError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import for_ffmpeg
from streamserver.media.av_reader import VideoReader, reason_in_words
from streamserver.media.connection import Decoded
from streamserver.media.diagnosis import why_no_name
from streamserver.media.egress import FILE, PROTOCOLS, Egress, options_of_file
from streamserver.media.gate import GateSpec

_TIMEOUT_S = (10.0, 10.0)


class AvFile:
    """A file, or something else that has an end, open to be read once; use it with ``with``.

    Args:
        source: an address, or the descriptor of a local file, which is not needed any longer afterwards.
        egress: what it may reach.
        on_broken: told of each packet that could not be decoded and of each picture that came out damaged.
        gate: key frames only while nothing moves; ``None`` for every frame.
        monitor: told whether the gate is open.

    Raises:
        SourceError: it cannot be opened, or holds no video; the reason in words.
    """

    def __init__(
        self,
        source: str | int,
        *,
        egress: Egress,
        on_broken: Callable[[int], None],
        gate: GateSpec | None = None,
        monitor: SourceMonitor | None = None,
    ) -> None:
        remote = isinstance(source, str)
        if isinstance(source, str) and (reason := why_no_name(source, egress=egress)):
            raise SourceError(reason)
        self._egress = egress
        egress.forget()
        try:
            self._reader = VideoReader(
                for_ffmpeg(source) if isinstance(source, str) else FILE,
                options=PROTOCOLS["VIDEO"] if isinstance(source, str) else options_of_file(source),
                timeout_s=_TIMEOUT_S if remote else None,
                on_broken=functools.partial(on_broken, 1),
                gate=gate,
                monitor=monitor,
                egress=egress,
            )
        except av.FFmpegError as e:
            egress.raise_if_refused()
            raise SourceError(reason_in_words(e)) from e

    @property
    def rate(self) -> float:
        """Frames a second, as the file says."""
        return self._reader.rate

    @property
    def stream(self) -> str:
        """What is read, in words."""
        return self._reader.stream

    def pictures(self) -> Iterator[Decoded]:
        """Every frame that can be decoded; raises ``SourceError`` where the file cannot be read on."""
        try:
            yield from self._reader.pictures()
        except av.FFmpegError as e:
            self._egress.raise_if_refused()
            raise SourceError(reason_in_words(e)) from e

    def __enter__(self) -> AvFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
