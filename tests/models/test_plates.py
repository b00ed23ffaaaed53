"""Number plates and their corners, with the real weights, on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.geometry.boxes import corner_points
from streamserver.models.detector import Detector, load_detector
from streamserver.models.registry import Registry
from tests import assets

THRESHOLD, IOU = 0.5, 0.5


@pytest.fixture(scope="module")
def detector() -> Detector:
    entry = Registry.from_file().models["hyperlpr3_detect_640"]
    return load_detector(
        assets.model(entry.file),
        family=entry.family,
        device="cpu",
        normalisation=entry.preprocess,
        options=entry.options,
    )


def picture(path: Path) -> Any:
    return cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)


def plates(detector: Detector, image: Any) -> Detections:
    limits = np.full(detector.class_count, THRESHOLD, dtype=np.float32)
    return detector.look(image, min_scores=limits, iou_threshold=IOU).detections


def street() -> list[Path]:
    return sorted(assets.media("plates/street").glob("*.jpg"))


def test_every_street_picture_has_one_plate(detector: Detector) -> None:
    assert detector.class_count == 1
    counts = {path.name: len(plates(detector, picture(path))) for path in street()}
    assert len(counts) == 12
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_the_corners_go_round_from_the_plates_own_top_left_and_lie_at_its_box(detector: Detector) -> None:
    for path in street():
        found = plates(detector, picture(path))
        assert found.corners_xy is not None
        corners, box = found.corners_xy[0].astype(np.float64), found.boxes_xyxy[0]
        sides = np.roll(corners, -1, axis=0) - corners
        turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
        assert (turns > 0).all(), path.name
        assert sides[0, 0] > abs(sides[0, 1]), path.name
        width, height = box[2:] - box[:2]
        gap = np.abs(np.array([*corners.min(axis=0), *corners.max(axis=0)]) - box)
        assert (gap <= 0.2 * np.array([width, height, width, height]) + 1).all(), path.name


def test_a_tilted_plate_has_tilted_corners(detector: Detector) -> None:
    [path] = [path for path in street() if path.name == "test_img.jpg"]
    found = plates(detector, picture(path))
    assert found.corners_xy is not None
    upright = corner_points(found.boxes_xyxy)[0]
    assert np.abs(found.corners_xy[0] - upright).max() > 30


@pytest.mark.parametrize("name", ["pedestrians.jpg", "chelsea.png", "astronaut.png"])
def test_pictures_without_plates_have_none(detector: Detector, name: str) -> None:
    found = plates(detector, picture(assets.media(f"images/{name}")))
    assert len(found) == 0
    assert found.corners_xy is not None


def test_a_plate_is_found_where_it_is_moved_to(detector: Detector) -> None:
    [path] = [path for path in street() if "B6H920" in path.name]
    plate = picture(path)
    scene = np.full((600, 800, 3), 90, dtype=np.uint8)
    scene[300 : 300 + plate.shape[0], 500 : 500 + plate.shape[1]] = plate
    found = plates(detector, scene)
    assert len(found) == 1
    assert found.corners_xy is not None
    edges = [500, 300, 500 + plate.shape[1], 300 + plate.shape[0]]
    expected = corner_points(np.array([edges], dtype=np.float32))[0]
    assert np.abs(found.corners_xy[0] - expected).max() < 8
