from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import ImageBgr
from streamserver.vision.crop import (
    _similarity,
    align_face,
    are_face_points,
    clip_box,
    crop_square,
    is_quad,
    is_tall,
    quad_size_wh,
    square_around,
    warp_quad,
)


@pytest.mark.parametrize(
    ("box_xyxy", "expected"),
    [
        ((100.0, 100.0, 140.0, 120.0), (80, 70, 160, 150)),
        ((100.0, 100.0, 120.0, 160.0), (60, 80, 160, 180)),
        ((0.0, 0.0, 20.0, 20.0), (0, 0, 40, 40)),
        ((620.0, 340.0, 640.0, 360.0), (600, 320, 640, 360)),
        ((-50.0, -50.0, 700.0, 400.0), (0, 0, 640, 360)),
        ((100.0, 100.0, 100.0, 100.0), (80, 80, 120, 120)),
        ((900.0, 900.0, 910.0, 910.0), (639, 359, 640, 360)),
        ((-300.0, -300.0, -290.0, -290.0), (0, 0, 1, 1)),
        ((100.4, 100.4, 140.6, 120.6), (80, 70, 161, 151)),
    ],
)
def test_the_square_holds_the_box_and_a_margin_and_stays_inside(
    box_xyxy: tuple[float, float, float, float], expected: tuple[int, int, int, int]
) -> None:
    assert square_around(np.array(box_xyxy, np.float32), (640, 360)) == expected
    assert square_around(box_xyxy, (640, 360)) == expected


def test_a_crop_shows_the_object_in_its_middle() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:110] = 255
    crop = crop_square(image, [90, 40, 110, 60])
    assert crop.shape == (60, 60, 3)
    assert crop[20:40, 20:40].all()
    assert not crop[:20].any()


@pytest.mark.parametrize(
    ("box_xyxy", "expected"),
    [
        ((10.2, 20.7, 30.1, 40.0), (10, 20, 31, 40)),
        ((-5, -5, 5, 5), (0, 0, 5, 5)),
        ((630, 350, 700, 400), (630, 350, 640, 360)),
        ((640, 0, 700, 10), None),
        ((-10, 0, 0, 10), None),
        ((5, 5, 5, 9), None),
        ((9, 9, 5, 5), None),
        ((float("nan"), 0, 5, 5), None),
        ((0, 0, float("inf"), 5), None),
    ],
)
def test_a_box_is_clipped_to_the_picture_or_is_none(box_xyxy: Any, expected: Any) -> None:
    assert clip_box(box_xyxy, (640, 360)) == expected


