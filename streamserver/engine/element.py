"""The contract of an element: one node of a graph, living in a thread of its own.

A new element is one file in ``streamserver/elements``; the file's name is the ``name`` in the element's JSON, and the
file defines ``ELEMENT``, a subclass of ``Element``. An element never starts threads, never sleeps longer than it must
and never keeps a frame after ``process`` returned, unless it says so (``keeps_frames``) and drops it in ``close``. It
emits the frame object that it was given: one that it neither emits nor keeps counts as dropped. Where its file asks for
several threads, frames of one channel come one after another, those of different channels at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from streamserver.core.errors import GraphError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.core.slips import SAME_BUT_FOR_A_SLIP, nearest
from streamserver.core.source_monitor import SourceMonitor
from streamserver.engine.frame import Frame
from streamserver.graph.demo import Channel as Channel

LEFT_OUT = "left out on channel"
"""What an element reports, followed by the number of a channel: whom it leaves out there, and why."""


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
        input_ports: the ports where connections arrive, in the graph's order, one entry a connection.
        output_ports: the ports from which connections lead away.
        stopping: set when the process wants to end; long waits watch it.
        report: tells the supervisor one thing about this element, e.g. ``report("detector", "motion")``.
        alive: to be called now and then, in the element's own thread, by an element that waits for something outside
            (a receiver that is away), or the engine would take it for hung.
    """

    element_id: int
    name: str
    config_file: str
    configure: Mapping[str, Any]
    settings: Settings
    base_dir: Path
    channel_ids: tuple[int, ...] = ()
    input_ports: tuple[int, ...] = ()
    output_ports: tuple[int, ...] = ()
    stopping: threading.Event = field(default_factory=threading.Event)
    report: Callable[[str, str], None] = lambda key, value: None
    alive: Callable[[], None] = lambda: None

    def error(self, key: str, problem: str, *, cure: str = "") -> GraphError:
        """An error that names this element's file, the element and ``key``, for the caller to raise.

        Where the key is not there, but one that is nearly the same, that is said too.
        """
        if key not in self.configure and (near := nearest(key, self.configure, likeness=SAME_BUT_FOR_A_SLIP)):
            cure = f"write {key} where it says '{near}'"
        return GraphError(f"{self.config_file}: element {self.element_id} '{self.name}': {key}: {problem}", cure=cure)


class Element:
    """One node. ``__init__`` checks the configuration and does nothing slow."""

    wants_skipped: ClassVar[bool] = False
    """Whether ``process`` is also called for frames that are only passed on (sampling strategy KEEP)."""

    may_be_skipped: ClassVar[bool] = False
    """Whether a channel's ``skip_element`` can name it; the frames of such a channel pass it untouched."""

    keeps_frames: ClassVar[bool] = False
    """Whether frames stay with it beyond ``process``, to be emitted, every one of them, when later ones have come."""

    may_be_shared: ClassVar[bool] = False
    """Whether one may work for the channels of several graphs: it emits each frame within ``process``, drops none, and
    what it leaves in a frame depends on the frames of the channel and on ``configure`` alone.
    """

    light: ClassVar[bool] = False
    """Whether ``process`` is done in a fraction of a millisecond and never waits, so that it needs no thread."""

    batch_size: int = 1
    """How many frames are worth giving to ``process_many`` at once; it may be said as late as in ``open``."""

    through_port: int | None = None
    """The output port for frames that only pass; ``None`` means the first connected one."""

    def __init__(self, context: ElementContext) -> None:
        """Reads ``context.configure``; raises ``context.error(key, problem)`` for what cannot be used."""
        self.context = context

    def open(self) -> None:
        """Called once, in its first thread, before the first frame: loads models, opens connections."""

    def process(self, frame: Frame, emit: Emit) -> None:
        """Called for each frame but the end of stream (skipped ones: see above); emits it, or drops it."""
        emit(frame)

    def process_many(self, frames: Sequence[Frame], emit: Emit) -> None:
        """Does what ``process`` does for each of ``frames``, in this order, which is that of each channel.

        Called where ``batch_size`` is more than 1 and as many frames, or fewer, but at least two, wait already.
        """
        for frame in frames:
            self.process(frame, emit)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Called when a channel has ended; emits what is still held back, then the frame itself."""
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        """Goes on with another ``configure``; called between two frames, while none is in ``process``.

        For the elements and keys of ``graph.changes.CHANGEABLE``. What it remembers stays as far as it still holds.
        The engine has seen that ``__init__`` takes ``configure``; what raises all the same changes nothing.
        """
        raise self.context.error("configure", "cannot be changed while the task runs")

    def close(self) -> None:
        """Called once, when its threads are through with their last frames, also after an error."""


class SplittingElement(Element):
    """A node that gives out parts of a frame, and then, at ``through_port``, the frame itself.

    Attributes:
        returns: by output port, the id of the converger to which parts come back that leave there, where the frame
            itself comes too; without those that do not come back. Set by the engine before ``open``.
    """

    returns: Mapping[int, int] = {}


class JoiningElement(Element):
    """A node where parts come back: keeps the frames that arrive at ``default_port`` until their parts have.

    ``process`` also gets what was dropped on the way there (``Frame.dropped``).
    """

    wants_skipped = True
    keeps_frames = True
    default_port: int = 0

    def holds_back(self, frame: Frame) -> bool:
        """True while ``frame``, and all that waits with it at the same port for the same channel, must wait longer.

        The engine asks before it takes a frame from the queue, where it is sure that parts keep coming meanwhile.
        """
        raise NotImplementedError


class ReadFrame(Protocol):
    """One frame as a source gives it; the attributes are those of ``Frame``."""

    @property
    def frame_id(self) -> int:
        """Position in the source."""

    @property
    def loop(self) -> int:
        """How often the source started over."""

    @property
    def timestamp_us(self) -> int:
        """When it was read."""

    @property
    def clock_s(self) -> float:
        """When it was, on the source's own clock."""

    @property
    def discontinuity(self) -> bool:
        """True where what was remembered no longer holds."""

    @property
    def picture(self) -> Picture:
        """The pixels."""

    @property
    def late(self) -> bool:
        """True where it happened a while ago and is not to be left out for that, also of a live source."""

    @property
    def at_rest(self) -> bool:
        """True where it stands for those around it, in which nothing moves: it is kept whatever the sampling."""


class SourceElement(Element):
    """A node where channels enter the graph.

    The engine reads its channels in threads of their own, takes what ``sample_interval`` keeps, numbers it and gives it
    to ``process`` like any other frame.
    """

    may_be_shared = True

    def source_key(self, channel: Channel) -> Hashable:
        """What makes two channels one source: those with equal keys, also of other graphs, share one reader."""
        raise NotImplementedError

    def read(
        self,
        channel: Channel,
        *,
        start_loop: int,
        stopping: threading.Event,
        monitor: SourceMonitor,
    ) -> Iterator[ReadFrame]:
        """The frames of ``channel``, ending with the source; runs in the reader's thread.

        Args:
            channel: one of those with the same key.
            start_loop: the first loop of a file, to go on after a crash.
            stopping: set when the process wants to end.
            monitor: to be told what the source does, and why, in words without secrets.
        """
        raise NotImplementedError
