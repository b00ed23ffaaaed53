"""Who looks on sees each analysed frame once, with everything that was found in it, before a filter takes any away."""

from __future__ import annotations

from typing import Any

import pytest

from streamserver.core.arrays import Detections
from streamserver.engine.element import Element, Emit
from streamserver.engine.frame import Frame
from tests.engine.elements import chain, channel, graph_of, make_runner


class Dropping(Element):
    """A filter that lets nothing through."""

    def process(self, frame: Frame, emit: Emit) -> None:
        frame.detections = Detections.empty()


FOUND = Detections.from_arrays([(0, 0, 2, 2)], [0.5], [0])


def run(graph: Any, **values: Any) -> list[tuple[int, int]]:
    """The frames that were seen, each with the number of objects in it at that time."""
    seen: list[tuple[int, int]] = []
    runner = make_runner(
        [graph],
        [channel(**values)],
        more={"filter": Dropping},
        tap=lambda frame: seen.append((frame.frame_id, len(frame.detections))),
    )
    assert runner.run() == []
    return seen


@pytest.mark.parametrize("later", [(), (("recorder", {}),), (("filter", {}), ("recorder", {}))])
def test_frames_are_seen_before_the_first_filter(later: Any) -> None:
    finder = ("finder", {"objects": lambda frame: FOUND})
    graph = chain(("numbers", {"frames": 4}), finder, ("pass", {}), ("filter", {}), *later)
    assert run(graph) == [(n, 1) for n in range(4)]


def test_without_a_filter_they_are_seen_at_the_sink() -> None:
    graph = chain(("numbers", {"frames": 3}), ("finder", {"objects": lambda frame: FOUND}), ("recorder", {}))
    assert run(graph) == [(n, 1) for n in range(3)]


def test_a_graph_of_one_element_is_seen_too() -> None:
    assert run(chain(("numbers", {"frames": 2}))) == [(0, 0), (1, 0)]


def test_frames_that_are_only_passed_on_are_not_seen() -> None:
    graph = chain(("numbers", {"frames": 7}), ("greedy", {}))
    assert run(graph, sample_interval=3, sample_strategy="KEEP") == [(0, 0), (3, 0), (6, 0)]


def test_a_filter_on_a_side_branch_is_not_where_whole_frames_are_seen() -> None:
    nodes = {
        1: ("numbers", {"frames": 2}),
        2: ("finder", {"objects": lambda frame: FOUND}),
        3: ("recorder", {}),
        4: ("filter", {}),
    }
    assert run(graph_of(nodes, [(1, 0, 2, 0), (2, 0, 3, 0), (2, 1, 4, 0)])) == [(0, 1), (1, 1)]


def test_a_channel_that_the_sink_is_to_spare_is_seen_all_the_same() -> None:
    graph = chain(("numbers", {"frames": 2}), ("skippable", {}))
    assert run(graph, skip_element=(2,)) == [(0, 0), (1, 0)]
