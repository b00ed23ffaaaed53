"""OpenPose: decoding against a plain reference, drawn people, and files of every layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streamserver.core.errors import ModelError
from streamserver.models._people import MAX_PEOPLE, Peaks, connect, find_peaks, find_people
from streamserver.models._skeletons import BODY_25, COCO_18, SKELETONS, Skeleton
from streamserver.models.normalisation import Normalisation
from streamserver.models.openpose import OpenPose, suggest
from streamserver.runtime.session import open_session
from tests.models.openpose_reference import TABLES, reference_people
from tests.models.pose_networks import answers_always
from tests.searching import examples

Map = npt.NDArray[np.float32]

FIGURE = np.array(
    [
        *([0.5, 0.1], [0.5, 0.22], [0.35, 0.24], [0.28, 0.4], [0.25, 0.55], [0.65, 0.24], [0.72, 0.4], [0.75, 0.55]),
        *([0.4, 0.55], [0.4, 0.75], [0.4, 0.95], [0.6, 0.55], [0.6, 0.75], [0.6, 0.95]),
        *([0.46, 0.07], [0.54, 0.07], [0.4, 0.1], [0.6, 0.1]),
    ],
    dtype=np.float32,
)
"""A person's joints in COCO_18, in shares of a box."""


def figure(joints: int, *, left: float, top: float, width: float, height: float) -> Map:
    """A person's joints (joints, 2) in a box; those of BODY_25 have middle hip, heels and toes besides."""
    old = FIGURE
    if joints == 25:
        new = np.zeros((25, 2), dtype=np.float32)
        new[:8], new[8], new[9:19] = old[:8], (old[8] + old[11]) / 2, old[8:]
        foot = np.array([[0.05, 0.04], [0.08, 0.02], [-0.03, 0.03]], dtype=np.float32)
        new[19:22], new[22:25] = new[14] + foot, new[11] - foot * [1, -1]
        old = new
    return (old * [width, height] + [left, top]).astype(np.float32)


def draw(skeleton: Skeleton, people: list[Map], size_wh: tuple[int, int], *, scale: float, sigma: float = 1.0) -> Map:
    """All maps (h, w of ``size_wh``) of people whose joints are given in pixels of a grid ``scale`` times as large."""
    pairs, places, _ = TABLES[skeleton.joints]
    maps = np.zeros((skeleton.heat_maps + skeleton.field_maps, size_wh[1], size_wh[0]), dtype=np.float32)
    x, y = np.meshgrid(np.arange(size_wh[0]), np.arange(size_wh[1]))
    for joints in people:
        cells = (joints + 0.5) / scale - 0.5
        for joint, (jx, jy) in enumerate(cells):
            if np.isfinite(jx):
                maps[joint] = np.maximum(maps[joint], np.exp(-((x - jx) ** 2 + (y - jy) ** 2) / (2 * sigma**2)))
        for limb in range(len(skeleton.limbs)):
            a, b = cells[pairs[2 * limb]], cells[pairs[2 * limb + 1]]
            length = float(np.hypot(*(b - a)))
            if not np.isfinite(length) or length < 1e-3:
                continue
            direction = (b - a) / length
            along = (x - a[0]) * direction[0] + (y - a[1]) * direction[1]
            across = np.abs((x - a[0]) * direction[1] - (y - a[1]) * direction[0])
            on = (along > -1.5) & (along < length + 1.5) & (across < 1.5)
            for axis in (0, 1):
                maps[places[2 * limb + axis]][on] = direction[axis]
    return maps


def split(skeleton: Skeleton, maps: Map) -> tuple[Map, Map]:
    return maps[: skeleton.heat_maps], maps[skeleton.heat_maps :]


def decode(skeleton: Skeleton, maps: Map, grid_wh: tuple[int, int], threshold: float = 0.05) -> list[Map]:
    heat, fields = split(skeleton, maps)
    return list(find_people(skeleton, heat, fields, grid_wh=grid_wh, peak_threshold=threshold))


def same(found: list[Map], expected: list[Map]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours[:, :2] - theirs[:, :2]).max() < 0.5
        assert np.abs(ours[:, 2] - theirs[:, 2]).max() < 1e-4


