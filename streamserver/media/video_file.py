"""Video files: played once, several times or for ever, at their own rate or as fast as they can be read.

PyAV or OpenCV decode (``SourceSpec.decoder``); the one that does not is not imported.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import local_path
from streamserver.media.connection import Decoded
from streamserver.media.pacing import Pacer
from streamserver.media.pyav import require_av
from streamserver.media.source_clock import SourceClock
from streamserver.media.sources import SourceFrame, SourceSpec

logger = logging.getLogger(__name__)


class OpenVideo(Protocol):
    """A file that is open."""

    @property
    def rate(self) -> float:
        """Frames a second."""

    @property
    def stream(self) -> str:
        """What is read, in words."""

    def pictures(self) -> Iterator[Decoded]:
        """Every frame, in order; raises ``SourceError`` where the file cannot be read on."""


class Opener(Protocol):
    """Opens a video with one of the decoders."""

    def __call__(
        self, address: str, *, remote: bool, on_broken: Callable[[int], None]
    ) -> AbstractContextManager[OpenVideo]:
        """Opens what FFmpeg calls ``address``; raises ``SourceError`` with the reason in words where it cannot."""


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Plays the file ``spec.loop_num`` times; frame ids start at 0 in each loop, whose first frame breaks continuity.

    Raises:
        SourceMissingError: the file is not there, or holds no video that can be read.
        SourceError: an address of another kind cannot be opened now.
    """
    monitor.connecting()
    clock = SourceClock()
    for played, loop in enumerate(spec.loops()):
        frame_id = -1
        with _open(spec, monitor) as video:
            clock.new_loop()
            for frame_id, decoded in enumerate(_play(video, spec, stopping)):
                if frame_id == 0:
                    monitor.streaming(video.stream, connected=played == 0)
                monitor.picture()
                yield SourceFrame(
                    frame_id,
                    loop,
                    time.time_ns() // 1000,
                    clock.at(decoded.time_s, rate=video.rate),
                    discontinuity=frame_id == 0,
                    picture=decoded.picture,
                )
        if stopping.is_set():
            return
        if frame_id < 0:
            raise SourceMissingError(
                f"'{spec.masked_url}' holds no frame that can be decoded", cure="is the copy whole? 'ffprobe' says more"
            )
    monitor.ended()


def _play(video: OpenVideo, spec: SourceSpec, stopping: threading.Event) -> Iterator[Decoded]:
    pacer = Pacer(video.rate if spec.paced else 0.0, stopping)
    try:
        for decoded in video.pictures():
            if not pacer.wait():
                return
            yield decoded
    except SourceError as e:
        logger.warning("%s: ends early: %s", spec.masked_url, e.message)


def _open(spec: SourceSpec, monitor: SourceMonitor) -> AbstractContextManager[OpenVideo]:
    path = local_path(spec.url)
    remote = path == spec.url and "://" in path
    if not remote:
        _require_file(path, spec.masked_url)
    opener = _opener(spec)
    try:
        return opener(path if remote else f"file:{path}", remote=remote, on_broken=monitor.broken)
    except SourceError as e:
        kind = SourceError if remote else SourceMissingError
        raise kind(f"video file '{spec.masked_url}' cannot be read: {e.message}") from e


def _opener(spec: SourceSpec) -> Opener:
    if spec.decoder == "opencv":
        from streamserver.media.opencv_file import OpenCvFile

        return OpenCvFile
    require_av(spec.masked_url)
    from streamserver.media.av_file import AvFile

    return AvFile


def _require_file(path: str, name: str) -> None:
    """Tells what is wrong with a path better than a decoder could."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ValueError) as e:  # no path holds a NUL
        raise SourceMissingError(
            f"video file '{name}' does not exist", cure="check the path as this machine sees it"
        ) from e
    except OSError as e:
        reason = "no permission to read it" if isinstance(e, PermissionError) else e.strerror
        raise SourceMissingError(
            f"video file '{name}' cannot be read: {reason}",
            cure="the user that runs the server must be able to read it",
        ) from e
    mode = os.fstat(descriptor).st_mode
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise SourceMissingError(
            f"video file '{name}' is a folder", cure="write source_type IMG_DIR to show its pictures"
        )
    if not stat.S_ISREG(mode):  # a decoder would wait for ever for somebody to write into a pipe
        raise SourceMissingError(f"video file '{name}' is a pipe or a device, not a file", cure="copy it into a file")
