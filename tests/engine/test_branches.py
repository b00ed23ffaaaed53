"""Graphs that branch, with the real distributor and converger: whatever happens on the way, every frame comes out once
and in order, with exactly those parts that came back.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.elements.converger import MOST_KEPT, MOST_WAITING
from streamserver.engine.frame import Frame
from streamserver.graph.model import Graph
from tests.engine.elements import channel, frames_in, graph_of, make_runner
from tests.engine.test_runner import PATIENCE_S, Background, wait_for
from tests.searching import examples

CLASSES = ("car", "person", "tree")
SIZE = (4, 2)


@pytest.fixture(scope="module")
def names_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("\n".join(CLASSES))
    return path


def routes(names_file: Path | None, *rules: tuple[int, dict[str, int]]) -> dict[str, Any]:
    """A distributor's configuration from frame intervals and the ports of classes; "" is the whole frame."""
    entries = [
        {"frame_interval": n, "routes": [{"classes": [c] if c else [], "port": p} for c, p in ports.items()]}
        for n, ports in rules
    ]
    return {"default_port": 0, "rules": entries, **({"class_names_file": str(names_file)} if names_file else {})}


def row_of(*class_ids: int) -> Detections:
    return Detections.from_arrays([[0, 0, 2, 2]] * len(class_ids), np.full(len(class_ids), 0.9), class_ids)


def diamond(into: list[Any], branch: tuple[str, Any], **values: Any) -> Graph:
    """Source, finder, distributor with the class car on one branch, converger, recorder."""
    rule = values.get("rule", {"frame_interval": 1})
    configure = {
        "default_port": 0,
        "rules": [{**rule, "routes": [{"classes": [], "port": 1}]}],
    }
    nodes: dict[int, tuple[str, Any]] = {
        1: ("numbers", values.get("source", {"frames": 30})),
        2: ("distributor", configure),
        3: branch,
        4: ("converger", {"default_port": 0}),
        5: ("greedy", {"into": into}),
    }
    edges = [(1, 0, 2, 0), (2, 0, 4, 0), (2, 1, 3, 0), (3, 0, 4, 1), (4, 0, 5, 0)]
    return graph_of(nodes, edges, threads=values.get("threads"))


@dataclass(frozen=True)
class Plan:
    """What happens in one run; everything a frame meets follows from ``seed`` and its numbers."""

    seed: int
    channels: int
    frames: int
    sample_interval: int
    strategy: str
    intervals: tuple[int, int]
    threads: tuple[int, ...]
    keeper: bool
    drops_per_cent: int
    drops_wholes: bool
    batch: int

    def dice(self, *what: int) -> random.Random:
        return random.Random(repr((self.seed, what)))

    def objects(self, frame: Frame) -> Detections:
        dice = self.dice(1, frame.channel_id, frame.frame_id)
        return row_of(*(dice.randrange(len(CLASSES)) for _ in range(dice.randrange(4))))

    def pause(self, frame: Frame) -> None:
        dice = self.dice(2, frame.channel_id, frame.frame_id, frame.sub_id)
        if dice.random() < 0.3:
            time.sleep(dice.random() * 0.001)

    def drops(self, frame: Frame) -> bool:
        return self.dice(3, frame.channel_id, frame.frame_id, frame.sub_id).randrange(100) < self.drops_per_cent

    def drops_whole(self, frame: Frame) -> bool:
        return self.drops_wholes and self.dice(4, frame.channel_id, frame.frame_id).random() < 0.2


PLANS = st.builds(
    Plan,
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 3),
    frames=st.integers(0, 24),
    sample_interval=st.integers(1, 3),
    strategy=st.sampled_from(["KEEP", "DROP"]),
    intervals=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    threads=st.tuples(*[st.integers(1, 4)] * 11),
    keeper=st.booleans(),
    drops_per_cent=st.sampled_from([0, 0, 30, 100]),
    drops_wholes=st.booleans(),
    batch=st.sampled_from([1, 2, 5]),
)


