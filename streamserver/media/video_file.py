"""Video files: played once, several times or for ever, at their own rate or as fast as they can be read.

PyAV or OpenCV decode (``SourceSpec.decoder``); the one that does not is not imported.
"""

from __future__ import annotations

import functools
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
from streamserver.media.egress import Egress, open_file
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
        self, source: str | int, *, egress: Egress, on_broken: Callable[[int], None]
    ) -> AbstractContextManager[OpenVideo]:
        """Opens an address, or a local file by its descriptor.

        Raises:
            SourceError: it cannot; the reason in words.
        """


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Plays the file ``spec.loop_num`` times; frame ids start at 0 in each loop, whose first frame breaks continuity.

    Behind a motion gate frame ids count those that were not decoded, too, and each frame comes at its own time.

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
            for number, decoded in enumerate(_play(video, spec, stopping)):
                frame_id = number if decoded.moment is None else decoded.moment.number
                if number == 0:
                    monitor.streaming(video.stream, connected=played == 0)
                monitor.picture()
                yield SourceFrame(
                    frame_id,
                    loop,
                    time.time_ns() // 1000,
                    clock.at(decoded.time_s, rate=video.rate),
                    discontinuity=number == 0,
                    picture=decoded.picture,
                    at_rest=decoded.moment is not None and decoded.moment.at_rest,
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
        paced = 0
        for decoded in video.pictures():
            number = paced if decoded.moment is None else decoded.moment.number
            if not pacer.wait(number + 1 - paced):
                return
            paced = number + 1
            yield decoded
    except SourceError as e:
        logger.warning("%s: ends early: %s", spec.masked_url, e.message)


def _open(spec: SourceSpec, monitor: SourceMonitor) -> AbstractContextManager[OpenVideo]:
    path = local_path(spec.url)
    remote = path == spec.url and "://" in path
    opener = _opener(spec, monitor)
    egress = Egress(spec.policy)
    if remote:
        try:
            return opener(path, egress=egress, on_broken=monitor.broken)
        except SourceError as e:
            raise SourceError(f"video file '{spec.masked_url}' cannot be read: {e.message}", cure=e.cure) from e
    descriptor = _open_file(path, spec)
    try:
        return opener(descriptor, egress=egress, on_broken=monitor.broken)
    except SourceError as e:
        raise SourceMissingError(f"video file '{spec.masked_url}' cannot be read: {e.message}") from e
    finally:
        os.close(descriptor)


def _opener(spec: SourceSpec, monitor: SourceMonitor) -> Opener:
    if spec.decoder == "opencv":
        spec.warn_of_no_gate("OpenCV tells nothing of packets")
        from streamserver.media.opencv_file import OpenCvFile

        return OpenCvFile
    require_av(spec.masked_url)
    from streamserver.media.av_file import AvFile

    return functools.partial(AvFile, gate=spec.gate, monitor=monitor)


def _open_file(path: str, spec: SourceSpec) -> int:
    """A descriptor of the file; tells what is wrong with a path better than a decoder could."""
    name = spec.masked_url
    try:
        descriptor = open_file(path, spec.policy)
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
    try:
        _require_regular(descriptor, name)
    except SourceMissingError:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(descriptor: int, name: str) -> None:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise SourceMissingError(
            f"video file '{name}' is a folder", cure="write source_type IMG_DIR to show its pictures"
        )
    if not stat.S_ISREG(mode):  # a decoder would wait for ever for somebody to write into a pipe
        raise SourceMissingError(f"video file '{name}' is a pipe or a device, not a file", cure="copy it into a file")
