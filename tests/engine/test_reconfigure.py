"""Elements at work get another configuration, between two frames and all or none."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.core.settings import Settings
from streamserver.engine import reconfigure
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.engine.queues import FrameQueue
from streamserver.engine.runner import Runner
from streamserver.graph.model import Graph
from tests.engine.elements import chain, channel, make_runner

PATIENCE_S = 60.0


class Marker(Element):
    """Notes the value of ``mark`` and the thread for each frame; ``mark`` is a word of small letters."""

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        if not context.configure["mark"].islower():
            raise context.error("mark", "is not small")
        self.marks: list[tuple[str, str]] = []
        self.at_work = 0
        self.overlapped = False

    def process(self, frame: Frame, emit: Emit) -> None:
        self.at_work += 1
        self.marks.append((self.context.configure["mark"], threading.current_thread().name))
        self.at_work -= 1
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        if configure["mark"] == "breaks":
            raise ValueError("broken")
        self.overlapped = self.overlapped or self.at_work > 0
        self.context.configure.update(configure)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True, params=[False, True], ids=["own thread", "inline"])
def changeable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(reconfigure, "CHANGEABLE", {"marker": frozenset({"mark"})})
    monkeypatch.setattr(Marker, "light", request.param)


class Engine:
    """A source that waits before its frame number 1 until ``go`` is set, and a marker, at work."""

    def __init__(self, *, channels: int = 1, mark: str = "old") -> None:
        self.go = threading.Event()
        self.seen = threading.Event()
        ids = range(channels)
        self.runner = make_runner([self.graph(mark, channels)], [channel(i) for i in ids], more={"marker": Marker})
        self.thread = threading.Thread(target=self.runner.run)
        self.thread.start()
        assert self.seen.wait(PATIENCE_S)

    def graph(self, mark: str, channels: int = 1, **more: Any) -> Graph:
        def wait(number: int) -> None:
            self.seen.set()
            assert self.go.wait(PATIENCE_S)

        one = chain(("numbers", {"frames": 3, "after": wait}), ("marker", {"mark": mark, **more}))
        nodes = tuple(dataclasses.replace(node, thread_number=channels) for node in one.nodes)
        return dataclasses.replace(one, nodes=nodes)

    @property
    def marker(self) -> Marker:
        element = self.runner._nodes[0, 2].element
        assert isinstance(element, Marker)
        return element

    def finish(self) -> list[str]:
        """Lets the source go on to its end; returns the marks of the frames."""
        self.go.set()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()
        return [mark for mark, _ in self.marker.marks]


def change(runner: Runner, engine: Engine, mark: str, **more: Any) -> reconfigure.Change:
    """Asks for ``mark``; the source's own keys stay what they are."""
    source = runner._nodes[0, 1].element
    assert source is not None
    graph = engine.graph(mark, len(runner._nodes[0, 2].lanes), **more)
    nodes = (dataclasses.replace(graph.nodes[0], configure=source.context.configure), graph.nodes[1])
    return runner.reconfigure([dataclasses.replace(graph, nodes=nodes)])


def wait_done(asked: reconfigure.Change) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if asked.done:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it was never taken over")


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_before_go_by_the_old_values_and_frames_after_by_the_new_ones(channels: int) -> None:
    engine = Engine(channels=channels)
    asked = change(engine.runner, engine, "new")
    wait_done(asked)  # no frame comes meanwhile
    marks = engine.finish()
    assert asked.problem == "" and not engine.marker.overlapped
    assert set(marks[channels:]) == {"new"} and len(marks) == 3 * channels


def test_what_is_the_same_is_left_alone() -> None:
    engine = Engine()
    assert change(engine.runner, engine, "old").done
    assert set(engine.finish()) == {"old"}


@pytest.mark.parametrize(
    ("mark", "more", "problem"),
    [
        ("LOUD", {}, "element 2 'marker': mark: is not small"),
        ("new", {"size": 3}, "element 2 'marker': size: cannot be changed while the task runs; restart the task"),
    ],
    ids=["a value that cannot be used", "a key that is fixed"],
)
def test_what_cannot_be_used_is_told_and_changes_nothing(mark: str, more: dict[str, Any], problem: str) -> None:
    engine = Engine()
    with pytest.raises(GraphError) as caught:
        change(engine.runner, engine, mark, **more)
    assert problem in str(caught.value)
    assert set(engine.finish()) == {"old"}


def test_an_element_that_breaks_while_it_takes_over_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    with caplog.at_level(logging.ERROR):
        asked = change(engine.runner, engine, "breaks")
        wait_done(asked)
    assert "ValueError('broken')" in asked.problem
    assert "keeps its configuration" in caplog.text
    assert engine.finish() == ["old"] * 3


def test_other_graphs_are_refused() -> None:
    engine = Engine()
    with pytest.raises(GraphError, match="other elements than those that run"):
        engine.runner.reconfigure([chain(("numbers", {}))])
    engine.finish()


def test_an_element_that_offers_nothing_says_so() -> None:
    context = ElementContext(
        element_id=2, name="pass", config_file="p.json", configure={}, settings=Settings(), base_dir=Path()
    )
    with pytest.raises(GraphError, match="element 2 'pass': configure: cannot be changed while the task runs"):
        Element(context).reconfigure({"a": 1})


def test_an_engine_that_ends_does_not_wait_for_threads_that_meet() -> None:
    engine = Engine(channels=2)
    node = engine.runner._nodes[0, 2]
    blocked = threading.Event()

    def block() -> None:
        blocked.wait(PATIENCE_S)

    node.lanes[0].queue.call(block)  # the other lane waits for this one
    asked = change(engine.runner, engine, "new")
    engine.go.set()
    engine.runner.stop()
    blocked.set()
    engine.thread.join(PATIENCE_S)
    assert not engine.thread.is_alive() and not [t for t in node.threads if t.is_alive()]
    assert asked.problem == ""


def test_an_errand_is_done_before_the_frames_that_wait() -> None:
    queue = FrameQueue()
    done: list[str] = []
    queue.put(Frame(0, 0, 1))
    queue.call(lambda: done.append("errand"))
    assert queue.get() is not None and done == ["errand"]
    queue.call(lambda: done.append("late"))
    queue.close()
    assert queue.get() is None and done == ["errand"]
