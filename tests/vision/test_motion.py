"""Motion detection on drawn scenes, where the truth is known, and on a clip of four cars."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamserver.core.arrays import FloatArray
from streamserver.geometry.boxes import iou_matrix
from streamserver.vision.motion import MotionDetector, MotionOptions
from tests import assets

SIZE_WH = (640, 360)
WARMUP = MotionOptions().warmup_frames


def textured(seed: int = 1) -> npt.NDArray[np.uint8]:
    """A background with structure at several scales."""
    random = np.random.default_rng(seed)
    total = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), dtype=np.float32)
    for cells in (6, 30, 120):
        coarse = random.uniform(0, 70, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(coarse, SIZE_WH, interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 20, 0, 255).astype(np.uint8)


def noisy(picture: npt.NDArray[np.uint8], random: np.random.Generator) -> npt.NDArray[np.uint8]:
    noise = grains()[random.integers(len(grains()))]
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@cache
def grains() -> npt.NDArray[np.float32]:
    """The noise of a dozen pictures: to draw it anew for each costs more than to look for motion."""
    random = np.random.default_rng(4)
    return 3 * random.standard_normal((12, SIZE_WH[1], SIZE_WH[0], 3), dtype=np.float32)


def box_at(step: int) -> list[tuple[int, int, int, int]]:
    """Two rectangles that appear after the warm-up: one goes right, the other down."""
    if step <= WARMUP:
        return []
    moved = (step - WARMUP) * 6
    return [(20 + moved, 100, 80 + moved, 220), (500, moved, 560, 70 + moved)]


Scene = list[tuple[npt.NDArray[np.uint8], list[Any]]]


def scene(steps: int, *, gain: Any = lambda step: 1.0) -> Iterator[tuple[npt.NDArray[np.uint8], list[Any]]]:
    """Pictures of the two rectangles before the background, each with the true boxes."""
    background, random = textured(), np.random.default_rng(2)
    for step in range(steps):
        picture = background.copy()
        for left, top, right, bottom in box_at(step):
            picture[top:bottom, left:right] = (30, 30, 220)
        lit = np.clip(picture * gain(step), 0, 255).astype(np.uint8)
        yield noisy(lit, random), box_at(step)


@pytest.fixture(scope="module")
def plain() -> Scene:
    """The scene in the same light all the time, made once: its beginning is the same however long it is."""
    return list(scene(WARMUP + 40))


def overlaps(found: FloatArray, truth: list[Any]) -> npt.NDArray[Any]:
    return iou_matrix(np.array(truth, dtype=np.float32), found).max(axis=1, initial=0)


def test_moving_rectangles_are_found_and_nothing_else(plain: Scene) -> None:
    detector = MotionDetector()
    for step, (picture, truth) in enumerate(plain[: WARMUP + 40]):
        found = detector.update(picture)
        if step <= WARMUP:
            assert len(found) == 0
        else:
            assert len(found) == 2
            assert overlaps(found, truth).min() > 0.7


def test_the_same_pictures_give_the_same_boxes(plain: Scene) -> None:
    one, other = MotionDetector(), MotionDetector()
    for picture, _ in plain[: WARMUP + 20]:
        assert np.array_equal(one.update(picture), other.update(picture))


def test_a_camera_that_slowly_changes_its_exposure_moves_nothing() -> None:
    detector = MotionDetector()
    for step, (picture, truth) in enumerate(scene(WARMUP + 40, gain=lambda step: 1 - 0.3 * min(1, step / 40))):
        found = detector.update(picture)
        if step > WARMUP:
            assert len(found) == 2
            assert overlaps(found, truth).min() > 0.6


def test_a_change_of_the_whole_scene_reports_nothing_and_is_learned() -> None:
    detector, random = MotionDetector(), np.random.default_rng(3)
    before, changed = textured(1), 255 - textured(7)
    for _ in range(WARMUP + 5):
        detector.update(noisy(before, random))
    for _ in range(WARMUP + 10):
        assert len(detector.update(noisy(changed, random))) == 0
    changed[100:220, 200:260] = (30, 30, 220)
    assert overlaps(detector.update(noisy(changed, random)), [(200, 100, 260, 220)]).min() > 0.7


def test_a_flash_costs_one_picture_only(plain: Scene) -> None:
    detector = MotionDetector()
    for step, (picture, truth) in enumerate(plain[: WARMUP + 12]):
        if step == WARMUP + 5:
            assert len(detector.update(255 - picture)) == 0
        elif step > WARMUP + 6:
            assert overlaps(detector.update(picture), truth).min() > 0.6
        else:
            detector.update(picture)


@pytest.mark.parametrize(("min_area", "count"), [(0.001, 2), (0.025, 1), (5000.0, 1), (0.9, 0)])
def test_small_things_are_left_out_by_share_or_by_pixels(min_area: float, count: int, plain: Scene) -> None:
    detector = MotionDetector(MotionOptions(min_area=min_area))
    for picture, _ in plain[: WARMUP + 8]:
        found = detector.update(picture)
    assert len(found) == count


def test_a_thing_that_stays_becomes_background() -> None:
    detector, random, picture = MotionDetector(), np.random.default_rng(3), textured()
    for _ in range(WARMUP + 5):
        detector.update(noisy(picture, random))
    picture[100:220, 200:260] = (30, 30, 220)
    counts = [len(detector.update(noisy(picture, random))) for _ in range(90)]
    assert counts[0] == 1
    assert counts[-1] == 0


def test_another_picture_size_starts_over(plain: Scene) -> None:
    detector = MotionDetector()
    for picture, _ in plain[: WARMUP + 5]:
        found = detector.update(picture)
    assert len(found) == 2
    assert len(detector.update(np.ascontiguousarray(picture[:200]))) == 0


def test_four_cars_are_four_tracks() -> None:
    """Cars follow each other by overlap; what is seen in fewer than 10 pictures is no car."""
    capture, detector = cv2.VideoCapture(str(assets.clip("car-detection.mp4"))), MotionDetector()
    tracks: list[dict[str, Any]] = []
    number = 0
    while True:
        good, picture = capture.read()
        if not good:
            break
        number += 1
        for box in detector.update(picture):
            near = [t for t in tracks if number - t["last"] <= 5 and iou_matrix(box[None], t["box"][None])[0, 0] > 0.2]
            if near:
                near[-1].update(box=box, last=number, count=near[-1]["count"] + 1)
            else:
                tracks.append({"box": box, "last": number, "count": 1})
    capture.release()
    assert number == 377
    assert sum(track["count"] >= 10 for track in tracks) == 4
