"""Frames from whatever a channel names: one iterator, whatever is behind it.

Each kind of source is a module of this folder that defines ``read``; ``_READERS`` says which one reads which kind. It
is imported only when such a source is opened.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streamserver.core.errors import SourceMissingError
from streamserver.core.outgoing import Policy
from streamserver.core.picture import Picture
from streamserver.core.source_monitor import SourceMonitor
from streamserver.core.urls import masked
from streamserver.media.gate import GateSpec

logger = logging.getLogger(__name__)

_READERS = {
    "VIDEO": "video_file",
    "IMG_DIR": "image_folder",
    "RTSP": "live",
    "RTMP": "live",
    "HTTP": "live",
    "UDP": "live",
    "SRT": "live",
    "CAMERA": "live",
    "GB28181": "live",
    "BASE64": "pictures_over_http",
}

_SIZES_VARY = frozenset({"IMG_DIR", "BASE64"})
"""Kinds whose pictures may each have a size of their own, which is nothing to warn of."""

_SILENCE_BEYOND_STALL_S = 2.0

AS_FAST_AS_IT_GOES = -1
"""The ``fps`` of a channel that is not paced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What to read and how.

    Attributes:
        url: path or address, as in the demo file; may hold credentials.
        source_type: sophon-stream's word for the kind, e.g. ``RTSP`` or ``VIDEO``.
        loop_num: how often a file or folder is played; 0 for ever.
        fps: ``AS_FAST_AS_IT_GOES`` for no pacing; other values mean the stream's own rate where it has one.
        start_loop: a file's first loop number, to go on after a crash; at most ``loop_num - 1`` counts.
        decoder: who reads videos and streams: ``av`` or ``opencv``.
        transport: how RTSP and GB28181 bring the media: ``tcp``, ``udp``, or ``auto`` for TCP first.
        stalled_after_s: a stream without a picture for so long is stalled.
        frozen_after_s: a stream with the same picture for so long is stalled; 0 for off.
        turnstile: a file through which all processes of this machine take turns to connect; ``None`` for no turns.
        connects_per_s: connections a second that ``turnstile`` lets through.
        gate: decode key frames only while nothing moves; ``None`` for everything always.
        policy: where it may lead; ``None`` for everywhere, where no task but a person at this machine names it.
    """

    url: str
    source_type: str
    loop_num: int = 1
    fps: float = 25.0
    start_loop: int = 0
    decoder: str = "av"
    transport: str = "auto"
    stalled_after_s: float = 10.0
    frozen_after_s: float = 60.0
    turnstile: Path | None = None
    connects_per_s: float = 5.0
    gate: GateSpec | None = None
    policy: Policy | None = None

    @property
    def masked_url(self) -> str:
        """The address without its secrets, for messages."""
        return masked(self.url)

    @property
    def paced(self) -> bool:
        """False if frames come as fast as they can be read."""
        return self.fps != AS_FAST_AS_IT_GOES

    @property
    def silent_s(self) -> float:
        """A connection that brings no picture for so long is given up: a little after it counts as stalled."""
        return self.stalled_after_s + _SILENCE_BEYOND_STALL_S

    def warn_of_no_gate(self, reason: str) -> None:
        """Says in the log that everything is decoded, though there should be a motion gate."""
        if self.gate is not None:
            logger.warning("%s: there is no motion gate: %s; everything is decoded", self.masked_url, reason)

    def loops(self) -> Iterator[int]:
        """The numbers of the loops that are to be played."""
        if self.loop_num == 0:
            return itertools.count(self.start_loop)
        return iter(range(min(max(0, self.start_loop), self.loop_num - 1), self.loop_num))


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame as it was read; the attributes are those of ``engine.frame.Frame``, and two for who samples them.

    Attributes:
        late: it happened a while ago and is given now; not to be left out for being old.
        at_rest: nothing moves, and the frames around it were not decoded: to be kept whatever the sampling.
    """

    frame_id: int
    loop: int
    timestamp_us: int
    clock_s: float
    discontinuity: bool
    picture: Picture
    late: bool = False
    at_rest: bool = False


class _Kind(Protocol):
    """What a module of this folder offers when it reads a kind of source."""

    def read(self, spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]: ...


def open_source(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """Reads ``spec``: frames in order, ending after the last loop of a file or once ``stopping`` is set.

    A frame of another size than the one before is a discontinuity: what was remembered is in pixels of the old size.

    Raises:
        SourceMissingError: the source does not exist or cannot be read, and trying again will not help.
        SourceError: it cannot be read now.
    """
    if spec.source_type not in _READERS:
        raise SourceMissingError(
            f"'{spec.masked_url}': sources of type '{spec.source_type}' cannot be read",
            cure=f"the types that can are {', '.join(sorted(_READERS))}",
        )
    kind: _Kind = importlib.import_module(f"streamserver.media.{_READERS[spec.source_type]}")
    level = logging.DEBUG if spec.source_type in _SIZES_VARY else logging.WARNING
    return _breaking_at_sizes(kind.read(spec, stopping=stopping, monitor=monitor), spec.masked_url, level)


def _breaking_at_sizes(frames: Iterator[SourceFrame], name: str, level: int) -> Iterator[SourceFrame]:
    size_wh = None
    for frame in frames:
        before, size_wh = size_wh, frame.picture.size_wh
        if before not in (None, size_wh):
            logger.log(level, "%s: the picture changed its size from %s to %s", name, before, size_wh)
            frame = dataclasses.replace(frame, discontinuity=True)
        yield frame
