"""Which elements work in the thread of the one before them, and that frames, failures and ends go the same ways."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.settings import Settings
from streamserver.engine.element import Element, ElementContext, Emit, SplittingElement
from streamserver.engine.frame import Frame
from streamserver.engine.inline import inline_nodes
from tests.engine.elements import Numbers, Recorder, chain, channel, frames_in, graph_of, make_runner
from tests.engine.test_runner import PATIENCE_S, wait_for


class Light(Recorder):
    """A recorder that needs no thread; also notes in ``threads`` the names of those in which it worked."""

    light = True

    def process(self, frame: Frame, emit: Emit) -> None:
        self.context.configure.get("threads", set()).add(threading.current_thread().name)
        super().process(frame, emit)


class Heavy(Light):
    """The same, but one that needs a thread."""

    light = False


class LightNumbers(Numbers):
    """A source as light as the real one."""

    light = True


class Split(SplittingElement):
    """Gives out nothing."""


KINDS: dict[str, type[Element]] = {"light": Light, "heavy": Heavy, "split": Split, "source": LightNumbers}


def plan(nodes: dict[int, str], edges: list[tuple[int, int]], *, channels: int = 1) -> set[int]:
    graph = graph_of({i: (kind, {}) for i, kind in nodes.items()}, [(a, 0, b, 0) for a, b in edges])
    elements = {}
    for node in graph.nodes:
        context = ElementContext(
            element_id=node.node_id, name="x", config_file="x", configure={}, settings=Settings(), base_dir=Path()
        )
        elements[node.node_id] = KINDS[node.name](context)
    return inline_nodes(graph, elements, channels=channels)


LINE = [(1, 2), (2, 3), (3, 4), (4, 5)]


@pytest.mark.parametrize(
    ("kinds", "edges", "channels", "expected"),
    [
        (["source", "heavy", "light", "light", "heavy"], LINE, 1, {2, 3, 4}),
        (["source", "light", "heavy", "heavy", "light"], LINE, 1, {2, 3, 5}),
        (["heavy", "heavy", "light", "heavy", "light"], LINE, 1, {3, 5}),
        (["source", "heavy", "light", "light", "heavy"], LINE, 4, set()),
        (["source", "heavy", "split", "light", "heavy"], LINE, 1, set()),
        (["source", "heavy", "heavy", "light"], [(1, 2), (1, 3), (2, 4), (3, 4)], 1, {2}),
        (["source", "light", "light", "heavy"], [(1, 2), (1, 3), (3, 4)], 1, {2, 3, 4}),
    ],
    ids=["usual", "two heavy", "heavy source", "channels", "parts", "two ways in", "fan out"],
)
def test_a_thread_gets_one_heavy_element(
    kinds: list[str], edges: list[tuple[int, int]], channels: int, expected: set[int]
) -> None:
    assert plan(dict(enumerate(kinds, 1)), edges, channels=channels) == expected


def line(*configures: dict[str, Any], kinds: str = "source heavy light light heavy", **source: Any) -> Any:
    names = kinds.split()
    return chain(*zip(names, [source, *configures], strict=True))


def run_in_background(runner: Any) -> tuple[threading.Thread, list[BaseException]]:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            runner.run()
        except Exception as e:  # noqa: BLE001 - looked at by the caller
            failures.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failures


def test_frames_and_ends_come_in_order_and_elements_open_and_close_once() -> None:
    records: list[list[Any]] = [[] for _ in range(4)]
    threads: list[set[str]] = [set() for _ in range(4)]
    made = [{"into": into, "threads": names} for into, names in zip(records, threads, strict=True)]
    assert make_runner([line(*made, frames=40)], [channel(loop_num=2)], more=KINDS).run() == []
    for record in records:
        assert [frame.sequence for frame in frames_in(record)] == list(range(80))
        assert record[0] == "opened" and record[-2:] == [("end", 0), "closed"] and record.count("opened") == 1
    head, last = "graph 0 element 1 'source'", "graph 0 element 5 'heavy'"
    assert threads == [{head}, {head}, {head}, {last}]


def test_a_failure_names_the_element_and_ends_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    def break_at_third(context: ElementContext) -> None:
        if len(frames_in(record)) == 3:
            raise RuntimeError("broken")

    record: list[Any] = []
    runner = make_runner([line({}, {"into": record, "work": break_at_third}, {}, {})], [channel()], more=KINDS)
    with pytest.raises(RuntimeError, match="broken"):
        runner.run()
    assert "graph 0 element 3 'light': broken" in caplog.text
    assert len(frames_in(record)) == 3 and record[-1] == "closed"


def test_an_element_that_cannot_be_opened_ends_the_engine() -> None:
    def refuse() -> None:
        raise RuntimeError("no way in")

    record: list[Any] = []
    runner = make_runner([line({}, {"on_open": refuse, "into": record}, {}, {})], [channel()], more=KINDS)
    with pytest.raises(RuntimeError, match="no way in"):
        runner.run()
    assert record == ["opened", "closed"]


def test_an_element_is_closed_after_its_last_frame_also_when_the_engine_is_stopped() -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def wait(context: ElementContext) -> None:
        record.append("begins")
        at_work.set()
        assert go_on.wait(PATIENCE_S)
        record.append("ends")

    record: list[Any] = []
    runner = make_runner([line({}, {"into": record, "work": wait}, {}, {}, frames=5)], [channel()], more=KINDS)
    thread, failures = run_in_background(runner)
    assert at_work.wait(PATIENCE_S)
    runner.stop()
    wait_for(lambda: all(lane.queue.closed for node in runner._nodes.values() for lane in node.lanes))
    go_on.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and not failures
    told = [what for what in record if isinstance(what, str)]
    assert told == ["opened", "begins", "ends", "closed"]


def test_the_hung_watch_names_the_element_that_hangs() -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def wait(context: ElementContext) -> None:
        at_work.set()
        assert go_on.wait(PATIENCE_S)

    runner = make_runner([line({}, {"work": wait}, {}, {}, frames=1)], [channel()], more=KINDS)
    thread, failures = run_in_background(runner)
    assert at_work.wait(PATIENCE_S)
    try:
        wait_for(lambda: runner.hung(0.05))
        assert runner.hung(0.05).startswith("graph 0 element 3 'light' has worked on one frame")
    finally:
        go_on.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive() and not failures