def nested(plan: Plan, names_file: Path, into: list[Any]) -> Graph:
    """Cars go to a worker, whole frames to a branch that finds, distributes and converges for itself.

    1 source, 2 finder, 3 distributor: 0 over 4 (drops some whole frames) to 10, 1 cars over 5, 2 whole frames over 6
    (finder) and 7 (distributor: 0 to 9, 1 persons over 8, which also takes cars) to 9; 10 converger, 11 recorder.
    """
    outer = routes(names_file, (plan.intervals[0], {"car": 1}), (plan.intervals[1], {"": 2}))
    inner = routes(names_file, (1, {"person": 1, "car": 2}))
    nodes: dict[int, tuple[str, Any]] = {
        1: ("numbers", {"frames": plan.frames}),
        2: ("finder", {"objects": plan.objects, "batch": plan.batch}),
        3: ("distributor", outer),
        4: ("worker", {"drops": plan.drops_whole, "says": "whole", "batch": plan.batch}),
        5: ("worker", {"pause": plan.pause, "drops": plan.drops, "batch": plan.batch}),
        6: ("finder", {"objects": plan.objects, "batch": plan.batch}),
        7: ("distributor", inner),
        8: ("keeper", {"window": 3})
        if plan.keeper
        else ("worker", {"pause": plan.pause, "drops": plan.drops, "batch": plan.batch}),
        9: ("converger", {"default_port": 0}),
        10: ("converger", {"default_port": 0}),
        11: ("greedy", {"into": into}),
    }
    edges = [
        *((1, 0, 2, 0), (2, 0, 3, 0), (3, 0, 4, 0), (4, 0, 10, 0), (3, 1, 5, 0), (5, 0, 10, 1), (3, 2, 6, 0)),
        *((6, 0, 7, 0), (7, 0, 9, 0), (7, 1, 8, 0), (7, 2, 8, 1), (8, 0, 9, 3), (9, 0, 10, 2), (10, 0, 11, 0)),
    ]
    return graph_of(nodes, edges, threads=dict(enumerate(plan.threads, 1)))


def check_parts(plan: Plan, frame: Frame) -> None:
    """Each part is there that no worker dropped, in its place, and has been through its branch."""
    found = frame.detections.class_ids.tolist()
    assert found == plan.objects(frame).class_ids.tolist()
    cars = [row for row, name in enumerate(found) if name == 0] if frame.frame_id % plan.intervals[0] == 0 else []
    expected = [row for row in cars if not plan.drops(Frame(frame.channel_id, 0, frame.frame_id, sub_id=row))]
    inside = [-1] if frame.frame_id % plan.intervals[1] == 0 else []
    assert [part.sub_id for part in frame.sub_frames] == expected + inside
    for part in frame.sub_frames:
        if part.sub_id >= 0:
            assert [one.label for one in part.recognitions] == ["seen"]
        else:
            check_inner_parts(plan, part)


def check_inner_parts(plan: Plan, whole: Frame) -> None:
    rows = [row for row, name in enumerate(whole.detections.class_ids.tolist()) if name in (0, 1)]
    if not plan.keeper:
        rows = [row for row in rows if not plan.drops(Frame(whole.channel_id, 0, whole.frame_id, sub_id=row))]
    assert [part.sub_id for part in whole.sub_frames] == rows
    label = "kept" if plan.keeper else "seen"
    assert all([one.label for one in part.recognitions] == [label] for part in whole.sub_frames)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=PLANS)
def test_every_frame_comes_out_once_and_in_order_with_its_parts(plan: Plan, names_file: Path) -> None:
    into: list[Any] = []
    channels = [
        channel(i, url=f"/{i}", sample_interval=plan.sample_interval, sample_strategy=plan.strategy)
        for i in range(plan.channels)
    ]
    assert make_runner([nested(plan, names_file, into)], channels).run() == []
    for channel_id in range(plan.channels):
        frames = [frame for frame in frames_in(into) if frame.channel_id == channel_id]
        kept = [n % plan.sample_interval == 0 for n in range(plan.frames)]
        expected = [
            n
            for n in range(plan.frames)
            if (kept[n] and not plan.drops_whole(Frame(channel_id, 0, n))) or (not kept[n] and plan.strategy == "KEEP")
        ]
        assert [frame.frame_id for frame in frames] == expected
        assert [frame.skipped for frame in frames] == [not kept[n] for n in expected]
        for frame in frames:
            if frame.skipped:
                assert not frame.sub_frames
            else:
                check_parts(plan, frame)
        assert into.count(("end", channel_id)) == 1


