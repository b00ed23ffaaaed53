"""What a source is, and which file of this folder reads which kind.

A new kind is one file in this folder with ``SOURCE_TYPES``, the ``source_type`` values of a demo file that it reads,
and ``read(spec, *, stopping, on_state)``, an iterator of ``SourceFrame``. ``SIZES_VARY = True`` if its pictures are of
different sizes as a matter of course.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import logging
import pkgutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from streamserver.core.errors import SourceMissingError
from streamserver.core.picture import Picture
from streamserver.core.states import SourceState
from streamserver.core.urls import mask_credentials

logger = logging.getLogger(__name__)

AS_FAST_AS_IT_GOES = -1
"""The ``fps`` of a channel that is not paced."""

OnState = Callable[[SourceState, str], None]
"""Told whenever a source changes its state: the state and, where there is one, the reason in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """What to read and how.

    Attributes:
        url: path or address, as in the demo file; may hold credentials.
        source_type: sophon-stream's word for the kind, e.g. ``RTSP`` or ``VIDEO``.
        loop_num: how often a file or folder is played; 0 for ever.
        fps: ``AS_FAST_AS_IT_GOES`` for no pacing; other values mean the stream's own rate where it has one.
        start_loop: a file's first loop number, to go on after a crash; at most ``loop_num - 1`` counts.
    """

    url: str
    source_type: str
    loop_num: int = 1
    fps: float = 25.0
    start_loop: int = 0

    @property
    def masked_url(self) -> str:
        """The address without its secrets, for messages."""
        return mask_credentials(self.url)

    @property
    def paced(self) -> bool:
        """False if frames come as fast as they can be read."""
        return self.fps != AS_FAST_AS_IT_GOES

    def loops(self) -> Iterator[int]:
        """The numbers of the loops that are to be played."""
        if self.loop_num == 0:
            return itertools.count(self.start_loop)
        return iter(range(min(max(0, self.start_loop), self.loop_num - 1), self.loop_num))


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One frame as it was read; the attributes are those of ``engine.frame.Frame``."""

    frame_id: int
    loop: int
    timestamp_us: int
    discontinuity: bool
    picture: Picture


class _Kind(Protocol):
    """What a file of this folder offers when it reads a kind of source."""

    SOURCE_TYPES: frozenset[str]

    def read(self, spec: SourceSpec, *, stopping: threading.Event, on_state: OnState) -> Iterator[SourceFrame]: ...


def open_source(spec: SourceSpec, *, stopping: threading.Event, on_state: OnState) -> Iterator[SourceFrame]:
    """Reads ``spec``: frames in order, ending after the last loop of a file or once ``stopping`` is set.

    A frame of another size than the one before is a discontinuity: what was remembered is in pixels of the old size.

    Raises:
        SourceMissingError: the source does not exist or cannot be read, and trying again will not help.
        SourceError: it cannot be read now.
    """
    kind = _kind_of(spec)
    level = logging.DEBUG if getattr(kind, "SIZES_VARY", False) else logging.WARNING
    return _breaking_at_sizes(kind.read(spec, stopping=stopping, on_state=on_state), spec.masked_url, level)


def _breaking_at_sizes(frames: Iterator[SourceFrame], name: str, level: int) -> Iterator[SourceFrame]:
    size_wh = None
    for frame in frames:
        before, size_wh = size_wh, frame.picture.size_wh
        if before not in (None, size_wh):
            logger.log(level, "%s: the picture changed its size from %s to %s", name, before, size_wh)
            frame = dataclasses.replace(frame, discontinuity=True)
        yield frame


def _kind_of(spec: SourceSpec) -> _Kind:
    known: set[str] = set()
    for module_info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module_info.name == Path(__file__).stem:
            continue
        module = importlib.import_module(f"streamserver.media.{module_info.name}")
        types: frozenset[str] = getattr(module, "SOURCE_TYPES", frozenset())
        if spec.source_type in types:
            kind: _Kind = module
            return kind
        known |= types
    raise SourceMissingError(
        f"'{spec.masked_url}': sources of type '{spec.source_type}' cannot be read",
        cure=f"the types that can are {', '.join(sorted(known))}",
    )
