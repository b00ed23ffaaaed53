"""PoseC3D: which frames are drawn, what is painted, and files of every layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.errors import ModelError
from streamserver.core.objects import Pose
from streamserver.models._pose_clips import (
    ClipShape,
    Points,
    clips,
    coco_points,
    heat_maps,
    mirrored,
    sample_frames,
)
from streamserver.models.posec3d import PoseC3D, suggest
from streamserver.runtime.session import TensorSpec, open_session
from tests.models.pose_networks import answers_always, names_strongest_joint
from tests.searching import examples

Map = npt.NDArray[np.float32]
SMALL = ClipShape(frames=4, height=16, width=20)


def frame(people: int, seed: int = 0, *, size: float = 60) -> Points:
    random = np.random.default_rng(seed)
    return (random.random((people, 17, 2)) * size).astype(np.float32), random.random((people, 17)).astype(np.float32)


def reference_heat_maps(frames: list[Points], shape: ClipShape) -> Map:
    """The maps, pixel by pixel."""
    maps = np.zeros((17, len(frames), shape.height, shape.width), dtype=np.float32)
    for number, (points, scores) in enumerate(frames):
        for person in range(len(points)):
            for joint in range(17):
                (x, y), score = points[person, joint], scores[person, joint]
                if score < 1e-4:
                    continue
                for v in range(max(int(y - 1.8), 0), min(int(y + 1.8) + 1, shape.height)):
                    for u in range(max(int(x - 1.8), 0), min(int(x + 1.8) + 1, shape.width)):
                        value = math.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / 0.6**2) * score
                        maps[joint, number, v, u] = max(maps[joint, number, v, u], value)
    return maps


@settings(max_examples=examples(8))
@given(seed=st.integers(0, 10**6), people=st.lists(st.integers(0, 2), min_size=1, max_size=4))
def test_bells_are_painted_as_a_plain_loop_paints_them(seed: int, people: list[int]) -> None:
    frames = [frame(count, seed + number, size=26) for number, count in enumerate(people)]
    frames = [(points - 3, scores) for points, scores in frames]
    assert heat_maps(frames, SMALL) == pytest.approx(reference_heat_maps(frames, SMALL), abs=1e-5)


@settings(max_examples=examples(50))
@given(available=st.integers(1, 300), wanted=st.integers(1, 60), seed=st.integers(0, 100))
def test_frames_are_drawn_in_order_and_over_the_whole_window(available: int, wanted: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for clip in range(3):
        frames = sample_frames(available, wanted, clip=clip, clips=3, random=random)
        assert len(frames) == wanted
        assert frames.min() >= 0
        assert frames.max() < available
        if available >= wanted:
            assert (np.diff(frames) > 0).all()
            assert frames[0] <= available - wanted if available < 2 * wanted else frames[0] < available / wanted
            assert np.diff(np.concatenate([[-1], frames, [available]])).max() <= max(
                2 * math.ceil(available / wanted), 2
            )
        else:
            assert set(np.diff(frames).tolist()) <= {1, 1 - available}


def test_a_mirror_exchanges_right_and_left() -> None:
    clip = np.random.default_rng(0).random((17, 3, 4, 5)).astype(np.float32)
    image = mirrored(clip)
    assert (image[0] == clip[0, ..., ::-1]).all()
    assert (image[1] == clip[2, ..., ::-1]).all()
    assert (image[16] == clip[15, ..., ::-1]).all()
    assert (mirrored(image) == clip).all()


def test_clips_look_at_the_square_around_everybody() -> None:
    far = [(points * 3 + [900, 400], scores + 1) for points, scores in (frame(2, n) for n in range(60))]
    [clip] = list(clips(far, (1920, 1080), ClipShape(), count=1))
    assert clip.shape == (17, 48, 64, 64)
    rows, columns = np.nonzero(clip.max(axis=(0, 1)) > 0.5)
    assert (rows.min() <= 8, rows.max() >= 55, columns.min() <= 8, columns.max() >= 55) == (True,) * 4
    spread = 64 / (180 * 1.25)
    x = (columns.max() - columns.min()) / spread
    assert x == pytest.approx(180, abs=12)


def test_somebody_very_small_is_seen_in_the_whole_picture() -> None:
    tiny = [(np.full((1, 17, 2), 540, dtype=np.float32), np.ones((1, 17), np.float32))]
    [clip] = list(clips(tiny, (1080, 1080), ClipShape(), count=1))
    assert np.unravel_index(clip[0, 0].argmax(), (64, 64)) == (32, 32)


def test_points_that_were_not_found_do_not_count_for_the_square() -> None:
    points, scores = np.full((1, 17, 2), 500, dtype=np.float32), np.ones((1, 17), np.float32)
    points[0, 1], points[0, 2], scores[0, 2] = 600, 0, 0
    [clip] = list(clips([(points, scores)], (1000, 1000), ClipShape(), count=1))
    assert clip[2].max() == 0
    assert np.unravel_index(clip[0, 0].argmax(), (64, 64)) == (7, 7)


@pytest.mark.parametrize(
    ("count", "columns", "left_wrist"), [(17, 2, 9), (26, 2, 9), (136, 3, 9), (18, 3, 7), (25, 3, 7)]
)
def test_the_points_of_coco_are_found_in_every_kind_of_pose(count: int, columns: int, left_wrist: int) -> None:
    keypoints = np.arange(count * columns, dtype=np.float32).reshape(count, columns)
    scores = np.arange(count, dtype=np.float32) / 200 if columns == 2 else None
    points, certainty = coco_points([Pose(keypoints, scores)])
    assert points.shape == (1, 17, 2)
    assert points[0, 9].tolist() == keypoints[left_wrist, :2].tolist()
    expected = keypoints[left_wrist, 2] if scores is None else scores[left_wrist]
    assert certainty[0, 9] == pytest.approx(expected)


def test_poses_of_other_points_are_refused() -> None:
    with pytest.raises(ValueError, match="the 17 points of COCO, got poses of 14 points"):
        coco_points([Pose(np.zeros((14, 2), np.float32))])
    points, scores = coco_points([])
    assert (points.shape, scores.shape) == ((0, 17, 2), (0, 17))


def window(strongest: int, frames: int = 60) -> list[Points]:
    """People all of whose points are weak but one."""
    found = [frame(2, number) for number in range(frames)]
    for _, scores in found:
        scores *= 0.2
        scores[:, strongest] = 1
    return found


LAYOUTS: dict[str, dict[str, Any]] = {
    "free": {},
    "one clip": {"clips": 1},
    "twenty clips": {"clips": 20},
    "twenty clips, averaged": {"clips": 20, "averaged": True},
    "free, averaged": {"averaged": True},
    "five clips": {"clips": 5},
    "windows of clips": {"clips": 4, "nested": True},
    "free windows": {"nested": True, "averaged": True},
    "short clips": {"frames": 8},
    "half precision": {"dtype": np.float16, "clips": 4},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_file_names_the_same_action(tmp_path: Path, layout: str) -> None:
    path = names_strongest_joint(tmp_path / "p.onnx", classes=6, **LAYOUTS[layout])
    runs = []
    network = PoseC3D.load(path, device="cpu", clip_count=4)
    assert network.class_count == 6
    shares = network.classify(window(0), (1920, 1080), after_each_run=lambda: runs.append(1))
    assert shares.shape == (6,)
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    assert shares.argmax() == 0
    assert runs


def test_the_result_is_the_mean_over_clips_of_the_softmax(tmp_path: Path) -> None:
    path = names_strongest_joint(tmp_path / "p.onnx", classes=5, clips=1)
    shares = PoseC3D.load(path, device="cpu", clip_count=6).classify(window(3), (640, 480))
    rows = []
    for clip in clips(window(3), (640, 480), ClipShape(), count=3):
        for image in (clip, mirrored(clip)):
            powers = np.exp(5000 * image[:5].mean(axis=(1, 2, 3), dtype=np.float64))
            rows.append(powers / powers.sum())
    assert shares == pytest.approx(np.mean(rows, axis=0), abs=1e-4)
    assert (shares > 0.005).all()


def test_shares_are_not_put_through_softmax_again_and_classes_need_not_be_declared() -> None:
    network = PoseC3D(_Fixed([[0.7, 0.2, 0.1]]), clip_count=2)  # type: ignore[arg-type]
    assert network.class_count is None
    assert network.classify(window(0), (640, 480)) == pytest.approx([0.7, 0.2, 0.1])


@pytest.mark.parametrize("broken", [np.nan, -np.inf])
def test_what_a_network_that_has_overflowed_says_is_no_certainty(broken: float) -> None:
    some = PoseC3D(_Fixed([[1, broken, 3]]), clip_count=2)  # type: ignore[arg-type]
    assert some.classify(window(0), (640, 480)) == pytest.approx([0.119, 0, 0.881], abs=1e-3)
    nothing = PoseC3D(_Fixed([[broken] * 4]), clip_count=2)  # type: ignore[arg-type]
    assert nothing.classify(window(0), (640, 480)) == pytest.approx([0.25] * 4)


class _Fixed:
    """A session that always answers the same, and says nothing of it before."""

    name = "fixed.onnx"
    inputs = (TensorSpec("x", (None, 17, None, None, None), "tensor(float)"),)
    outputs = (TensorSpec("y", (None, None), "tensor(float)"),)

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = np.array(rows, dtype=np.float32)

    def run(self, inputs: dict[str, Map]) -> list[Map]:
        assert inputs["x"].shape == (1, 17, 48, 64, 64)
        return [self._rows]


def test_another_layout_is_named_and_suggests_nothing(tmp_path: Path) -> None:
    path = answers_always(tmp_path / "p.onnx", {"out": np.zeros((57, 8, 8), np.float32)}, size_wh=(64, 64))
    with pytest.raises(ModelError, match=r"no PoseC3D network: expected .* got picture \[1, 3, 64, 64\]"):
        PoseC3D.load(path, device="cpu")
    assert suggest(open_session(path, device="cpu")) is None


def test_a_file_says_how_to_use_it(tmp_path: Path) -> None:
    found = suggest(open_session(names_strongest_joint(tmp_path / "p.onnx", classes=7), device="cpu"))
    assert found is not None
    assert (found.element, found.configure["frames_num"]) == ("posec3d", 72)
    assert "7 classes" in found.notes[0]
