"""What several graphs begin with runs once, and nobody behind it can tell."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.objects import Recognition
from streamserver.engine import reconfigure
from streamserver.engine.element import Element, ElementContext, Emit
from streamserver.engine.frame import Frame
from streamserver.engine.runner import Runner
from streamserver.graph.model import Graph
from tests.engine.elements import chain, channel, frames_in, graph_of, make_runner
from tests.engine.test_runner import Background, wait_for

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
    tail = [("greedy", {"into": []}) for _ in range(3)]
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
            frame.keep_rows(np.array([1], dtype=np.intp))
            frame.sub_frames.append(frame)
            frame.recognitions = [Recognition("spoilt")]
            emit(frame)

    records: list[list[Any]] = [[], [], []]
    more = {"finds": Finder, "spoils": Spoiler}
    tails = [("spoils", {}), ("pass", {}), ("spoils", {})]
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
    tails = [
        ("recorder", {"work": (lambda context: gate.wait(20)) if i == slow else lambda context: None}) for i in (0, 1)
    ]
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
        assert go.wait(20)

    def after(number: int) -> None:
        assert busy.wait(20)
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


# Updates


class Engine:
    """Graphs that share a network and two trackers, whose source waits before each frame for a place in ``allowed``."""

    def __init__(self, marks: Sequence[Sequence[str]], *, frames: int = 40, work: Any = lambda: None) -> None:
        self.allowed = threading.Semaphore(0)
        self.frames = frames
        self.work = work
        self.logs: list[list[Any]] = [[], [], []]
        self.records: list[list[Any]] = [[] for _ in marks]
        self.runner: Runner = make_runner(
            self.graphs(marks), [channel(10 + i, graph_id=i) for i in range(len(marks))], more=MORE
        )

    def graphs(self, marks: Sequence[Sequence[str]]) -> list[Graph]:
        source = ("numbers", {"frames": self.frames, "after": self.wait})
        names = ("network", "tracker", "tracker")
        return graphs_of(
            [
                [
                    source,
                    *(
                        (name, {"mark": mark, "log": log, "work": self.work})
                        for name, mark, log in zip(names, one, self.logs, strict=True)
                    ),
                ]
                for one in marks
            ],
            self.records,
        )

    def wait(self, number: int) -> None:
        assert self.allowed.acquire(timeout=60)

    def update(self, marks: Sequence[Sequence[str]]) -> reconfigure.Change:
        return self.runner.reconfigure(self.graphs(marks))

    def let(self, count: int) -> None:
        """Lets so many frames through, to the end of all graphs."""
        before = [len(frames_in(record)) for record in self.records]
        for _ in range(count):
            self.allowed.release()
        wait_for(lambda: all(len(frames_in(r)) >= b + count for r, b in zip(self.records, before, strict=True)))

    def finish(self) -> list[list[list[str]]]:
        for _ in range(self.frames):
            self.allowed.release()
        wait_for(lambda: all("closed" in record for record in self.records))
        for record in self.records:
            assert [frame.sequence for frame in frames_in(record)] == list(range(self.frames))
        return [marks_of(record) for record in self.records]


@pytest.fixture
def changeable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconfigure, "CHANGEABLE", {name: frozenset({"mark"}) for name in MORE})


@pytest.mark.usefixtures("changeable")
def test_what_changes_alike_for_all_is_changed_once_and_stays_shared() -> None:
    engine = Engine(["abc"] * 3)
    with Background(engine.runner):
        engine.let(5)
        change = engine.update(["abd"] * 3)
        wait_for(lambda: change.done)
        marks = engine.finish()
    assert change.problem == ""
    for one in marks:
        assert one[:5] == [list("abc")] * 5 and one[6:] == [list("abd")] * 34
    assert [log.count("now d") for log in engine.logs] == [0, 0, 1]
    assert {what for log in engine.logs for what in log} == {"opened", "closed", "now d", 10}


@pytest.mark.usefixtures("changeable")
@pytest.mark.parametrize(
    ("new", "parted"),
    [
        (["abc", "abd", "abc"], [{10}, {10}, {10, 11}]),
        (["abd", "abc", "abd"], [{10}, {10}, {10, 11}]),
        (["abc", "axc", "abc"], [{10}, {10, 11}, {10, 11}]),
        (["abc", "abz", "xbc"], [{10, 12}, {10, 12}, {10, 11, 12}]),
    ],
    ids=["who follows", "the first and another", "in the middle", "two at different places"],
)
def test_who_differs_from_now_on_goes_its_own_way(new: list[str], parted: list[set[int]]) -> None:
    engine = Engine(["abc"] * 3)
    with Background(engine.runner):
        engine.let(5)
        change = engine.update(new)
        wait_for(lambda: change.done)
        engine.let(1)  # what was read before the update
        engine.let(10)
        marks = engine.finish()
    assert change.problem == ""
    for i, one in enumerate(marks):
        assert one[:5] == [list("abc")] * 5 and one[6:] == [list(new[i])] * 34
    assert [{what for what in log if isinstance(what, int)} for log in engine.logs] == parted
    assert all(
        log.count("opened") == log.count("closed") == len(ids) for log, ids in zip(engine.logs, parted, strict=True)
    )


@pytest.mark.usefixtures("changeable")
def test_frames_on_their_way_are_neither_lost_nor_doubled_nor_overtaken() -> None:
    chance = random.Random(6)
    engine = Engine(["abc"] * 4, frames=150, work=lambda: time.sleep(chance.choice((0.0, 0.0, 0.002))))
    with Background(engine.runner):
        for count, marks in (
            (7, ["abc", "abc", "abd", "abc"]),
            (20, ["abc", "abc", "acd", "abe"]),
            (9, ["abd", "bcc", "bcd", "abe"]),
        ):
            for _ in range(count):
                engine.allowed.release()
            change = engine.update(marks)
        wait_for(lambda: change.done)
        marks_seen = engine.finish()
    assert [one[-1] for one in marks_seen] == [list("abd"), list("bcc"), list("bcd"), list("abe")]


@pytest.mark.usefixtures("changeable")
def test_a_change_that_cannot_be_used_parts_nobody() -> None:
    engine = Engine(["abc"] * 2)
    with Background(engine.runner):
        engine.let(3)
        with pytest.raises(reconfigure.GraphError, match="mark: is not small"):
            engine.update(["abc", "abX"])
        marks = engine.finish()
    assert marks == [[list("abc")] * 40] * 2
    assert {what for log in engine.logs for what in log} == {"opened", "closed", 10}


@pytest.mark.usefixtures("changeable")
def test_an_engine_ends_while_frames_wait_to_leave_at_another_place() -> None:
    gate = threading.Event()
    engine = Engine(["abc"] * 2, work=lambda: gate.wait(20) and None)
    with Background(engine.runner) as runner:
        for _ in range(20):
            engine.allowed.release()
        wait_for(lambda: "opened" in engine.logs[2])
        engine.update(["abc", "xbc"])
        runner.stop()
        gate.set()
        for _ in range(20):
            engine.allowed.release()
    nodes = runner._nodes.values()
    wait_for(lambda: not any(thread.is_alive() for node in nodes for thread in node.threads))
