from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry.polygons import (
    boxes_in_polygon,
    boxes_in_zone,
    distances_to_polygon,
    points_in_polygon,
    points_in_zone,
    shares_in_polygons,
)

SQUARE = [(10, 10), (50, 10), (50, 50), (10, 50)]
DIAMOND = [(50, 0), (100, 50), (50, 100), (0, 50)]
ARROW = [(0, 0), (100, 0), (100, 100), (50, 50), (0, 100)]
SIZE = (768, 432)


@pytest.mark.parametrize(
    ("polygon", "point", "inside"),
    [
        (SQUARE, (30, 30), True),
        (SQUARE, (10, 10), True),
        (SQUARE, (50, 50), True),
        (SQUARE, (30, 10), True),
        (SQUARE, (50, 30), True),
        (SQUARE, (5, 10), False),
        (SQUARE, (5, 50), False),
        (SQUARE, (30, 9.9), False),
        (DIAMOND, (20, 50), True),
        (DIAMOND, (50, 20), True),
        (DIAMOND, (-5, 50), False),
        (DIAMOND, (105, 50), False),
        (DIAMOND, (25, 25), True),
        (DIAMOND, (24, 24), False),
        (ARROW, (25, 50), True),
        (ARROW, (75, 50), True),
        (ARROW, (50, 50), True),
        (ARROW, (50, 51), False),
        (ARROW, (-1, 50), False),
        ([(0, 0), (10, 0), (20, 0)], (5, 0), True),
        ([(0, 0), (10, 0), (20, 0)], (5, 1), False),
        ([], (0, 0), False),
    ],
)
def test_points_are_judged_right_also_level_with_corners(polygon, point, inside) -> None:  # type: ignore[no-untyped-def]
    for turned in range(max(1, len(polygon))):
        corners = polygon[turned:] + polygon[:turned]
        assert points_in_polygon([point], corners).tolist() == [inside]
        assert points_in_polygon([point], corners[::-1]).tolist() == [inside]


def test_many_points_agree_with_angles() -> None:
    polygon = np.array([(3, 2), (90, 10), (60, 40), (95, 95), (40, 60), (5, 90), (30, 45)], dtype=float)
    points = np.random.default_rng(3).uniform(0, 100, (2000, 2))
    rays = polygon[None] - points[:, None]
    following = np.roll(rays, -1, axis=1)
    cross = rays[..., 0] * following[..., 1] - rays[..., 1] * following[..., 0]
    turns = np.sum(np.arctan2(cross, np.sum(rays * following, axis=2)), axis=1) / (2 * np.pi)
    np.testing.assert_array_equal(points_in_polygon(points, polygon), np.abs(turns) > 0.5)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([20, 20, 30, 30], True),
        ([10, 20, 30, 30], False),
        ([20, 20, 30, 50], False),
        ([0, 20, 30, 30], False),
        ([60, 60, 70, 70], False),
        ([0, 0, 100, 100], False),
    ],
)
def test_a_box_is_inside_with_all_corners_and_no_contact(box: list[int], inside: bool) -> None:
    assert boxes_in_polygon([box], SQUARE).tolist() == [inside]


def test_a_dent_between_the_corners_of_a_box_keeps_it_out() -> None:
    assert boxes_in_polygon([[30, 60, 70, 65], [30, 10, 70, 49]], ARROW).tolist() == [False, True]
    spike = [(0, 0), (48, 0), (50, 50), (52, 0), (100, 0), (100, 100), (0, 100)]
    assert boxes_in_polygon([[40, 40, 60, 60], [40, 60, 60, 70]], spike).tolist() == [False, True]


@pytest.mark.parametrize("far", [(768, 432), (767, 431), (766, 430), (800, 500)])
@pytest.mark.parametrize("near", [0, 2, -3])
def test_a_polygon_around_the_frame_holds_every_visible_box_and_foot(far: tuple[int, int], near: int) -> None:
    polygon = [(near, near), (far[0], near), far, (near, far[1])]
    touching = [[0, 0, 768, 432], [0, 0, 10, 10], [700, 400, 768, 432], [-20, 300, 50, 460]]
    assert boxes_in_zone(touching, polygon, SIZE).all()
    assert points_in_zone([(0, 0), (768, 432), (300, 470), (-5, 200)], polygon, SIZE).all()