def test_a_slow_branch_holds_the_frames_back_and_none_piles_up() -> None:
    """Only every 50th frame has a part; while that is worked on, the others may not fill the memory."""
    into: list[Any] = []
    read: list[int] = []
    release = {"open": False}

    def pause(frame: Frame) -> None:
        wait_for(lambda: release["open"])

    graph = diamond(
        into, ("worker", {"pause": pause}), source={"frames": 120, "after": read.append}, rule={"frame_interval": 50}
    )
    with Background(make_runner([graph], [channel()])) as runner:
        wait_for(lambda: len(read) >= MOST_WAITING)
        time.sleep(0.1)
        assert len(read) <= MOST_WAITING + 12
        assert not frames_in(into)
        release["open"] = True
        wait_for(lambda: "closed" in into)
        assert runner.hung(5.0) == ""
    assert [frame.frame_id for frame in frames_in(into)] == list(range(120))


def test_a_branch_that_waits_for_later_parts_is_not_kept_waiting_for_them() -> None:
    into: list[Any] = []
    window = 3 * MOST_WAITING
    graph = diamond(into, ("keeper", {"window": window}), source={"frames": 4 * window})
    make_runner([graph], [channel()]).run()
    assert [frame.frame_id for frame in frames_in(into)] == list(range(4 * window))
    assert {part.recognitions[0].label for frame in frames_in(into) for part in frame.sub_frames} == {"kept"}


def test_parts_that_an_element_keeps_for_ever_do_not_keep_the_frames_of_a_camera() -> None:
    into: list[Any] = []
    last = 3 * MOST_KEPT
    gate = threading.Event()
    source = {"frames": last + 1, "after": lambda number: number == last and gate.wait(PATIENCE_S)}
    graph = diamond(into, ("keeper", {"window": 10**6}), source=source, rule={"frame_interval": 20})
    with Background(make_runner([graph], [channel()])):
        wait_for(lambda: len(frames_in(into)) > last - MOST_KEPT)
        assert not any(frame.sub_frames for frame in frames_in(into))
        gate.set()
        wait_for(lambda: "closed" in into)
    assert [frame.frame_id for frame in frames_in(into)] == list(range(last + 1))


def test_a_part_that_was_dropped_lets_its_frame_go_at_once() -> None:
    """Not only at the end or when another part comes: in a quiet street that may be tomorrow."""
    into: list[Any] = []
    endless = {"frames": 10**9, "after": lambda number: time.sleep(0.001)}
    graph = diamond(into, ("worker", {"drops": lambda part: True}), source=endless, rule={"time_interval": 10**6})
    with Background(make_runner([graph], [channel()])):
        wait_for(lambda: len(frames_in(into)) > 5)
        assert frames_in(into)[0].sub_frames == []


def test_a_branch_that_ends_in_a_sink_of_its_own_is_not_waited_for() -> None:
    into: list[Any] = []
    shown: list[Any] = []
    nodes = {
        1: ("numbers", {"frames": 20}),
        2: ("distributor", routes(None, (1, {"": 1}), (2, {"": 2}))),
        3: ("recorder", {"into": shown}),
        4: ("worker", {}),
        5: ("converger", {"default_port": 0}),
        6: ("recorder", {"into": into}),
    }
    edges = [(1, 0, 2, 0), (2, 0, 5, 0), (2, 1, 3, 0), (2, 2, 4, 0), (4, 0, 5, 1), (5, 0, 6, 0)]
    make_runner([graph_of(nodes, edges)], [channel()]).run()
    assert [frame.frame_id for frame in frames_in(into)] == list(range(20))
    assert [frame.frame_id for frame in frames_in(shown)] == list(range(20))
    assert [len(frame.sub_frames) for frame in frames_in(into)] == [2, 1] * 10


