"""The contract of an element: one node of a graph, living in a thread of its own.

A new element is one file in ``streamserver/elements``; the file's name is the ``name`` in the element's JSON, and the
file defines ``ELEMENT``, a subclass of ``Element``. An element never starts threads, never sleeps longer than it must
and never keeps a frame after ``process`` returned, unless it says so and drops it in ``close``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.engine.frame import Frame


class Emit(Protocol):
    """Passes a frame to the next element; blocks while that one is busy (back-pressure)."""

    def __call__(self, frame: Frame, *, port: int | None = None) -> None:
        """Sends ``frame`` out of ``port``; ``None`` means the element's first connected output port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementContext:
    """What the engine gives every element.

    Attributes:
        element_id: its id in the graph file.
        name: its name in the element file, without ``_group``.
        config_file: the element file, for messages.
        configure: the ``configure`` object of that file.
        settings: the server's settings (device, model directories, threads).
        base_dir: what relative paths in the configuration are relative to.
        channel_ids: the channels that run through this graph.
        stopping: set when the process wants to end; long waits watch it.
        report: tells the supervisor one thing about this element, e.g. ``report("detector", "motion")``.
    """

    element_id: int
    name: str
    config_file: str
    configure: Mapping[str, Any]
    settings: Settings
    base_dir: Path
    channel_ids: tuple[int, ...] = ()
    stopping: threading.Event = field(default_factory=threading.Event)
    report: Callable[[str, str], None] = lambda key, value: None

    def error(self, key: str, problem: str, *, cure: str = "") -> GraphError:
        """An error that names this element's file, the element and ``key``, for the caller to raise."""
        return GraphError(f"{self.config_file}: element {self.element_id} '{self.name}': {key}: {problem}", cure=cure)


class Element:
    """One node. ``__init__`` checks the configuration and does nothing slow."""

    def __init__(self, context: ElementContext) -> None:
        """Reads ``context.configure``; raises ``context.error(key, problem)`` for what cannot be used."""
        self.context = context

    def open(self) -> None:
        """Called once, in the element's thread, before the first frame: loads models, opens connections."""

    def process(self, frame: Frame, emit: Emit) -> None:
        """Called for each frame that is neither skipped nor an end of stream; emits it, or drops it by not emitting."""
        emit(frame)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Called when a channel has ended; emits what is still held back, then the frame itself."""
        emit(frame)

    def close(self) -> None:
        """Called once, in the element's thread, after the last frame, also after an error."""
