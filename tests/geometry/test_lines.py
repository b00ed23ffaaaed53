from __future__ import annotations

import itertools

import numpy as np
import pytest

from streamserver.geometry.boxes import as_rows
from streamserver.geometry.lines import Segment, crossing_place, segment_touches_boxes


def test_a_segment_needs_two_ends() -> None:
    with pytest.raises(ValueError, match="two different ends"):
        Segment((3, 4), (3, 4))


def test_right_hand_of_the_way_is_the_positive_side() -> None:
    downward = Segment((100, 0), (100, 50))
    assert downward.locate((90, 20)) == (20, 10)
    assert downward.locate((110, 60)) == (60, -10)
    assert downward.normal_xy == (-1, 0)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((90, 10), (110, 30), 20),
        ((110, 30), (90, 10), 20),
        ((90, -30), (110, -10), -20),
        ((90, 10), (95, 90), None),
        ((100, 10), (90, 10), None),
        ((110, 10), (100, 10), 10),
    ],
)
def test_a_move_crosses_where_it_meets_the_line(before, after, expected) -> None:  # type: ignore[no-untyped-def]
    line = Segment((100, 0), (100, 50))
    assert crossing_place(line.locate(before), line.locate(after)) == expected


def test_touching_a_line_and_going_on_counts_once() -> None:
    line = Segment((100, 0), (100, 50))
    path = [line.locate((x, 10)) for x in (90, 100, 110)]
    assert [crossing_place(a, b) is not None for a, b in itertools.pairwise(path)] == [False, True]


BOX = [10, 10, 20, 20]


@pytest.mark.parametrize(
    ("start", "end", "touches"),
    [
        ((0, 15), (30, 15), True),
        ((12, 12), (18, 18), True),
        ((0, 0), (15, 15), True),
        ((0, 10), (30, 10), True),
        ((0, 9.99), (30, 9.99), False),
        ((20, 20), (30, 30), True),
        ((0, 31), (31, 0), True),
        ((0, 41), (41, 0), False),
        ((0, 15), (5, 15), False),
        ((20, 0), (20, 30), True),
        ((15, 15), (15, 15), True),
        ((20, 20), (20, 20), True),
        ((0, 0), (0, 0), False),
    ],
)
def test_a_segment_touches_a_box_inside_on_its_edge_and_at_its_corner(start, end, touches) -> None:  # type: ignore[no-untyped-def]
    assert segment_touches_boxes(start, end, [BOX]).tolist() == [touches]
    assert segment_touches_boxes(end, start, [BOX]).tolist() == [touches]


def test_touching_agrees_with_sampling_the_segment() -> None:
    random = np.random.default_rng(2)
    corners = random.integers(0, 40, (200, 2))
    boxes = np.hstack((corners, corners + random.integers(1, 20, (200, 2))))
    for start, end in random.integers(0, 60, (20, 2, 2)):
        points = np.linspace(start, end, 2001)[:, None]
        sampled = np.any(np.all((points >= boxes[:, :2]) & (points <= boxes[:, 2:]), axis=2), axis=0)
        found = segment_touches_boxes(start, end, boxes)
        assert np.all(found[sampled])
        grown = as_rows(boxes) + np.array([-0.1, -0.1, 0.1, 0.1])
        near = np.any(np.all((points >= grown[:, :2]) & (points <= grown[:, 2:]), axis=2), axis=0)
        assert np.all(near[found])
