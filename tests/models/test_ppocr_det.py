"""PP-OCR detection: from a map to boxes, and the real weights of the package on real and drawn pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import FloatArray
from streamserver.core.errors import ModelError
from streamserver.core.settings import Settings
from streamserver.models import ppocr_det
from streamserver.models.detector import Reading
from streamserver.models.ppocr_det import DbOptions, PpocrDet, boxes_of_map, in_reading_order, suggest
from streamserver.models.store import ModelStore
from streamserver.runtime.session import open_session
from tests import assets
from tests.models.constant_net import constant_net
from tests.samples.plate_clip import read_picture

USUAL = DbOptions()
LIMIT = np.array([0.6], dtype=np.float32)


def load(path: Path, *, device: str = "auto", **known: Any) -> PpocrDet:
    """The detector of a file; ``known`` are fields of ``Reading``."""
    return ppocr_det.load(open_session(path, device=device), Reading(**known))


@pytest.fixture(scope="module")
def detector() -> PpocrDet:
    """Of the installed package, which is a requirement like any other."""
    return load(ModelStore(Settings(model_download=False)).find("ppocr_v4_det"), device="cpu")


def spot(center_xy: tuple[float, float], size_wh: tuple[float, float], angle: float, value: float = 0.9) -> FloatArray:
    """A map of 200 x 160 with one turned rectangle."""
    corners = cv2.boxPoints((center_xy, size_wh, angle))
    text_map: FloatArray = np.zeros((160, 200), dtype=np.float32)
    cv2.fillPoly(text_map, [np.rint(corners).astype(np.int32)], value)
    return text_map


@settings(max_examples=60)
@given(st.floats(30, 80), st.floats(8, 20), st.floats(-40, 40))
def test_a_spot_grows_by_what_offsetting_its_outline_comes_to(width: float, height: float, angle: float) -> None:
    text_map = spot((100, 80), (width, height), angle)
    corners, scores = boxes_of_map(text_map, options=USUAL, min_score=0.6)
    assert len(corners) == 1
    drawn = cv2.minAreaRect(np.argwhere(text_map > 0)[:, ::-1].astype(np.float32))[1]  # whole pixels, not as asked for
    long, short = max(drawn), min(drawn)
    margin = long * short * 1.5 / (2 * (long + short))
    sides = np.linalg.norm(np.roll(corners[0], -1, axis=0) - corners[0], axis=1)
    np.testing.assert_allclose(sides[:2], [long + 2 * margin, short + 2 * margin], atol=0.1)
    np.testing.assert_allclose(corners[0].mean(axis=0), [100, 80], atol=1.5)
    assert 0.7 < scores[0] < 0.91
    heading = corners[0][1] - corners[0][0]
    assert np.degrees(np.arctan2(heading[1], heading[0])) == pytest.approx(angle, abs=6)


@pytest.mark.parametrize(
    ("size_wh", "value", "options", "found"),
    [
        ((60, 12), 0.9, USUAL, 1),
        ((60, 12), 0.55, USUAL, 0),
        ((60, 12), 0.55, DbOptions(threshold=0.6), 0),
        ((60, 1), 0.9, USUAL, 0),
        ((60, 3.4), 0.9, DbOptions(unclip_ratio=0.0), 0),
    ],
    ids=["text", "score below the limit", "below the threshold", "too thin", "too thin even when grown"],
)
def test_what_is_no_text_is_dropped(size_wh: tuple[float, float], value: float, options: DbOptions, found: int) -> None:
    corners, scores = boxes_of_map(spot((100, 80), size_wh, 0, value), options=options, min_score=0.6)
    assert (len(corners), len(scores)) == (found, found)
    assert corners.shape == (found, 4, 2)


@given(st.floats(-44, 44), st.integers(0, 3), st.booleans(), st.sampled_from([(60, 12), (12, 60)]))
def test_corners_begin_at_the_top_left_and_go_clockwise(
    angle: float, first: int, backwards: bool, size_wh: tuple[int, int]
) -> None:
    turn = np.radians(angle)
    across, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    half_w, half_h = across * size_wh[0] / 2, down * size_wh[1] / 2
    right = np.array([-half_w - half_h, half_w - half_h, half_w + half_h, -half_w + half_h], dtype=np.float32)
    mixed = np.roll(right, first, axis=0)[:: -1 if backwards else 1]
    np.testing.assert_allclose(in_reading_order(mixed), right, atol=1e-4)


def test_lines_of_a_drawn_page_are_found_where_they_are(detector: PpocrDet) -> None:
    page = np.full((300, 500, 3), 245, dtype=np.uint8)
    cv2.putText(page, "STREAM", (40, 80), cv2.FONT_HERSHEY_DUPLEX, 1.6, (20, 20, 20), 3)
    cv2.putText(page, "server 42", (150, 230), cv2.FONT_HERSHEY_DUPLEX, 1.6, (20, 20, 20), 3)
    found = detector.look(page, min_scores=LIMIT).detections
    assert len(found) == 2 and found.corners_xy is not None
    assert found.class_ids.tolist() == [0, 0] and (np.diff(found.scores) <= 0).all() and found.scores.min() > 0.6
    tops = np.sort(found.boxes_xyxy[:, 1])
    np.testing.assert_allclose(tops, [42, 190], atol=12)
    np.testing.assert_array_equal(found.boxes_xyxy[:, :2], found.corners_xy.min(axis=1))


def test_the_texts_of_real_pictures_are_found(detector: PpocrDet) -> None:
    street = assets.media("plates/street")
    for path in sorted(street.glob("_*.jpg")):
        image = read_picture(path)
        found = detector.look(image, min_scores=LIMIT).detections
        area = np.prod(found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2], axis=1)
        assert len(found) == 1 and area[0] > 0.4 * image.shape[0] * image.shape[1], path.name
    assert len(detector.look(read_picture(street / "test_img.jpg"), min_scores=LIMIT).detections) >= 5


def test_a_picture_without_text_has_none(detector: PpocrDet) -> None:
    image = read_picture(assets.media("images/chelsea.png"))
    found = detector.look(image, min_scores=LIMIT).detections
    assert len(found) == 0 and found.corners_xy is not None


@pytest.mark.parametrize(
    ("sides", "size_wh", "expected"),
    [
        (("h", "w"), (1920, 1080), (544, 960)),
        (("h", "w"), (100, 40), (32, 96)),
        (("h", "w"), (5, 3000), (960, 32)),
        ((64, 64), (1920, 1080), (64, 64)),
    ],
)
def test_pictures_are_stretched_to_the_file_s_sides_or_to_multiples_of_32(
    tmp_path: Path, sides: tuple[int | str, int | str], size_wh: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = constant_net(tmp_path / "det.onnx", {"map": np.zeros((1, 1, 8, 8), np.float32)}, shape=(1, 3, *sides))
    made = load(path, device="cpu")
    width, height = made._input_size(*size_wh)
    assert (height, width) == expected


def test_another_network_is_refused_with_what_it_gives(tmp_path: Path) -> None:
    nothing = constant_net(tmp_path / "nothing.onnx", {"map": np.zeros((1, 1, 0, 6), np.float32)})
    with pytest.raises(ModelError, match=r"got \[1, 1, 0, 6\] float32"):
        load(nothing, device="cpu")
    path = constant_net(tmp_path / "other.onnx", {"rows": np.zeros((1, 9, 6), np.float32)})
    with pytest.raises(ModelError, match=r"expected an output \[n, 1, H, W\] of floats, got \[1, 9, 6\] float32"):
        load(path, device="cpu")
    with pytest.raises(ModelError, match=r"has the one class 0, asked for numbers \(1,\)"):
        load(path, classes=(1,))


def test_is_suggested_for_maps_of_the_picture_s_size(tmp_path: Path) -> None:
    path = ModelStore(Settings(model_download=False)).find("ppocr_v4_det")
    suggestion = suggest(open_session(path, device="cpu"))
    assert suggestion is not None and suggestion.element == "ppocr_det"
    assert suggest(open_session(assets.model("lprnet.onnx"), device="cpu")) is None
