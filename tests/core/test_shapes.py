"""Which corner lists are polygons."""

from __future__ import annotations

import pytest

from streamserver.core.shapes import PointXy, distinct_corners, polygon_fault

_SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]


@pytest.mark.parametrize(
    ("points_xy", "corners_xy"),
    [
        ([], []),
        (_SQUARE, _SQUARE),
        ([*_SQUARE, (0, 0)], _SQUARE),
        ([(0, 0), (0, 0), (10, 0), (10, 10), (10, 10), (0, 10), (0, 0), (0, 0)], _SQUARE),
        ([(5, 5), (5, 5), (5, 5)], [(5, 5)]),
    ],
)
def test_repeated_corners_collapse(points_xy: list[PointXy], corners_xy: list[PointXy]) -> None:
    assert distinct_corners(points_xy) == corners_xy


@pytest.mark.parametrize(
    ("corners_xy", "fault"),
    [
        (_SQUARE, ""),
        (_SQUARE[::-1], ""),
        ([(0, 0), (5, 0), (10, 0), (10, 10)], ""),
        ([(0, 0), (10, 0), (10, 10), (5, 1), (0, 10)], ""),
        ([(-5, -5), (1920, 0), (1920, 1080)], ""),
        ([(1, 1)], "1 different point make"),
        ([(0, 0), (5, 5)], "2 different points make"),
        ([(0, 0), (5, 5), (9, 9)], "on one line"),
        ([(0, 0), (10, 0), (5, 0)], "on one line"),
        ([(0, 0), (10, 10), (10, 0), (0, 10)], "(0, 0) to (10, 10) meets the edge (10, 0) to (0, 10)"),
        ([(0, 0), (10, 10), (0, 10), (10, 0)], "meets"),
        ([(0, 0), (10, 0), (10, 10), (5, 0), (0, 10)], "meets"),
        ([(0, 0), (10, 0), (10, 10), (10, 5), (0, 10)], "meets"),
        ([(0, 0), (4, 4), (8, 0), (8, 8), (4, 4), (0, 8)], "meets"),
    ],
)
def test_a_polygon_has_an_area_and_edges_that_do_not_meet(corners_xy: list[PointXy], fault: str) -> None:
    found = polygon_fault(corners_xy)
    assert fault in found
    assert bool(found) == bool(fault)


@pytest.mark.parametrize("turned", range(6))
def test_it_does_not_matter_where_a_ring_begins(turned: int) -> None:
    crossed = [(0, 0), (20, 0), (20, 20), (0, 20), (10, -5), (5, 30)]
    simple = [(0, 0), (20, 0), (20, 20), (10, 10), (5, 25), (0, 20)]
    assert polygon_fault(crossed[turned:] + crossed[:turned])
    assert not polygon_fault(simple[turned:] + simple[:turned])
