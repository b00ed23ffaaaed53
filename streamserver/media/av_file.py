"""A video file through PyAV."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import av

from streamserver.core.errors import SourceError
from streamserver.core.urls import for_ffmpeg
from streamserver.media.av_reader import VideoReader, luma_of, reason_in_words, to_picture
from streamserver.media.connection import Decoded
from streamserver.media.diagnosis import why_no_name

_TIMEOUT_S = (10.0, 10.0)


class AvFile:
    """A file, or something else that has an end, open to be read once; use it with ``with``.

    Args:
        address: what FFmpeg opens.
        remote: it comes over the network, so reading it needs limits.
        on_broken: told of each packet that could not be decoded and of each picture that came out damaged.

    Raises:
        SourceError: it cannot be opened, or holds no video; the reason in words.
    """

    def __init__(self, address: str, *, remote: bool, on_broken: Callable[[int], None]) -> None:
        if remote and (reason := why_no_name(address)):
            raise SourceError(reason)
        try:
            self._reader = VideoReader(
                for_ffmpeg(address) if remote else address,
                timeout_s=_TIMEOUT_S if remote else None,
                on_broken=functools.partial(on_broken, 1),
            )
        except av.FFmpegError as e:
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
            for frame in self._reader.frames():
                yield Decoded(to_picture(frame), frame.time, functools.partial(luma_of, frame))
        except av.FFmpegError as e:
            raise SourceError(reason_in_words(e)) from e

    def __enter__(self) -> AvFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
