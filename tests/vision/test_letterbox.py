"""Letterboxing: where the picture goes, what is padded, and the way back."""

import numpy as np
import pytest

from streamserver.vision.letterbox import Anchor, Letterbox


def picture(width: int, height: int, value: int = 200) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


@pytest.mark.parametrize(
    ("size_wh", "anchor", "covered_xyxy"),
    [
        ((768, 576), "top_left", (0, 0, 416, 312)),
        ((576, 768), "top_left", (0, 0, 312, 416)),
        ((768, 576), "center", (0, 52, 416, 364)),
        ((416, 416), "center", (0, 0, 416, 416)),
        ((100, 50), "top_left", (0, 0, 416, 208)),
        ((1279, 719), "top_left", (0, 0, 416, 233)),
        ((5000, 1), "top_left", (0, 0, 416, 1)),
    ],
)
def test_the_picture_keeps_its_proportions_and_the_rest_is_padded(
    size_wh: tuple[int, int], anchor: Anchor, covered_xyxy: tuple[int, int, int, int]
) -> None:
    canvas, _ = Letterbox((416, 416), anchor=anchor)(picture(*size_wh))
    expected = np.full((416, 416, 3), 114, dtype=np.uint8)
    left, top, right, bottom = covered_xyxy
    expected[top:bottom, left:right] = 200
    assert np.array_equal(canvas, expected)


@pytest.mark.parametrize("anchor", ["top_left", "center"])
def test_boxes_come_back_to_where_they_were(anchor: Anchor) -> None:
    image = picture(768, 432, 0)
    image[100:300, 200:500] = 255
    canvas, mapping = Letterbox((416, 416), anchor=anchor, pad=0)(image)
    rows, columns = np.nonzero(canvas[:, :, 0] > 127)
    inside = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=np.float32)
    assert mapping.boxes_to_picture(inside) == pytest.approx(np.array([[200, 100, 500, 300]]), abs=2)


def test_a_picture_of_another_size_leaves_nothing_of_the_one_before() -> None:
    letterbox = Letterbox((64, 64))
    letterbox(picture(64, 32, 255))
    canvas, _ = letterbox(picture(32, 64, 10))
    assert sorted(np.unique(canvas)) == [10, 114]


def test_no_boxes_come_back_as_no_boxes() -> None:
    _, mapping = Letterbox((64, 64))(picture(64, 32))
    assert mapping.boxes_to_picture(np.zeros((0, 4), dtype=np.float32)).shape == (0, 4)


def test_both_axes_are_mapped_back_exactly_when_a_side_is_rounded() -> None:
    _, mapping = Letterbox((416, 416), anchor="center")(np.zeros((333, 1920, 3), dtype=np.uint8))
    inner_h = int(333 * 416 / 1920)
    top = (416 - inner_h) // 2
    corners = np.array([[0, top, 416, top + inner_h]], dtype=np.float32)
    assert mapping.boxes_to_picture(corners) == pytest.approx(np.array([[0, 0, 1920, 333]]), abs=1e-3)
    assert mapping.points_to_picture(corners.reshape(-1, 2, 2)[:, 1]) == pytest.approx(
        np.array([[1920, 333]]), abs=1e-3
    )


def test_a_small_picture_stays_small_when_it_must_not_grow() -> None:
    box = Letterbox((100, 100), pad=0, anchor="center", max_scale=1.0)
    canvas, mapping = box(np.full((20, 40, 3), 9, dtype=np.uint8))
    assert int((canvas > 0).sum()) == 20 * 40 * 3
    assert mapping.offset_xy == (30, 40)
    canvas, _ = box(np.full((200, 400, 3), 9, dtype=np.uint8))
    assert int((canvas > 0).sum()) == 100 * 50 * 3