@settings(max_examples=examples(12), phases=[Phase.generate])
@given(
    seed=st.integers(0, 10**6),
    joints=st.sampled_from([18, 25]),
    size_wh=st.tuples(st.integers(4, 8), st.integers(4, 8)),
    scale=st.sampled_from([3, 4, 5.5]),
    threshold=st.sampled_from([0.05, 0.5]),
    lean=st.floats(0, 0.6),
)
def test_random_maps_give_what_a_plain_reference_finds(
    seed: int, joints: int, size_wh: tuple[int, int], scale: float, threshold: float, lean: float
) -> None:
    skeleton = COCO_18 if joints == 18 else BODY_25
    random = np.random.default_rng(seed)
    maps = random.random((skeleton.heat_maps + skeleton.field_maps, size_wh[1], size_wh[0])).astype(np.float32)
    maps[skeleton.heat_maps :] -= np.float32(0.5 - lean)
    maps[random.integers(0, joints)] = 0
    grid_wh = (round(size_wh[0] * scale), round(size_wh[1] * scale))
    same(decode(skeleton, maps, grid_wh, threshold), reference_people(maps, joints, grid_wh, threshold))


@settings(max_examples=6, phases=[Phase.generate])
@given(
    seed=st.integers(0, 10**6),
    joints=st.sampled_from([18, 25]),
    missing=st.lists(st.sampled_from([4, 7]), unique=True),
    scale=st.sampled_from([3.0, 4.0]),
)
def test_drawn_people_are_found_where_they_were_drawn(seed: int, joints: int, missing: list[int], scale: float) -> None:
    skeleton = COCO_18 if joints == 18 else BODY_25
    random = np.random.default_rng(seed)
    people = []
    for number in range(2):
        x, y, size = number * 24 + random.uniform(1, 4), random.uniform(1, 6), random.uniform(34, 40)
        person = figure(joints, left=x * scale, top=y * scale, width=20 * scale, height=size * scale)
        person[missing] = np.nan
        people.append(person)
    maps = draw(skeleton, people, (50, 48), scale=scale)
    grid_wh = (int(50 * scale), int(48 * scale))
    found = decode(skeleton, maps, grid_wh)
    same(found, reference_people(maps, joints, grid_wh, 0.05))
    assert len(found) == 2
    for person in people:
        nearest = min(found, key=lambda keypoints: float(np.abs(keypoints[1, :2] - person[1]).sum()))
        seen = np.isfinite(person[:, 0]) & (nearest[:, 2] > 0)
        assert seen.sum() >= np.isfinite(person[:, 0]).sum() - 3
        assert np.linalg.norm(nearest[seen, :2] - person[seen], axis=1).max() < 0.5 * scale
        assert (nearest[missing] == 0).all()


def test_a_peak_between_two_pixels_is_one_peak() -> None:
    heat = np.zeros((9, 9), dtype=np.float32)
    heat[4, 4] = 1
    peaks = find_peaks(heat, (72, 72), threshold=0.05)
    assert len(peaks) == 1
    assert np.abs(peaks.points_xy[0] - 35.5).max() <= 0.5


def test_the_border_has_no_peaks_and_low_ones_do_not_count() -> None:
    heat = np.zeros((16, 12), dtype=np.float32)
    heat[0, 5], heat[5, 0], heat[15, 5], heat[6, 6], heat[2, 9] = 1, 1, 1, 0.5, 0.04
    peaks = find_peaks(heat, (12, 16), threshold=0.05)
    assert peaks.points_xy.tolist() == [[6, 6]]
    assert peaks.scores.tolist() == [0.5]
    assert len(find_peaks(heat * 0.05, (12, 16), threshold=0.05)) == 0


def test_of_too_many_peaks_the_highest_stay() -> None:
    heat = np.zeros((41, 41), dtype=np.float32)
    heat[1:-1:2, 1:-1:2] = 0.2 + np.arange(400, dtype=np.float32).reshape(20, 20) / 1000
    peaks = find_peaks(heat, (41, 41), threshold=0.05)
    assert len(peaks) == MAX_PEOPLE
    assert peaks.scores.min() == pytest.approx(0.2 + (400 - MAX_PEOPLE) / 1000)


