"""Small elements for tests. What they need from the test comes in ``configure``, objects included."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamserver import elements
from streamserver.core.objects import Recognition
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.core.source_monitor import SourceMonitor
from streamserver.engine.element import Channel, Element, ElementContext, Emit, SourceElement
from streamserver.engine.frame import Frame
from streamserver.engine.runner import Runner
from streamserver.graph.model import Edge, Graph, Node


@dataclass(frozen=True)
class Read:
    """A frame as a source gives it."""

    frame_id: int
    loop: int = 0
    timestamp_us: int = 0
    clock_s: float = 0.0
    discontinuity: bool = False
    picture: Picture = field(default_factory=lambda: Picture((4, 2), lambda: np.zeros((2, 4, 3), np.uint8)))
    late: bool = False
    at_rest: bool = False


class Numbers(SourceElement):
    """A source of ``frames`` frames a loop; ``after`` is called with the number read and may wait or raise.

    What it shows is noted in ``pictures``.
    """

    def source_key(self, channel: Channel) -> Hashable:
        return channel.url

    def read(
        self,
        channel: Channel,
        *,
        start_loop: int,
        stopping: threading.Event,
        monitor: SourceMonitor,
    ) -> Iterator[Read]:
        self.context.configure.get("opened", []).append(channel.channel_id)
        monitor.streaming()
        for loop in range(start_loop, max(1, channel.loop_num)):
            for number in range(self.context.configure.get("frames", 5)):
                frame = Read(number, loop=loop, discontinuity=number == 0)
                self.context.configure.get("pictures", []).append(frame.picture)
                yield frame
                self.context.configure.get("after", lambda number: None)(number)


class Recorder(Element):
    """Writes into ``into`` what happens: ``opened``, each frame, ``end``, ``closed``; emits on ``port(frame)``."""

    def open(self) -> None:
        self._note("opened")
        self.context.configure.get("on_open", lambda: None)()

    def process(self, frame: Frame, emit: Emit) -> None:
        self._note(frame)
        self.context.configure.get("work", lambda context: None)(self.context)
        emit(frame, port=self.context.configure.get("port", lambda frame: None)(frame))

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        self._note(("end", frame.channel_id))
        emit(frame)

    def close(self) -> None:
        self._note("closed")

    def _note(self, what: object) -> None:
        self.context.configure.get("into", []).append(what)


class Batching(Element):
    """Takes ``batch`` frames at once, noting in ``batches`` how many there were each time."""

    def open(self) -> None:
        self.batch_size = self.context.configure.get("batch", 1)

    def process_many(self, frames: Sequence[Frame], emit: Emit) -> None:
        self.context.configure.get("batches", []).append([(frame.channel_id, frame.frame_id) for frame in frames])
        super().process_many(frames, emit)


class Finder(Batching):
    """Puts ``objects(frame)`` into each frame as its detections."""

    def process(self, frame: Frame, emit: Emit) -> None:
        frame.detections = self.context.configure["objects"](frame)
        emit(frame)


class Worker(Batching):
    """Adds the text ``says`` to each frame or part after ``pause(frame)``; drops those for which ``drops(frame)``."""

    def process(self, frame: Frame, emit: Emit) -> None:
        self.context.configure.get("into", []).append(frame)
        self.context.configure.get("pause", lambda frame: None)(frame)
        if not self.context.configure.get("drops", lambda frame: False)(frame):
            frame.recognitions = [*frame.recognitions, Recognition(self.context.configure.get("says", "seen"))]
            emit(frame)


class Keeper(Element):
    """Emits frames ``window`` at a time, and the rest at the end of the channel."""

    keeps_frames = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self._kept: dict[int, list[Frame]] = {}

    def process(self, frame: Frame, emit: Emit) -> None:
        kept = self._kept.setdefault(frame.channel_id, [])
        kept.append(frame)
        if len(kept) >= self.context.configure["window"]:
            self._release(frame.channel_id, emit)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        self._release(frame.channel_id, emit)
        emit(frame)

    def _release(self, channel_id: int, emit: Emit) -> None:
        for frame in self._kept.pop(channel_id, []):
            frame.recognitions = [*frame.recognitions, Recognition("kept")]
            emit(frame)


class Skippable(Recorder):
    """A recorder that channels can ask to be spared."""

    may_be_skipped = True


class Greedy(Recorder):
    """A recorder that also takes the frames that are only passed on."""

    wants_skipped = True


CLASSES: Mapping[str, type[Element]] = {
    "numbers": Numbers,
    "recorder": Recorder,
    "greedy": Greedy,
    "pass": Element,
    "finder": Finder,
    "worker": Worker,
    "keeper": Keeper,
    "skippable": Skippable,
}


def element_class(name: str) -> type[Element]:
    """The class called ``name``: one of the above, or one of the real ones."""
    return CLASSES[name] if name in CLASSES else elements.element_class(name)


def graph_of(
    nodes: Mapping[int, tuple[str, Any]],
    edges: Sequence[tuple[int, int, int, int]],
    *,
    sources: Sequence[int] = (1,),
    threads: Mapping[int, int] | None = None,
) -> Graph:
    """A graph of any shape; a node without an edge that leaves it is a sink."""
    leaving = {src for src, _, _, _ in edges}
    return Graph(
        graph_id=0,
        nodes=tuple(
            Node(
                node_id=i,
                name=name,
                configure=configure,
                config_file=f"{name}.json",
                thread_number=(threads or {}).get(i, 1),
                is_source=i in sources,
                is_sink=i not in leaving,
                members=(i,),
            )
            for i, (name, configure) in nodes.items()
        ),
        edges=tuple(Edge(*edge) for edge in edges),
    )


def chain(*nodes: tuple[str, Mapping[str, Any]], graph_id: int = 0) -> Graph:
    """A graph of the given elements one after another, with ids 1, 2, …"""
    ids = range(1, len(nodes) + 1)
    return Graph(
        graph_id=graph_id,
        nodes=tuple(
            Node(
                node_id=i,
                name=name,
                configure=configure,
                is_source=i == 1,
                is_sink=i == len(nodes),
                members=(i,),
            )
            for i, (name, configure) in zip(ids, nodes, strict=True)
        ),
        edges=tuple(Edge(i, 0, i + 1, 0) for i in ids[:-1]),
    )


def channel(channel_id: int = 0, **values: Any) -> Channel:
    """A channel of a file."""
    return Channel(channel_id=channel_id, **{"url": "/numbers", "source_type": "VIDEO", **values})


def make_runner(
    graphs: Sequence[Graph],
    channels: Sequence[Channel],
    *,
    more: Mapping[str, type[Element]] | None = None,
    **values: Any,
) -> Runner:
    """A runner of the small elements above, of the real ones and of ``more``."""

    def find(name: str) -> type[Element]:
        return (more or {}).get(name) or element_class(name)

    return Runner(graphs, channels, settings=Settings(file_dirs="/"), base_dir=Path(), element_class=find, **values)


def frames_in(record: list[Any]) -> list[Frame]:
    """The frames of a record, in order."""
    return [what for what in record if isinstance(what, Frame)]