def test_a_zone_at_one_border_is_open_only_there() -> None:
    lower_half = [(0, 200), (767, 200), (767, 431), (0, 431)]
    boxes = [[0, 250, 100, 432], [0, 150, 100, 432], [0, 200, 100, 432]]
    assert boxes_in_zone(boxes, lower_half, SIZE).tolist() == [True, False, False]
    assert points_in_zone([(50, 440), (50, 199), (900, 300)], lower_half, SIZE).tolist() == [True, False, True]


def test_a_zone_away_from_the_border_is_what_was_drawn() -> None:
    assert points_in_zone([(10, 10), (9, 10)], SQUARE, SIZE).tolist() == [True, False]
    assert boxes_in_zone([[10, 10, 20, 20]], SQUARE, SIZE).tolist() == [False]


STAR = [(50, 0), (80, 95), (5, 35), (95, 35), (20, 95)]  # crosses itself: by even and odd its middle is outside
COMB = [(0, 0), (100, 0), (100, 90), (80, 90), (80, 20), (60, 20), (60, 80), (40, 95), (40, 20), (20, 20), (0, 60)]


@pytest.mark.parametrize(
    ("polygons", "box", "share"),
    [
        ([SQUARE], (10, 10, 50, 50), 1.0),
        ([SQUARE], (0, 10, 20, 50), 0.5),
        ([SQUARE], (40, 40, 60, 60), 0.25),
        ([SQUARE], (0, 0, 100, 100), 0.16),
        ([SQUARE], (60, 60, 80, 80), 0.0),
        ([SQUARE], (20, 20, 20, 40), 0.0),
        ([DIAMOND], (0, 0, 100, 100), 0.5),
        ([DIAMOND], (0, 0, 50, 50), 0.5),
        ([ARROW], (0, 50, 100, 100), 0.5),
        ([ARROW], (25, 75, 75, 100), 0.0),
        ([SQUARE, SQUARE], (0, 10, 20, 50), 0.5),
        ([SQUARE, [(30, 10), (70, 10), (70, 50), (30, 50)]], (10, 10, 70, 50), 1.0),
        ([SQUARE, [(50, 10), (90, 10), (90, 50), (50, 50)]], (40, 20, 60, 40), 1.0),
        ([SQUARE, [(60, 10), (90, 10), (90, 50), (60, 50)]], (40, 10, 70, 50), 2 / 3),
        ([SQUARE, SQUARE[::-1]], (0, 10, 20, 50), 0.5),
        ([[*SQUARE, SQUARE[0]]], (0, 10, 20, 50), 0.5),
        ([[(10, 10), (10, 50)]], (0, 0, 20, 60), 0.0),
        ([[]], (0, 0, 20, 60), 0.0),
        ([], (0, 0, 20, 60), 0.0),
    ],
)
def test_the_share_of_a_box_in_a_union_is_exact(polygons, box, share) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(shares_in_polygons([box], polygons), [share], atol=1e-12)


@pytest.mark.parametrize("polygons", [[STAR], [COMB], [STAR, COMB, DIAMOND]], ids=["star", "comb", "all"])
def test_shares_agree_with_random_points(polygons) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(5)
    corners = np.sort(random.uniform(-20, 120, (20, 2, 2)), axis=1)
    boxes = corners.reshape(-1, 4)
    shares = shares_in_polygons(boxes, polygons)
    for box, share in zip(boxes, shares, strict=True):
        points = random.uniform(box[:2], box[2:], (4000, 2))
        hits = np.any([points_in_polygon(points, polygon) for polygon in polygons], axis=0)
        assert share == pytest.approx(hits.mean(), abs=0.04)  # five times the deviation of 4000 points


def test_no_boxes_have_no_shares() -> None:
    assert shares_in_polygons([], [SQUARE]).shape == (0,)


@pytest.mark.parametrize(
    ("polygon", "point", "distance"),
    [
        (SQUARE, (30, 30), 0.0),
        (SQUARE, (50, 50), 0.0),
        (SQUARE, (60, 30), 10.0),
        (SQUARE, (53, 54), 5.0),
        (ARROW, (50, 100), 50 / 2**0.5),
        ([(3, 4)], (0, 0), 5.0),
        ([], (0, 0), np.inf),
    ],
)
def test_the_distance_to_a_polygon_is_to_its_nearest_edge(polygon, point, distance) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_allclose(distances_to_polygon([point], polygon), [distance])