def test_distributors_in_a_row_may_share_a_converger_or_have_one_each() -> None:
    for shared in (True, False):
        into: list[Any] = []
        nodes: dict[int, tuple[str, Any]] = {
            1: ("numbers", {"frames": 20}),
            2: ("distributor", routes(None, (1, {"": 1}))),
            3: ("distributor", routes(None, (2, {"": 1}))),
            4: ("worker", {"says": "first", "pause": lambda part: time.sleep(0.001)}),
            5: ("worker", {"says": "second"}),
            6: ("converger", {"default_port": 0}),
            7: ("recorder", {"into": into}),
        }
        edges = [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 4, 0), (4, 0, 6, 1), (3, 1, 5, 0), (6, 0, 7, 0)]
        if shared:
            edges += [(3, 0, 6, 0), (5, 0, 6, 2)]
        else:
            nodes[8] = ("converger", {"default_port": 5})
            edges += [(3, 0, 8, 5), (5, 0, 8, 1), (8, 0, 6, 0)]
        make_runner([graph_of(nodes, edges)], [channel()]).run()
        labels = [[part.recognitions[0].label for part in frame.sub_frames] for frame in frames_in(into)]
        assert labels == [["first", "second"], ["first"]] * 10


def test_what_comes_to_a_converger_as_a_part_and_is_none_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    into: list[Any] = []
    nodes = {
        1: ("numbers", {"frames": 5}),
        2: ("distributor", routes(None, (1, {"": 1}))),
        3: ("recorder", {"into": into}),
        4: ("converger", {"default_port": 0}),
        5: ("recorder", {}),
        6: ("numbers", {"frames": 5}),
    }
    edges = [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 4, 1), (4, 0, 5, 0), (6, 0, 4, 0)]
    graph = graph_of(nodes, edges, sources=(1, 6))
    make_runner([graph], [channel(0, decode_id=1), channel(1, decode_id=6)]).run()
    assert len(frames_in(into)) == 5
    assert caplog.text.count("element 4: what arrives at port 1 are no parts of frames that come to port 0") == 1


def test_frames_that_would_come_to_a_converger_as_parts_are_refused() -> None:
    nodes = {
        1: ("numbers", {}),
        2: ("distributor", routes(None, (1, {"": 1}))),
        3: ("converger", {"default_port": 1}),
        4: ("pass", {}),
    }
    graph = graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 3, 1), (3, 0, 4, 0)])
    with pytest.raises(GraphError, match="element 3 'converger': default_port: whole frames do not come over port 1"):
        make_runner([graph], [channel()])


def test_the_first_part_on_a_way_after_a_break_says_so_and_no_other() -> None:
    parts: list[Frame] = []
    graph = diamond([], ("worker", {"into": parts}), source={"frames": 4}, rule={"frame_interval": 2})
    make_runner([graph], [channel(loop_num=2)]).run()
    seen = [(part.loop, part.frame_id, part.discontinuity) for part in parts]
    assert seen == [(0, 0, True), (0, 2, False), (1, 0, True), (1, 2, False)]


def test_stopping_ends_a_graph_whose_converger_waits(caplog: pytest.LogCaptureFixture) -> None:
    into: list[Any] = []
    working: list[Frame] = []
    release = {"open": False}

    def pause(frame: Frame) -> None:
        wait_for(lambda: release["open"])

    endless = {"frames": 10**9}
    background = Background(
        make_runner([diamond(into, ("worker", {"pause": pause, "into": working}), source=endless)], [channel()])
    )
    with background as runner:
        wait_for(lambda: working)
        runner.stop()
        wait_for(lambda: all(lane.queue.closed for node in runner._nodes.values() for lane in node.lanes))
        release["open"] = True
    assert background.left_behind == []
    assert into == ["opened", "closed"]
