"""FastPose: where points are read from heat maps, what is cut out, which poses are one, and files of every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.errors import ModelError
from streamserver.models._pose_nms import merge_poses
from streamserver.models.fastpose import (
    FastPose,
    Reading,
    cut_out,
    person_windows,
    read_arg_max,
    read_mean_place,
    suggest,
)
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import open_session
from tests import assets
from tests.models.pose_networks import answers_always, sees_colours

Map = npt.NDArray[np.float32]

RAW = Normalisation()
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.7, 0.7, 0], [0, 0.7, 0.7]], dtype=np.float32)
COLOURS = COLOURS / np.linalg.norm(COLOURS, axis=1, keepdims=True)


def reference_arg_max(plane: Map) -> tuple[float, float, float]:
    """x, y, score of one heat map, pixel by pixel."""
    height, width = plane.shape
    best_x = best_y = 0
    for y in range(height):
        for x in range(width):
            if plane[y, x] > plane[best_y, best_x]:
                best_x, best_y = x, y
    x, y = float(best_x), float(best_y)
    if 1 < best_x < width - 1 and 1 < best_y < height - 1:
        x += 0.25 * float(np.sign(plane[best_y, best_x + 1] - plane[best_y, best_x - 1]))
        y += 0.25 * float(np.sign(plane[best_y + 1, best_x] - plane[best_y - 1, best_x]))
    return x, y, float(plane[best_y, best_x])


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_highest_pixel_is_found_as_a_plain_loop_finds_it(seed: int, height: int, width: int) -> None:
    maps = np.random.default_rng(seed).normal(size=(2, 3, height, width)).astype(np.float32)
    points, scores = read_arg_max(maps)
    for person in range(2):
        for joint in range(3):
            x, y, score = reference_arg_max(maps[person, joint])
            assert points[person, joint].tolist() == [x, y]
            assert scores[person, joint] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize(("weights", "score"), [("softmax", 1), ("sigmoid", None), ("divide_sum", 1)])
def test_the_mean_place_of_a_bell_is_its_middle(weights: Reading, score: float | None) -> None:
    x, y = np.meshgrid(np.arange(48), np.arange(64))
    bell = np.exp(-((x - 20.3) ** 2 + (y - 33.8) ** 2) / 8).astype(np.float32)
    logits = {"softmax": np.log(bell + 1e-9), "sigmoid": np.log(bell + 1e-9), "divide_sum": bell}[weights]
    points, scores = read_mean_place(logits[None, None], weights)
    assert points[0, 0] == pytest.approx([20.3, 33.8], abs=0.05)
    assert scores[0, 0] == pytest.approx(1 if score else 0.5, abs=0.02)


def test_a_map_of_zeros_has_its_point_at_0_0() -> None:
    points, _ = read_mean_place(np.zeros((1, 2, 4, 4), np.float32), "divide_sum")
    assert points.tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((100, 100, 160, 180), (92.5, 90, 75, 100)),
        ((100, 100, 110, 180), (67.5, 90, 75, 100)),
        ((100, 100, 160, 120), (92.5, 60, 75, 100)),
    ],
)
def test_a_window_has_the_networks_proportions_and_a_margin(box: tuple[float, ...], window: tuple[float, ...]) -> None:
    [found] = person_windows(np.array([box], np.float32), aspect=0.75)
    assert found == pytest.approx(window)


def test_what_is_cut_out_beyond_the_picture_is_black() -> None:
    picture = np.full((40, 40, 3), 200, dtype=np.uint8)
    part = cut_out(picture, np.array([-20, -20, 40, 40], np.float32), (40, 40))
    assert (part[:20].max(), part[:, :20].max(), part[21:, 21:].min()) == (0, 0, 200)


def person(x: float, y: float, *, size: float = 60, points: int = 17) -> Map:
    """Points scattered over a square, always in the same way."""
    return (np.random.default_rng(5).random((points, 2)) * size + [x, y]).astype(np.float32)


def merge(poses: list[Map], scores: list[float], *, area: float = 0) -> tuple[Map, Map, list[bool]]:
    heights = np.repeat(np.array(scores, np.float32)[:, None], len(poses[0]), axis=1)
    points, merged, stays = merge_poses(np.stack(poses), heights, np.full(len(poses), 100, np.float32), min_area=area)
    return points, merged, stays.tolist()


def test_people_apart_keep_their_poses() -> None:
    poses = [person(0, 0), person(200, 0)]
    points, scores, stays = merge(poses, [0.9, 0.8])
    assert stays == [True, True]
    assert points == pytest.approx(np.stack(poses), abs=1e-3)
    assert scores[:, 0] == pytest.approx([0.9, 0.8])


def test_two_poses_of_one_person_become_one_weighted_by_score() -> None:
    points, scores, stays = merge([person(2, 0), person(0, 0), person(300, 0)], [0.3, 0.9, 0.8])
    assert stays == [False, True, True]
    assert points[1] == pytest.approx(person(0.5, 0), abs=1e-3)
    assert scores[1] == pytest.approx((0.9 * 0.9 + 0.3 * 0.3) / 1.2)


def test_few_common_points_are_no_reason_to_merge() -> None:
    other = person(0, 0) + 40
    other[:4] = person(0, 0)[:4]
    assert merge([person(0, 0), other], [0.9, 0.8])[2] == [True, True]
    other[:5] = person(0, 0)[:5]
    assert merge([person(0, 0), other], [0.9, 0.8])[2] == [True, False]


def test_uncertain_and_small_poses_go() -> None:
    assert merge([person(0, 0), person(200, 0)], [0.29, 0.31])[2] == [False, True]
    assert merge([person(0, 0, size=10), person(200, 0)], [0.9, 0.9], area=400)[2] == [False, True]


def test_of_a_whole_body_face_and_hands_do_not_decide() -> None:
    one, other = person(0, 0, points=136), person(100, 0, points=136)
    other[26:] = one[26:]
    assert merge([one, other], [0.9, 0.8])[2] == [True, True]


def test_a_pose_without_certainty_is_no_division_by_zero() -> None:
    points, scores, stays = merge([person(0, 0), person(0, 0)], [0, 0])
    assert (stays, np.isfinite(points).all(), scores.max()) == ([False, False], True, 0)


def dots(places: Map, size_wh: tuple[int, int] = (640, 480)) -> npt.NDArray[np.uint8]:
    """A black picture with a dot of each colour."""
    picture = np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)
    for (x, y), colour in zip(places, COLOURS, strict=True):
        cv2.circle(picture, (round(float(x)), round(float(y))), 14, (colour * 255).tolist(), -1)
    return picture


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"batch": 3},
        {"batch": "n"},
        {"outputs_last": True},
        {"size_wh": (128, 128)},
        {"step": 2},
    ],
)
def test_points_come_back_in_pixels_of_the_picture(tmp_path: Path, layout: dict[str, Any]) -> None:
    network = FastPose.load(sees_colours(tmp_path / "p.onnx", COLOURS, **layout), device="cpu", normalisation=RAW)
    places = np.array([[200, 110], [240, 200], [180, 260], [215, 150], [250, 290]], dtype=np.float32)
    boxes = np.array(
        [[160, 90, 270, 310], [150, 80, 280, 320], [400, 20, 450, 100], [600, 400, 700, 500]], dtype=np.float32
    )
    points, scores = network.look(dots(places), boxes)
    assert (points.shape, scores.shape) == ((4, 5, 2), (4, 5))
    assert np.abs(points[:2] - places).max() < 14
    assert scores[:2].min() > 0.2
    assert scores[2:].max() == 0


def test_nobody_is_no_run(tmp_path: Path) -> None:
    network = FastPose.load(sees_colours(tmp_path / "p.onnx", COLOURS), device="cpu")
    points, scores = network.look(np.zeros((10, 10, 3), np.uint8), np.zeros((0, 4), np.float32))
    assert (points.shape, scores.shape) == ((0, 5, 2), (0, 5))


def test_many_people_are_looked_at_in_several_runs(tmp_path: Path) -> None:
    network = FastPose.load(sees_colours(tmp_path / "p.onnx", COLOURS, batch="n"), device="cpu", normalisation=RAW)
    boxes = np.tile(np.array([[160, 90, 270, 310]], np.float32), (37, 1))
    points, _ = network.look(dots(np.full((5, 2), 200, np.float32)), boxes)
    assert points.shape == (37, 5, 2)
    assert (points == points[0]).all()


def test_the_network_sees_alphaposes_colours_unless_told_otherwise(tmp_path: Path) -> None:
    blue, green, red = (np.array([[1, 0, 0]]), np.array([[0, 1, 0]]), np.array([[0, 0, 1]]))
    white = np.full((100, 100, 3), 255, dtype=np.uint8)
    box = np.array([[40, 40, 60, 60]], np.float32)
    for colour, mean in ((blue, 0.406), (green, 0.457), (red, 0.480)):
        path = sees_colours(tmp_path / "p.onnx", colour.astype(np.float32), size_wh=(48, 64))
        _, scores = FastPose.load(path, device="cpu").look(white, box)
        assert scores[0, 0] * 255 == pytest.approx(1 - mean, abs=1e-4)


def test_a_network_of_bytes_sees_the_pixels_whatever_the_keys_say(tmp_path: Path) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": np.zeros((5, 16, 12))}, size_wh=(48, 64), dtype=np.uint8)
    wanted = Normalisation.from_mean_std(mean=[100] * 3, std=[50] * 3, rgb=True)
    assert FastPose.load(path, device="cpu", normalisation=wanted)._normalisation == Normalisation(rgb=True)


@pytest.mark.parametrize("reading", get_args(Reading))
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30])
def test_what_a_network_that_has_overflowed_says_does_no_harm(tmp_path: Path, reading: Reading, broken: float) -> None:
    maps = np.zeros((5, 16, 12), dtype=np.float32)
    maps[:, 8, 6], maps[1, 3, 3], maps[2] = 1, broken, broken
    path = answers_always(tmp_path / "p.onnx", {"out": maps}, size_wh=(48, 64))
    boxes = np.array([[0, 0, 60, 80], [1, 1, 61, 81]], dtype=np.float32)
    look = FastPose.load(path, device="cpu", reading=reading).look
    points, scores = look(np.zeros((100, 100, 3), np.uint8), boxes)
    assert np.isfinite(points).all()
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("shape", [(1, 17, 3), (17, 10, 10), (17, 128, 96)])
def test_another_layout_is_named_and_suggests_nothing(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": np.zeros(shape, np.float32)}, size_wh=(48, 64))
    with pytest.raises(ModelError, match=rf"'p.onnx' gives no heat maps: .* got out \[1, {', '.join(map(str, shape))}"):
        FastPose.load(path, device="cpu")
    assert suggest(open_session(path, device="cpu")) is None


@pytest.mark.parametrize(("points", "certain"), [(17, True), (26, True), (5, False)])
def test_a_file_says_how_to_use_it(tmp_path: Path, points: int, certain: bool) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": np.zeros((points, 16, 12), np.float32)}, size_wh=(48, 64))
    found = suggest(open_session(path, device="cpu"))
    assert found is not None
    assert (found.element, found.certainty > 0.5) == ("fastpose", certain)


HEAD_TOP_FIRST = (12, 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
"""The points of AI Challenger in the order of ``pose_cpm_ai_challenger14``."""


def test_real_weights_find_the_joints_of_real_people() -> None:
    network = FastPose.load(assets.model("pose_cpm_ai_challenger14.onnx"), device="cpu", normalisation=RAW)
    folder = assets.clip("../pose/test_aic.json").parent
    truth = json.loads((folder / "test_aic.json").read_text("utf-8"))
    [number] = [image["id"] for image in truth["images"] if image["file_name"].startswith("ff945ae2")]
    picture = np.asarray(cv2.imread(str(folder / "ff945ae2e729f24eea992814639d59b3bdec8bd8.jpg")), dtype=np.uint8)
    rows = [row for row in truth["annotations"] if row["image_id"] == number]
    boxes = np.array([row["bbox"] for row in rows], dtype=np.float32)
    points, _ = network.look(picture, boxes + np.pad(boxes[:, :2], ((0, 0), (2, 0))))
    joints = np.array([row["keypoints"] for row in rows]).reshape(-1, 14, 3)[:, HEAD_TOP_FIRST, :]
    off = np.linalg.norm(points - joints[:, :, :2], axis=2) / boxes[:, 2:].max(axis=1)[:, None]
    seen = joints[:, :, 2] > 0
    assert (seen.sum(), (off[seen] < 0.05).mean() > 0.9) == (42, True)
