from __future__ import annotations

import numpy as np
import pytest

from passflow.mosaic import MEMORY_FRAMES, Sightings, hide

BOX = np.array([[100, 100, 160, 280]], dtype=np.float32)
NOBODY = np.zeros((0, 4), dtype=np.float32)


def holds(boxes: np.ndarray, box: np.ndarray) -> bool:
    return bool(((boxes[:, :2] <= box[:2]) & (boxes[:, 2:] >= box[2:])).all(axis=1).any())


def noise(size_wh: tuple[int, int] = (400, 300)) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)


def test_a_box_becomes_few_even_cells_and_the_rest_stays() -> None:
    image = noise()
    before = image.copy()
    hidden = hide(image, BOX)
    assert np.array_equal(image, before), "the picture belongs to others"
    inside = hidden[100:280, 100:160].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 6 * 12
    outside = np.ones(image.shape[:2], bool)
    outside[100:280, 100:160] = False
    assert np.array_equal(hidden[outside], image[outside])


@pytest.mark.parametrize(
    "box",
    [
        (-50, -50, 30, 90),
        (380, 250, 900, 900),
        (-9, -9, 500, 400),
        (500, 500, 600, 600),
        (50, 50, 50, 50),
        (9, 9, 10, 12),
    ],
    ids=str,
)
def test_boxes_at_and_beyond_the_border_are_cut(box: tuple[int, ...]) -> None:
    hidden = hide(noise(), np.array([box], dtype=np.float32))
    assert hidden.shape == (300, 400, 3)


def test_where_boxes_overlap_the_coarser_mosaic_wins() -> None:
    small = np.array([[110, 110, 130, 130]], dtype=np.float32)
    image = noise()
    expected = hide(image, BOX)
    assert np.array_equal(hide(image, np.concatenate((BOX, small))), expected)
    assert np.array_equal(hide(image, np.concatenate((small, BOX))), expected)


def test_nobody_hides_nothing() -> None:
    image = noise()
    assert np.array_equal(hide(image, NOBODY), image)


def test_somebody_is_hidden_with_a_margin() -> None:
    sightings = Sightings()
    sightings.add(1, BOX)
    hidden = sightings.around(1, interval=1)
    assert holds(hidden, BOX[0] + np.array([-18, -18, 18, 18]))


def test_who_is_missed_for_some_frames_stays_hidden_and_the_place_grows() -> None:
    sightings = Sightings()
    sightings.add(1, BOX)
    for num in range(2, 8):
        sightings.add(num, NOBODY)
    first, later = sightings.around(2, interval=1), sightings.around(7, interval=1)
    assert holds(first, BOX[0])
    assert holds(later, first[0])


def test_who_is_found_late_was_there_before() -> None:
    sightings = Sightings()
    sightings.add(1, NOBODY)
    sightings.add(4, BOX)
    assert holds(sightings.around(1, interval=1), BOX[0])


def test_who_walks_on_leaves_no_trail() -> None:
    sightings = Sightings()
    for num in range(1, 20):
        sightings.add(num, BOX + np.array([8 * num, 0, 8 * num, 0], dtype=np.float32))
    hidden = sightings.around(19, interval=1)
    assert hidden[:, 0].min() > BOX[0, 0] + 8 * 19 - 30


def test_between_two_looks_both_places_are_hidden() -> None:
    sightings = Sightings()
    far = BOX + np.array([90, 0, 90, 0], dtype=np.float32)
    sightings.add(1, BOX)
    sightings.add(6, far)
    hidden = sightings.around(3, interval=5)
    assert holds(hidden, BOX[0])
    assert holds(hidden, far[0])


def test_what_is_long_past_is_forgotten() -> None:
    sightings = Sightings()
    sightings.add(1, BOX)
    for num in range(2, MEMORY_FRAMES + 3):
        sightings.add(num, NOBODY)
    assert not len(sightings.around(MEMORY_FRAMES + 2, interval=1))
