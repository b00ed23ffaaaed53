"""Several frames in one call of an element: nobody behind it can tell, whatever waits, drops, skips and ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.errors import DeviceError
from streamserver.core.settings import Settings
from streamserver.engine.element import ElementContext, Emit
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.node import Node, Output
from streamserver.graph.model import Graph
from tests.engine.elements import Worker, channel, element_class, frames_in, graph_of, make_runner
from tests.searching import examples


class SkippableWorker(Worker):
    """A worker that channels can ask to be spared."""

    may_be_skipped = True


MORE = {"worker": SkippableWorker}


@dataclass(frozen=True)
class Plan:
    """What happens in one run; all follows from ``seed`` and a frame's numbers."""

    seed: int
    channels: int
    frames: int
    loops: int
    sample_interval: int
    strategy: str
    threads: int
    drops_per_cent: int
    spared: frozenset[int]
    batch: int

    def drops(self, frame: Frame) -> bool:
        chance = random.Random(repr((self.seed, frame.channel_id, frame.loop, frame.frame_id)))
        return chance.randrange(100) < self.drops_per_cent


PLANS = st.builds(
    Plan,
    seed=st.integers(0, 10**6),
    channels=st.integers(1, 5),
    frames=st.integers(0, 12),
    loops=st.integers(1, 3),
    sample_interval=st.integers(1, 3),
    strategy=st.sampled_from(["KEEP", "DROP"]),
    threads=st.integers(1, 3),
    drops_per_cent=st.sampled_from([0, 30, 90]),
    spared=st.frozensets(st.integers(0, 4)),
    batch=st.integers(2, 6),
)


def line(into: list[Any], worker: dict[str, Any], *, frames: int, threads: int = 1) -> Graph:
    nodes: dict[int, tuple[str, Any]] = {
        1: ("numbers", {"frames": frames}),
        2: ("worker", worker),
        3: ("greedy", {"into": into}),
    }
    return graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0)], threads={2: threads})


def outcome(plan: Plan, batch: int) -> dict[int, list[Any]]:
    """What comes out of each channel, in order, ends included."""
    into: list[Any] = []
    graph = line(into, {"batch": batch, "drops": plan.drops}, frames=plan.frames, threads=plan.threads)
    channels = [
        channel(
            i,
            url=f"/{i}",
            loop_num=plan.loops,
            sample_interval=plan.sample_interval,
            sample_strategy=plan.strategy,
            skip_element=(2,) if i in plan.spared else (),
        )
        for i in range(plan.channels)
    ]
    assert make_runner([graph], channels, more=MORE).run() == []
    came: dict[int, list[Any]] = {i: [] for i in range(plan.channels)}
    for what in into:
        if isinstance(what, Frame):
            marks = [one.label for one in what.recognitions]
            came[what.channel_id].append(
                (what.loop, what.frame_id, what.sequence, what.discontinuity, what.skipped, marks)
            )
        elif isinstance(what, tuple):
            came[what[1]].append(what)
    return came


@settings(max_examples=examples(25))
@given(plan=PLANS)
def test_what_comes_out_is_what_comes_out_one_by_one(plan: Plan) -> None:
    assert outcome(plan, plan.batch) == outcome(plan, 1)


class ByHand:
    """A worker and a recorder in threads of their own, without a source; what is put before the start waits already."""

    def __init__(self, *, batch: int) -> None:
        self.flow = Flow()
        self.batches: list[list[tuple[int, int]]] = []
        self.into: list[Any] = []
        configures: dict[str, dict[str, Any]] = {
            "worker": {"batch": batch, "batches": self.batches},
            "recorder": {"into": self.into},
        }
        self.nodes = {name: self._node(name, configure) for name, configure in configures.items()}
        self.nodes["worker"].outputs = {0: Output(self.nodes["recorder"], 0)}

    def _node(self, name: str, configure: dict[str, Any]) -> Node:
        node = Node(name, capacity=20, flow=self.flow, channel_ids=range(10))
        node.element = element_class(name)(
            ElementContext(
                element_id=1,
                name=name,
                config_file=name,
                configure=configure,
                settings=Settings(),
                base_dir=Path(),
            )
        )
        return node

    def run(self, *frames: Frame) -> None:
        for frame in frames:
            self.nodes["worker"].put(frame)
        for node in self.nodes.values():
            node.start()
        assert self.flow.finished.wait(60)
        for node in self.nodes.values():
            node.close_queues()
            node.threads[0].join()
        assert self.flow.failure is None


def frames_of(channels: int, count: int) -> list[Frame]:
    return [Frame(i, 0, number) for number in range(count) for i in range(channels)]


def test_frames_of_several_channels_that_wait_already_are_given_together() -> None:
    one = ByHand(batch=4)
    one.run(*frames_of(5, 2))
    places = [(frame.channel_id, frame.frame_id) for frame in frames_of(5, 2)]
    assert one.batches == [places[:4], places[4:8], places[8:]]
    assert [(frame.channel_id, frame.frame_id) for frame in frames_in(one.into)] == places


def test_one_frame_alone_does_not_wait_for_others() -> None:
    one = ByHand(batch=4)
    one.run(*frames_of(1, 1))
    assert (one.batches, len(frames_in(one.into))) == ([], 1)


def test_one_that_takes_no_batches_gets_one_frame_after_another() -> None:
    one = ByHand(batch=1)
    one.run(*frames_of(3, 2))
    assert (one.batches, len(frames_in(one.into))) == ([], 6)


def test_a_change_of_its_configuration_comes_between_two_batches() -> None:
    one = ByHand(batch=4)
    seen: list[int] = []
    one.nodes["worker"].between_frames(lambda: seen.append(len(one.batches)))
    one.run(*frames_of(4, 2))
    assert seen == [0]
    assert [len(batch) for batch in one.batches] == [4, 4]


class LostGpu(Worker):
    """Runs on a GPU that is lost at the third frame."""

    def process_many(self, frames: Sequence[Frame], emit: Emit) -> None:
        for frame in frames:
            self.process(frame, emit)

    def process(self, frame: Frame, emit: Emit) -> None:
        if frame.frame_id == 2:
            raise DeviceError("'m.onnx' failed on CUDAExecutionProvider: CUDA failure 719")
        emit(frame)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_gpu_that_is_lost_ends_the_engine(batch: int) -> None:
    into: list[Any] = []
    graph = line(into, {"batch": batch}, frames=50)
    with pytest.raises(DeviceError, match="CUDA failure 719"):
        make_runner([graph], [channel(i, url=f"/{i}") for i in range(3)], more={"worker": LostGpu}).run()
    assert all(frame.frame_id < 2 for frame in frames_in(into))
