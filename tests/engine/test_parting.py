"""Graphs that share what they begin with get new configurations: alike they go on sharing, else they part."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.engine import reconfigure
from streamserver.engine.runner import Runner
from streamserver.graph.model import Graph
from tests.engine.elements import channel, frames_in, make_runner
from tests.engine.test_runner import Background, wait_for
from tests.engine.test_sharing import MORE, Network, graphs_of, marks_of


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
        with pytest.raises(GraphError, match="mark: is not small"):
            engine.update(["abc", "abX"])
        marks = engine.finish()
    assert marks == [[list("abc")] * 40] * 2
    assert {what for log in engine.logs for what in log} == {"opened", "closed", 10}


@pytest.mark.usefixtures("changeable")
def test_who_parts_when_only_the_end_is_to_come_ends_too() -> None:
    engine = Engine(["abc"] * 2, frames=5)
    with Background(engine.runner):
        for _ in range(4):
            engine.allowed.release()
        wait_for(lambda: all(len(frames_in(record)) == 5 for record in engine.records))
        engine.update(["abc", "axc"])
        assert engine.finish() == [[list("abc")] * 5] * 2
    assert [record.count(("end", 10 + i)) for i, record in enumerate(engine.records)] == [1, 1]


class Held:
    """An engine whose last shared tracker holds the first frame until ``gate`` is set; the next waits to leave."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.holds = threading.Event()
        self.engine = Engine(["abc"] * 2)
        tracker = self.engine.runner._nodes[0, 4].element
        assert isinstance(tracker, Network)
        tracker.context = dataclasses.replace(tracker.context, configure={**tracker.context.configure, "work": self})
        (self.branch,) = self.engine.runner._branches

    def __call__(self) -> None:
        self.holds.set()
        assert self.gate.wait(60)

    def part(self) -> None:
        assert self.holds.wait(60)
        self.branch.part(2)
        self.engine.allowed.release()
        wait_for(lambda: self.branch._first is not None)


def test_who_is_to_part_earlier_before_it_has_parted_does_one_after_the_other() -> None:
    held = Held()
    with Background(held.engine.runner):
        held.part()
        held.branch.part(1)
        held.engine.allowed.release()
        node = held.engine.runner._nodes[0, 3]
        wait_for(lambda: len(node.lanes[0].queue) == 1)  # it has come past the second place meanwhile
        held.gate.set()
        wait_for(lambda: all(len(frames_in(record)) == 3 for record in held.engine.records))
        assert held.engine.finish() == [[list("abc")] * 40] * 2
    assert [log.count(11) for log in held.engine.logs] == [0, 37, 39]


def test_an_engine_ends_while_a_frame_waits_to_leave_at_another_place() -> None:
    held = Held()
    with Background(held.engine.runner) as runner:
        held.part()
        runner.stop()
        waiting = runner._nodes[0, 3].threads[0]
        waiting.join(60)
        assert not waiting.is_alive()
        held.gate.set()
        held.engine.allowed.release()