def test_a_limb_must_be_felt_along_its_whole_length() -> None:
    starts = Peaks(np.array([[2, 5]], np.float32), np.ones(1, np.float32))
    ends = Peaks(np.array([[22, 5]], np.float32), np.ones(1, np.float32))
    field = np.zeros((2, 11, 30), dtype=np.float32)
    field[0] = 0.5
    assert connect(starts, ends, field, (30, 11)) == [(0, 0, pytest.approx(0.5))]
    assert connect(ends, starts, field, (30, 11)) == []
    field[0, :, 9:11] = 0.04
    assert connect(starts, ends, field, (30, 11)) == []
    assert connect(starts, starts, field, (30, 11)) == []


def test_no_peak_belongs_to_two_limbs_and_the_best_limb_wins() -> None:
    starts = Peaks(np.array([[2, 2], [2, 8]], np.float32), np.ones(2, np.float32))
    ends = Peaks(np.array([[22, 2], [22, 8]], np.float32), np.ones(2, np.float32))
    field = np.zeros((2, 11, 30), dtype=np.float32)
    field[0], field[0, 2] = 0.5, 0.9
    links = connect(starts, ends, field, (30, 11))
    assert [(first, second) for first, second, _ in links] == [(0, 0), (1, 1)]


def test_two_joints_are_nobody() -> None:
    person = figure(18, left=20, top=20, width=120, height=300)
    person[2:] = np.nan
    assert decode(COCO_18, draw(COCO_18, [person], (40, 48), scale=8), (320, 384)) == []


PEOPLE = [figure(18, left=10, top=10, width=100, height=280), figure(18, left=160, top=20, width=110, height=290)]


@pytest.fixture(scope="module")
def coco_maps() -> Map:
    return draw(COCO_18, PEOPLE, (38, 42), scale=8)


def layouts(maps: Map) -> dict[str, dict[str, Any]]:
    """Ways in which a file can hold the same maps: what it answers, and how its input looks."""
    heat, fields = split(COCO_18, maps)
    last = maps.transpose(1, 2, 0)
    noise = np.zeros_like(heat)
    return {
        "joined": {"answers": {"out": maps}},
        "joined, channels last": {"answers": {"out": last}, "channels_last": True},
        "heat maps and fields": {"answers": {"heat": heat, "paf": fields}},
        "fields and heat maps": {"answers": {"paf": fields, "heat": heat}},
        "two stages": {"answers": {"h1": noise, "p1": fields * 0, "h2": heat, "p2": fields}},
        "half precision": {"answers": {"out": maps}, "dtype": np.float16},
        "bytes in": {"answers": {"out": maps}, "dtype": np.uint8},
        "batch of 4": {"answers": {"out": maps}, "batch": 4},
        "free batch": {"answers": {"out": maps}, "batch": "n"},
        "nothing said of the outputs": {"answers": {"out": maps}, "declare": False},
    }


@pytest.mark.parametrize("layout", list(layouts(np.zeros((57, 1, 1), np.float32))))
def test_every_layout_of_a_file_gives_the_same_people(tmp_path: Path, coco_maps: Map, layout: str) -> None:
    path = answers_always(tmp_path / "p.onnx", size_wh=(304, 336), **layouts(coco_maps)[layout])
    network = OpenPose.load(path, device="cpu")
    assert network.description == "p.onnx on CPUExecutionProvider (COCO_18)"
    picture = np.zeros((672, 1216, 3), dtype=np.uint8)
    poses = network.find(picture, peak_threshold=0.05)
    assert len(poses) == 2
    for person in PEOPLE:
        x, y = (person[1] + 0.5) * [4, 2] - 0.5
        pose = min(poses, key=lambda p: abs(float(p.keypoints[1, 0]) - x))
        assert pose.keypoints.shape == (18, 3)
        assert pose.keypoints[1, :2] == pytest.approx([x, y], abs=12)
        assert (pose.keypoints[:, 2] > 0.5).all()


