"""What several graphs begin with runs once, and nobody behind it can tell."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.objects import Recognition
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.graph.model import Graph
from tests.engine.elements import chain, channel, frames_in, graph_of, make_runner
from tests.engine.test_runner import PATIENCE_S, Background, wait_for

Steps = Sequence[tuple[str, Mapping[str, Any]]]


class Network(Element):
    """Marks each frame with ``mark``, a word of small letters, and notes in ``log`` whose it was."""

    may_be_shared = True

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        if not context.configure["mark"].islower():
            raise context.error("mark", "is not small")

    def open(self) -> None:
        self._note("opened")

    def process(self, frame: Frame, emit: Emit) -> None:
        self.context.configure.get("work", lambda: None)()
        self._note(frame.channel_id)
        frame.recognitions = [*frame.recognitions, Recognition(self.context.configure["mark"])]
        emit(frame)

    def reconfigure(self, configure: Mapping[str, Any]) -> None:
        self._note(f"now {configure['mark']}")
        self.context = dataclasses.replace(self.context, configure=configure)

    def close(self) -> None:
        self._note("closed")

    def _note(self, what: object) -> None:
        self.context.configure.get("log", []).append(what)


MORE: Mapping[str, type[Element]] = {"network": Network, "tracker": Network}


def graphs_of(before: Sequence[Steps], records: Sequence[list[Any]]) -> list[Graph]:
    """Graphs number 0, 1, …, each of these steps and a recorder."""
    return [chain(*steps, ("recorder", {"into": records[i]}), graph_id=i) for i, steps in enumerate(before)]


def run(before: Sequence[Steps], **values: Any) -> list[list[Any]]:
    """Runs graphs of these steps, each with one channel, numbered from 10 on; what came out of each."""
    records: list[list[Any]] = [[] for _ in before]
    channels = [channel(10 + i, graph_id=i, **values) for i in range(len(before))]
    assert make_runner(graphs_of(before, records), channels, more=MORE).run() == []
    return records


def marks_of(record: list[Any]) -> list[list[str]]:
    return [[one.label for one in frame.recognitions] for frame in frames_in(record)]


@pytest.mark.parametrize(
    "values",
    [{}, {"sample_interval": 3}, {"sample_interval": 3, "sample_strategy": "KEEP"}, {"loop_num": 3}],
    ids=["every frame", "every third", "every third, the others passed on", "in loops"],
)
def test_who_follows_is_given_what_a_graph_of_its_own_would_have_given(values: Any) -> None:
    log: list[Any] = []
    source = ("numbers", {"frames": 8})
    network = ("network", {"mark": "a", "log": log})
    tail: Steps = [("greedy", {"into": []}) for _ in range(3)]
    alone: list[list[Any]] = []
    for i in range(2):
        record: list[Any] = []
        graph = chain(source, network, tail[2], ("greedy", {"into": record}))
        make_runner([graph], [channel(10 + i, **values)], more=MORE).run()
        alone.append(record)
    once = log.count(10)
    log.clear()
    shared: list[list[Any]] = [[], []]
    graphs = [chain(source, network, tail[i], ("greedy", {"into": shared[i]}), graph_id=i) for i in range(2)]
    make_runner(graphs, [channel(10 + i, graph_id=i, **values) for i in range(2)], more=MORE).run()
    assert log == ["opened", *[10] * once, "closed"]
    for i in range(2):
        assert [told(frame) for frame in shared[i]] == [told(frame) for frame in alone[i]]
        assert {frame.graph_id for frame in frames_in(shared[i])} == {i}
        assert ("end", 10 + i) in shared[i] and shared[i][-1] == "closed"


def told(what: Any) -> Any:
    """What an element can know of a frame, but for its graph and picture; anything else as it is."""
    if not isinstance(what, Frame):
        return what
    marks = tuple(one.label for one in what.recognitions)
    return what.channel_id, what.frame_id, what.sequence, what.loop, what.discontinuity, what.skipped, marks


SOURCE = ("numbers", {"frames": 4})
NETWORK = ("network", {"mark": "a"})


B, C = (("tracker", {"mark": mark}) for mark in "bc")


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        pytest.param([SOURCE, NETWORK], [SOURCE, NETWORK], ["network"], id="all"),
        pytest.param([SOURCE, NETWORK, B], [SOURCE, NETWORK, B], ["network", "tracker"], id="two"),
        pytest.param([SOURCE, NETWORK, B], [SOURCE, NETWORK, C], ["network"], id="until the first difference"),
        pytest.param([SOURCE, NETWORK, B], [SOURCE, NETWORK], ["network"], id="a shorter one"),
        pytest.param([SOURCE, NETWORK], [SOURCE, ("network", {"mark": "b"})], [], id="other values"),
        pytest.param([SOURCE, NETWORK], [SOURCE, ("tracker", {"mark": "a"})], [], id="another name"),
        pytest.param([SOURCE, NETWORK], [("numbers", {"frames": 4, "x": 1}), NETWORK], [], id="other sources"),
        pytest.param([SOURCE, ("pass", {}), NETWORK], [SOURCE, ("pass", {}), NETWORK], [], id="behind an own element"),
    ],
)
def test_what_is_equal_from_the_source_on_is_shared(first: Any, second: Any, shared: list[str]) -> None:
    log: dict[str, list[Any]] = {"network": [], "tracker": []}

    def noted(steps: Steps) -> Steps:
        return [(name, {**configure, "log": log[name]} if name in log else configure) for name, configure in steps]

    run([noted(first), noted(second)])
    both = [name for name, _ in first if name in log and name in dict(second)]
    assert [name for name in both if 11 not in log[name]] == shared
    assert all(log[name].count(10) == 4 for name in shared)


@pytest.mark.parametrize(
    "values",
    [{"sample_interval": 2}, {"sample_strategy": "KEEP"}, {"url": "/other"}],
    ids=["another interval", "another strategy", "another source"],
)
def test_channels_that_read_in_another_way_share_nothing(values: Any) -> None:
    log: list[Any] = []
    graphs = graphs_of([[SOURCE, ("network", {"mark": "a", "log": log})]] * 2, [[], []])
    make_runner(graphs, [channel(10), channel(11, graph_id=1, **values)], more=MORE).run()
    assert log.count(10) == 4 and log.count(11) == 4 / values.get("sample_interval", 1)


def test_graphs_of_several_channels_keep_to_themselves() -> None:
    log: list[Any] = []
    graphs = graphs_of([[SOURCE, ("network", {"mark": "a", "log": log})]] * 2, [[], []])
    make_runner(graphs, [channel(10), channel(11), channel(12, graph_id=1)], more=MORE).run()
    assert [log.count(i) for i in (10, 11, 12)] == [4, 4, 4]


def test_the_last_element_of_a_graph_and_one_where_ways_part_are_not_shared() -> None:
    log: list[Any] = []
    network = ("network", {"mark": "a", "log": log})
    ends = [dataclasses.replace(chain(SOURCE, network), graph_id=i) for i in range(2)]
    nodes = {1: SOURCE, 2: network, 3: ("pass", {}), 4: ("pass", {})}
    fork = graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 4, 0)])
    forks = [dataclasses.replace(fork, graph_id=i) for i in range(2)]
    for graphs in (ends, forks):
        log.clear()
        make_runner(graphs, [channel(10), channel(11, graph_id=1)], more=MORE).run()
        assert [log.count(i) for i in (10, 11)] == [4, 4]


def test_each_follows_the_one_with_which_it_has_most_in_common() -> None:
    logs: list[list[Any]] = [[], [], []]
    network = ("network", {"mark": "a", "log": logs[0]})
    trackers = [("tracker", {"mark": mark, "log": logs[i]}) for i, mark in ((1, "b"), (2, "c"))]
    lengths = [len(frames_in(record)) for record in run([[SOURCE, network, trackers[i]] for i in (0, 1, 0, 1)])]
    assert lengths == [4] * 4
    assert [set(log) - {"opened", "closed"} for log in logs] == [{10}, {10}, {11, 13}]


def test_what_one_graph_does_with_a_frame_another_does_not_see() -> None:
    found = Detections.from_arrays([(0, 0, 1, 1), (1, 1, 2, 2)], [0.9, 0.8], [0, 1])

    class Finder(Element):
        may_be_shared = True

        def process(self, frame: Frame, emit: Emit) -> None:
            frame.detections = found
            emit(frame)

    class Spoiler(Element):
        def process(self, frame: Frame, emit: Emit) -> None:
            frame.sub_frames.append(frame)
            frame.detections = frame.detections.select(np.array([1], dtype=np.intp))
            frame.recognitions = [Recognition("spoilt")]
            emit(frame)

    records: list[list[Any]] = [[], [], []]
    more = {"finds": Finder, "spoils": Spoiler}
    tails: Steps = [("spoils", {}), ("pass", {}), ("spoils", {})]
    graphs = graphs_of([[SOURCE, ("finds", {}), tail] for tail in tails], records)
    make_runner(graphs, [channel(10 + i, graph_id=i) for i in range(3)], more=more).run()
    sizes = [{(len(f.detections), len(f.sub_frames), len(f.recognitions)) for f in frames_in(r)} for r in records]
    assert sizes == [{(1, 1, 1)}, {(2, 0, 0)}, {(1, 1, 1)}]
    pictures = [[frame.picture for frame in frames_in(record)] for record in records]
    assert pictures[0] == pictures[1] == pictures[2]


def test_each_algorithm_is_seen_by_whoever_looks_on() -> None:
    seen: list[tuple[int, int]] = []
    graphs = graphs_of([[SOURCE, NETWORK]] * 2, [[], []])
    channels = [channel(10 + i, graph_id=i) for i in range(2)]
    make_runner(graphs, channels, more=MORE, tap=lambda frame: seen.append((frame.channel_id, frame.frame_id))).run()
    assert sorted(seen) == [(10 + i, n) for i in range(2) for n in range(4)]


@pytest.mark.parametrize("slow", [0, 1], ids=["the first", "who follows"])
def test_a_slow_graph_holds_a_file_back_and_loses_nothing(slow: int) -> None:
    gate = threading.Event()
    records: list[list[Any]] = [[], []]
    read: list[int] = []
    tails: list[tuple[str, Any]] = [("recorder", {}), ("recorder", {})]
    tails[slow][1]["work"] = lambda context: gate.wait(PATIENCE_S)
    source = ("numbers", {"frames": 50, "after": read.append})
    runner = make_runner(
        graphs_of([[source, NETWORK, tail] for tail in tails], records),
        [channel(10 + i, graph_id=i) for i in range(2)],
        more=MORE,
    )
    with Background(runner):
        wait_for(lambda: len(read) >= 5)
        time.sleep(0.05)
        assert len(read) < 20 and runner.hung(1000) == ""
        gate.set()
        wait_for(lambda: all("closed" in record for record in records))
    assert [[frame.sequence for frame in frames_in(record)] for record in records] == [list(range(50))] * 2
    assert (runner.snapshot().frames, runner.snapshot().dropped) == (50, 0)


def test_of_a_live_source_the_newest_frame_wins_for_all_of_them() -> None:
    go, busy = threading.Event(), threading.Event()
    records: list[list[Any]] = [[], []]

    def work() -> None:
        busy.set()
        assert go.wait(PATIENCE_S)

    def after(number: int) -> None:
        assert busy.wait(PATIENCE_S)
        if number == 9:
            go.set()

    steps = [("numbers", {"frames": 10, "after": after}), ("network", {"mark": "a", "work": work})]
    live = {"source_type": "RTSP", "url": "rtsp://camera"}
    runner = make_runner(
        graphs_of([steps] * 2, records), [channel(10 + i, graph_id=i, **live) for i in range(2)], more=MORE
    )
    runner.run()
    numbers = [[frame.frame_id for frame in frames_in(record)] for record in records]
    assert numbers[0] == numbers[1] and numbers[0][0] == 0 and numbers[0][-1] == 9
    snapshot = runner.snapshot()
    assert snapshot.frames == len(numbers[0]) < 10 and snapshot.frames + snapshot.dropped == 10
