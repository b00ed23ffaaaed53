"""Video files: played once, several times or for ever, at their own rate or as fast as they can be read."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import av

from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.picture import Picture
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import local_path
from streamserver.media.av_reader import VideoReader, reason_in_words, to_picture
from streamserver.media.pacing import Pacer
from streamserver.media.sources import SourceFrame, SourceSpec

logger = logging.getLogger(__name__)

_TIMEOUT_S = (10.0, 10.0)


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Plays the file ``spec.loop_num`` times; frame ids start at 0 in each loop, whose first frame breaks continuity.

    Raises:
        SourceMissingError: the file is not there, or holds no video that can be read.
        SourceError: an address of another kind cannot be opened now.
    """
    monitor.connecting()
    for loop in spec.loops():
        frame_id = -1
        for frame_id, picture in enumerate(_play(spec, stopping)):
            if frame_id == 0:
                monitor.streaming()
            monitor.picture()
            yield SourceFrame(frame_id, loop, time.time_ns() // 1000, discontinuity=frame_id == 0, picture=picture)
        if stopping.is_set():
            return
        if frame_id < 0:
            raise SourceMissingError(f"'{spec.masked_url}' holds no frame that can be decoded")
    monitor.ended()


def _play(spec: SourceSpec, stopping: threading.Event) -> Iterator[Picture]:
    with _open(spec) as reader:
        pacer = Pacer(reader.rate if spec.paced else 0.0, stopping)
        try:
            for frame in reader.frames():
                if not pacer.wait():
                    return
                yield to_picture(frame)
        except av.FFmpegError as e:
            logger.warning("%s: ends early: %s", spec.masked_url, reason_in_words(e))


def _open(spec: SourceSpec) -> VideoReader:
    path = local_path(spec.url)
    remote = path == spec.url and "://" in path
    try:
        return VideoReader(path, timeout_s=_TIMEOUT_S) if remote else VideoReader(f"file:{path}")
    except FileNotFoundError as e:
        raise SourceMissingError(
            f"video file '{spec.masked_url}' does not exist", cure="check the path as this machine sees it"
        ) from e
    except IsADirectoryError as e:
        raise SourceMissingError(
            f"video file '{spec.masked_url}' is a folder", cure="write source_type IMG_DIR to show its pictures"
        ) from e
    except (av.FFmpegError, SourceError) as e:
        reason = e.message if isinstance(e, SourceError) else reason_in_words(e)
        kind = SourceError if remote else SourceMissingError
        raise kind(f"video file '{spec.masked_url}' cannot be read: {reason}") from e
