from __future__ import annotations

import itertools

import numpy as np
import pytest

from streamserver.geometry.boxes import FloatRows, as_rows
from streamserver.geometry.lines import Fence, Segment, line_points, segment_touches_boxes


def test_a_segment_needs_two_ends() -> None:
    with pytest.raises(ValueError, match="two different ends"):
        Segment((3, 4), (3, 4))


DOWNWARD = [(100, 0), (100, 50)]


def moved(fence: Fence, *points: tuple[float, float]) -> list[int]:
    """What a way over points crosses on balance: of the line itself, and of what its ends are drawn out to."""
    way = np.array(points, dtype=np.float64)
    crossed = fence.crossings(way[:-1], way[1:]).sum(axis=0)
    return [int(crossed[fence.is_line].sum()), int(crossed[~fence.is_line].sum())]


def test_right_hand_of_the_way_is_the_positive_side() -> None:
    fence = Fence(DOWNWARD)
    assert fence.normals_xy[fence.is_line].tolist() == [[-1, 0]]
    assert moved(fence, (110, 20), (90, 20)) == [1, 0]
    assert moved(fence, (90, 20), (110, 20)) == [-1, 0]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((90, 10), (110, 30), [-1, 0]),
        ((110, 30), (90, 10), [1, 0]),
        ((90, -30), (110, -10), [0, -1]),
        ((110, 60), (90, 55), [0, 1]),
        ((90, 10), (95, 90), [0, 0]),
        ((90, 49), (110, 49.5), [-1, 0]),
        ((90, 51), (110, 50.5), [0, -1]),
    ],
)
def test_a_move_crosses_the_line_or_what_its_end_is_drawn_out_to(before, after, expected) -> None:  # type: ignore[no-untyped-def]
    assert moved(Fence(DOWNWARD), before, after) == expected


def test_an_end_may_reach_on_as_part_of_the_line() -> None:
    fence = Fence(DOWNWARD, reaches=(False, True))
    assert moved(fence, (90, 200), (110, 200)) == [-1, 0]
    assert moved(fence, (90, -200), (110, -200)) == [0, -1]


def test_touching_a_line_and_going_on_counts_once() -> None:
    assert moved(Fence(DOWNWARD), (90, 10), (100, 10), (110, 10)) == [-1, 0]
    assert moved(Fence(DOWNWARD), (90, 10), (100, 10), (100, 20), (90, 10)) == [0, 0]


CORNER = [(0, 100), (100, 100), (100, 0)]


@pytest.mark.parametrize("step", [1, 2, 5, 10, 25])
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [((50, 50), (150, 150), 1), ((150, 150), (50, 50), -1), ((150, 50), (50, 150), 0), ((90, 110), (110, 90), 0)],
)
def test_a_way_through_a_corner_counts_once(start, end, expected, step) -> None:  # type: ignore[no-untyped-def]
    points = [tuple(point) for point in np.linspace(start, end, 100 // step + 1).tolist()]
    assert moved(Fence(CORNER), *points)[0] == expected


AROUND = [(75, 75), (101, 60), (120, 80), (120, 120), (90, 130), (60, 101), (70, 85), (110, 105)]


def test_a_way_that_turns_on_the_very_corner_counts_by_where_it_comes_from_and_goes() -> None:
    for start, end in itertools.product(AROUND, AROUND):
        was_inside, is_inside = (x < 100 and y < 100 for x, y in (start, end))
        assert moved(Fence(CORNER), start, (100, 100), end) == [was_inside - is_inside, 0]


def test_a_closed_line_has_no_ends_to_be_drawn_out() -> None:
    fence = Fence([(0, 0), (100, 0), (100, 100), (0, 100), (0, 0)])
    assert fence.is_line.tolist() == [True] * 4
    assert moved(fence, (50, -50), (50, 50)) == [1, 0]
    assert moved(fence, (50, 50), (150, 60), (150, 150)) == [-1, 0]


def test_an_end_that_points_at_the_line_is_not_drawn_out() -> None:
    hook = Fence([(0, 0), (100, 0), (100, 50), (50, 50), (50, 40)])
    assert hook.is_line.tolist() == [False, True, True, True, True]


def test_points_that_are_twice_there_are_passed_over_and_one_is_no_line() -> None:
    doubled = Fence([(100, 0), (100, 0), (100, 50), (100, 50)])
    assert doubled.is_line.tolist() == Fence(DOWNWARD).is_line.tolist()
    assert line_points([(1, 2), (1, 2), (3, 4)]).tolist() == [[1, 2], [3, 4]]
    for points in ([(5, 5), (5, 5)], [(5, 5)], []):
        with pytest.raises(ValueError, match="two different points"):
            Fence(points)


def test_distances_are_to_the_nearest_part_drawn_out_or_not() -> None:
    points = np.array([(90.0, 20), (103, 400), (100, -9), (140, 20)])
    assert Fence(DOWNWARD).distances(points).tolist() == [10, 3, 0, 40]
    assert Fence(CORNER).distances(points[:1]).tolist() == [10]


def test_boxes_are_met_by_the_line_itself_alone() -> None:
    boxes = [(90, 20, 110, 30), (90, 60, 110, 80), (101, 0, 110, 50)]
    assert Fence(DOWNWARD).touches(boxes).tolist() == [True, False, False]
    assert Fence(DOWNWARD, reaches=(False, True)).touches(boxes).tolist() == [True, True, False]


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


def test_crossings_are_the_changes_of_side_of_moves_that_meet_a_part() -> None:
    """The formula written out for each move and part by itself."""
    random = np.random.default_rng(7)

    def side(start: FloatRows, end: FloatRows, point: FloatRows) -> bool:
        way, offset = end - start, point - start
        return bool(way[0] * offset[1] - way[1] * offset[0] >= 0)

    for step_px in (20, 300):
        fence = Fence(random.integers(0, 640, (4, 2)))
        before = random.integers(0, 640, (200, 2)).astype(np.float64)
        after = before + random.integers(-step_px, step_px + 1, (200, 2))
        points, nudge = fence._points, np.array((0.00137, 0.00071))
        expected = [
            [
                (int(side(a, b, there)) - int(side(a, b, here))) * (side(here, there, a) != side(here, there, b))
                for a, b in itertools.pairwise(points)
            ]
            for here, there in zip(before + nudge, after + nudge, strict=True)
        ]
        assert np.any(expected)
        np.testing.assert_array_equal(fence.crossings(before, after), expected)
        for move in range(len(before)):
            one = slice(move, move + 1)
            np.testing.assert_array_equal(fence.crossings(before[one], after[one]), expected[one])