def chart(width: int = 120, height: int = 90) -> ImageBgr:
    """Smooth, so that a pixel says where it is: blue is 2 x, green is 2 y."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = 2 * np.arange(width), 2 * np.arange(height)[:, None]
    return image


@pytest.mark.parametrize("angle", [0, 17, 90, 200])
def test_a_turned_rectangle_comes_out_upright(angle: float) -> None:
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, sin], [-sin, cos]])
    corners = (np.array([[-20, -5], [20, -5], [20, 5], [-20, 5]]) @ turn + (60, 45)).astype(np.float32)
    straight = warp_quad(chart(), corners).astype(float)
    assert straight.shape == (10, 40, 3)
    for row, column, at in ((0, 0, corners[0]), (9, 39, corners[2] - (corners[2] - corners[0]) * (1 / 41))):
        assert np.abs(straight[row, column, :2] / 2 - at).max() < 1.6
    np.testing.assert_allclose(straight[5, 20, :2] / 2, (60, 45), atol=0.6)


def test_a_trapezium_keeps_its_corners_in_the_corners() -> None:
    corners = np.array([[20, 20], [100, 30], [95, 60], [25, 70]], np.float32)
    width, height = quad_size_wh(corners)
    assert (width, height) == (81, 50)
    straight = warp_quad(chart(), corners).astype(float)
    assert straight.shape == (height, width, 3)
    assert np.abs(straight[0, 0, :2] / 2 - corners[0]).max() < 1
    assert np.abs(straight[-1, 0, :2] / 2 - corners[3]).max() < 1.5


def test_what_lies_beyond_the_picture_is_filled_and_no_size_is_absurd() -> None:
    corners = np.array([[-30, 10], [20, 10], [20, 30], [-30, 30]], np.float32)
    straight = warp_quad(chart(), corners)
    assert straight.shape == (20, 50, 3)
    assert straight[5, 3, 0] == 0
    assert quad_size_wh(np.array([[0, 0], [1e6, 0], [1e6, 1], [0, 0]], np.float32)) == (4096, 1)


def test_tall_quads_are_turned_counter_clockwise_if_wanted() -> None:
    corners = np.array([[50, 10], [60, 10], [60, 40], [50, 40]], np.float32)
    upright, turned = warp_quad(chart(), corners), warp_quad(chart(), corners, turn_tall=True)
    assert upright.shape == (30, 10, 3)
    np.testing.assert_array_equal(turned, np.rot90(upright))
    wide = np.array([[50, 10], [80, 10], [80, 20], [50, 20]], np.float32)
    np.testing.assert_array_equal(warp_quad(chart(), wide, turn_tall=True), warp_quad(chart(), wide))
    assert (is_tall((20, 30)), is_tall((20, 29))) == (True, False)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([[0, 0], [5, 0], [5, 5], [0, 5]], True),
        ([[0, 0], [0, 5], [5, 5], [5, 0]], True),
        ([[3, 3]] * 4, False),
        ([[0, 0], [9, 0], [5, 0], [2, 0]], False),
        ([[0, 0], [np.inf, 0], [5, 5], [0, 5]], False),
    ],
)
def test_only_what_holds_something_is_a_quad(corners: Any, expected: bool) -> None:
    assert is_quad(np.array(corners, np.float32)) is expected


TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@pytest.mark.parametrize(("scale", "angle"), [(1.0, 0), (0.5, 30), (2.0, -75), (0.8, 180)])
def test_a_face_is_set_upright_whatever_its_size_and_turn(scale: float, angle: float) -> None:
    """The same points in a picture that was made from an upright face by the inverse of what is to be found."""
    factor = scale * np.exp(1j * np.radians(angle))
    points = (TEMPLATE @ (1, 1j) - (56 + 72j)) * factor + (200 + 150j)
    points_xy = np.stack([points.real, points.imag], axis=1).astype(np.float32)
    y, x = np.mgrid[:300, :400]
    away = (x + 1j * y - (200 + 150j)) / factor + (56 + 72j)
    image = np.clip(np.stack([2 * away.real, 2 * away.imag, 0 * x], axis=2), 0, 255).round().astype(np.uint8)
    aligned = align_face(image, points_xy).astype(float)
    assert aligned.shape == (112, 112, 3)
    for px, py in TEMPLATE.round().astype(int):
        assert np.abs(aligned[py, px, :2] / 2 - (px, py)).max() < 1.5


def test_points_that_fit_no_face_exactly_are_met_best_by_least_squares() -> None:
    """An independent solution: the four unknowns of a turn, scale and shift from ten equations."""
    random = np.random.default_rng(3)
    points = TEMPLATE * 1.7 + random.normal(0, 6, (5, 2)) + (30, 60)
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, dx, dy = np.linalg.lstsq(np.array(rows), TEMPLATE.ravel(), rcond=None)[0]
    np.testing.assert_allclose(_similarity(points, TEMPLATE), [[a, -b, dx], [b, a, dy]], atol=1e-9)


def test_points_in_one_place_are_no_face() -> None:
    assert are_face_points(TEMPLATE.astype(np.float32))
    assert not are_face_points(np.full((5, 2), 7, np.float32))
    assert not are_face_points(np.full((5, 2), np.nan, np.float32))
    assert not are_face_points(TEMPLATE[:4].astype(np.float32))