def test_a_joint_that_was_not_found_is_0_0_0_in_the_picture_too(tmp_path: Path) -> None:
    person = PEOPLE[0].copy()
    person[[10, 13]] = np.nan
    maps = draw(COCO_18, [person], (38, 42), scale=8)
    network = OpenPose.load(answers_always(tmp_path / "p.onnx", {"out": maps}, size_wh=(304, 336)), device="cpu")
    [pose] = network.find(np.zeros((1000, 900, 3), dtype=np.uint8), peak_threshold=0.05)
    assert pose.keypoints[[10, 13]].tolist() == [[0, 0, 0]] * 2
    assert (pose.keypoints[[0, 1, 2]] > 0).all()


def test_body_25_is_told_by_its_maps_and_a_free_size_is_openposes_own(tmp_path: Path) -> None:
    people = [figure(25, left=30, top=20, width=200, height=320)]
    maps = draw(BODY_25, people, (82, 46), scale=8)
    path = answers_always(tmp_path / "p.onnx", {"out": maps}, size_wh=("w", "h"))
    [pose] = OpenPose.load(path, device="cpu").find(np.zeros((368, 656, 3), np.uint8), peak_threshold=0.05)
    assert np.linalg.norm(pose.keypoints[:, :2] - people[0], axis=1).max() < 4


@pytest.mark.parametrize("own", [None, Normalisation(scale=(2.0,) * 3, offset=(1.0,) * 3, rgb=True)])
def test_the_network_sees_what_caffe_models_see_unless_told_otherwise(
    tmp_path: Path, coco_maps: Map, own: Normalisation | None
) -> None:
    network = OpenPose.load(
        answers_always(tmp_path / "p.onnx", {"out": coco_maps}, size_wh=(304, 336)), device="cpu", normalisation=own
    )
    blob = network._blob(np.full((20, 10, 3), (0, 128, 255), dtype=np.uint8))
    assert blob.shape == (1, 3, 336, 304)
    expected = [-128 / 255, 0, 127 / 255] if own is None else [509, 255, -1]
    assert blob[0, :, 100, 100] == pytest.approx(expected, abs=1e-5)


def test_a_network_of_bytes_sees_the_pixels_whatever_the_keys_say(tmp_path: Path, coco_maps: Map) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": coco_maps}, size_wh=(304, 336), dtype=np.uint8)
    wanted = Normalisation.from_mean_std(mean=[100] * 3, std=[50] * 3, rgb=True)
    assert OpenPose.load(path, device="cpu", normalisation=wanted)._normalisation == Normalisation(rgb=True)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30])
def test_what_a_network_that_has_overflowed_says_does_no_harm(tmp_path: Path, coco_maps: Map, broken: float) -> None:
    maps = coco_maps.copy()
    maps[3, 5, 5], maps[4], maps[25, 20], maps[30] = broken, broken, broken, broken
    path = answers_always(tmp_path / "p.onnx", {"out": maps}, size_wh=(304, 336))
    poses = OpenPose.load(path, device="cpu").find(np.zeros((336, 304, 3), np.uint8), peak_threshold=0.05)
    assert len(poses) == 2
    assert all(np.isfinite(pose.keypoints).all() and not pose.keypoints[4].any() for pose in poses)


def test_another_layout_is_named_and_suggests_nothing(tmp_path: Path) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": np.zeros((44, 8, 8), np.float32)}, size_wh=(64, 64))
    with pytest.raises(ModelError, match=r"57 \(COCO_18: 19 heat maps .* or 78 \(BODY_25.*got out \[1, 44, 8, 8\]"):
        OpenPose.load(path, device="cpu")
    assert suggest(open_session(path, device="cpu")) is None


@pytest.mark.parametrize("skeleton", SKELETONS)
def test_a_file_says_how_to_use_it(tmp_path: Path, skeleton: Skeleton) -> None:
    maps = np.zeros((skeleton.heat_maps + skeleton.field_maps, 6, 6), np.float32)
    path = answers_always(tmp_path / "p.onnx", {"out": maps}, size_wh=(48, 48))
    found = suggest(open_session(path, device="cpu"))
    assert found is not None
    assert (found.element, found.configure["threshold_nms"]) == ("openpose", 0.05)
    assert found.layout == f"{skeleton.name}, {len(maps)} maps in one output"
