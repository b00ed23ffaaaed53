"""The fastpose element: its keys, its errors, and a pose for each detection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.objects import Segment
from streamserver.core.picture import Picture
from streamserver.elements.fastpose import ELEMENT
from streamserver.engine.element import Element
from tests import assets
from tests.elements.poses import Out, frame, make
from tests.models.pose_networks import answers_always, sees_colours
from tests.models.test_fastpose import COLOURS, dots

KEYS: dict[str, Any] = {"model_path": "pose.onnx", "mean": [0, 0, 0], "std": [1, 1, 1]}
PLACES = np.array([[200, 110], [240, 200], [180, 260], [215, 150], [250, 290]], dtype=np.float32)


def opened(tmp_path: Path, **keys: Any) -> Element:
    sees_colours(tmp_path / "pose.onnx", COLOURS, batch="n")
    element = make(ELEMENT, tmp_path, {**KEYS, **keys})
    element.open()
    return element


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"heatmap_loss": "Combined"}, "heatmap_loss: got 'Combined'"),
        ({"heatmap_loss": 1}, "heatmap_loss: got 1"),
        ({"norm_type": "max"}, "norm_type: got 'max'"),
        ({"area_thresh": -1}, "area_thresh: expected square pixels, at least 0, got -1"),
        ({"area_thresh": float("inf")}, "area_thresh: expected square pixels"),
        ({"area_thresh": True}, "area_thresh: expected square pixels"),
        ({"mean": [0]}, "mean: expected a number or three"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^fastpose.json: element 7001 'fastpose': {problem}"):
        make(ELEMENT, tmp_path, {**KEYS, **keys})


def test_every_fastpose_configuration_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    files = sorted((assets.graphs_dir() / "yolov5_fastpose_posec3d" / "config").glob("fastpose_*.json"))
    elements = [make(ELEMENT, tmp_path, json.loads(file.read_text("utf-8"))["configure"]) for file in files]
    assert len(elements) == 4
    with pytest.raises(ModelNotFoundError, match=r"element 7001 'fastpose': model_path: .*bmodel"):
        elements[0].open()


def test_a_file_of_another_kind_is_refused_when_it_opens(tmp_path: Path) -> None:
    answers_always(tmp_path / "pose.onnx", {"out": np.zeros((17, 8, 8), np.float32)}, size_wh=(48, 64))
    where = r"^fastpose\.json: element 7001 'fastpose': model_path: 'pose\.onnx'"
    with pytest.raises(
        ModelError, match=f"{where} gives no heat maps.*; 'python -m .*inspect .*pose.onnx' says what it is"
    ):
        make(ELEMENT, tmp_path, KEYS).open()


def test_the_part_of_a_small_detection_goes_with_it_and_those_of_others_name_their_new_rows(tmp_path: Path) -> None:
    parts = [frame(sub_id=row) for row in (0, 1, 2, -1)]
    boxes = [[100, 100, 180, 300], [0, 0, 15, 90], [300, 100, 380, 300]]
    seen = frame(
        size_wh=(640, 480),
        detections=Detections.from_arrays(boxes, [0.9, 0.8, 0.7], [0, 0, 0]),
        sub_frames=[*parts],
    )
    opened(tmp_path).process(seen, Out())
    assert [part.sub_id for part in seen.sub_frames] == [0, 1, -1]
    assert all(one is other for one, other in zip(seen.sub_frames, [parts[0], *parts[2:]], strict=True))


def test_each_detection_gets_its_pose_and_small_ones_go(tmp_path: Path) -> None:
    element = opened(tmp_path)
    boxes = [[0, 0, 15, 90], [160, 90, 270, 310], [400, 20, 450, 100], [300, 300, 360, 315.9]]
    masks = [Segment((0, 0), np.ones((1, 1), np.bool_)) for _ in boxes]
    picture = dots(PLACES)
    seen = frame(
        picture=Picture((640, 480), lambda: picture),
        detections=Detections.from_arrays(boxes, [0.9, 0.8, 0.7, 0.6], [0, 0, 2, 0], [1, 2, 3, 4]),
        segments=masks,
    )
    out = Out()
    element.process(seen, out)
    element.close()
    assert out.frames == [seen]
    assert seen.detections.track_ids.tolist() == [2, 3]
    assert list(seen.segments) == masks[1:3]
    found, nobody = seen.poses
    assert found.keypoints.shape == (5, 2)
    assert np.abs(found.keypoints - PLACES).max() < 14
    assert found.scores is not None
    assert found.scores.min() > 0.2
    assert (nobody.keypoints.tolist(), nobody.scores is not None) == ([[0, 0]] * 5, True)


def test_the_second_box_of_one_person_has_no_pose_of_its_own(tmp_path: Path) -> None:
    picture = dots(PLACES)
    seen = frame(
        picture=Picture((640, 480), lambda: picture),
        detections=Detections.from_arrays([[160, 90, 270, 310], [160, 90, 270, 310]], [0.5, 0.9], [0, 0]),
    )
    opened(tmp_path).process(seen, Out())
    assert len(seen.detections) == len(seen.poses) == 2
    assert sorted(bool(pose.keypoints.any()) for pose in seen.poses) == [False, True]


def test_a_pose_smaller_than_asked_is_none(tmp_path: Path) -> None:
    picture = dots(PLACES)
    for area, there in ((0.0, True), (70 * 180 * 2.25 * 2, False)):
        seen = frame(
            picture=Picture((640, 480), lambda: picture),
            detections=Detections.from_arrays([[160, 90, 270, 310]], [0.5], [0]),
        )
        opened(tmp_path, area_thresh=area).process(seen, Out())
        assert seen.poses[0].keypoints.any() == there


def test_without_detections_nothing_runs(tmp_path: Path) -> None:
    seen = frame(poses=("of an earlier element",))
    opened(tmp_path).process(seen, Out())
    assert seen.poses == ()


@pytest.mark.parametrize(("norm_type", "middle"), [("sigmoid", False), ("divide_sum", True)])
def test_networks_that_were_trained_on_joints_give_the_mean_place(tmp_path: Path, norm_type: str, middle: bool) -> None:
    maps = np.zeros((4, 16, 12), dtype=np.float32)
    maps[:, 2:6, 2:4] = 1
    answers_always(tmp_path / "pose.onnx", {"out": maps}, size_wh=(48, 64))
    element = make(ELEMENT, tmp_path, {**KEYS, "heatmap_loss": "L1JointRegression", "norm_type": norm_type})
    element.open()
    seen = frame(size_wh=(48, 64), detections=Detections.from_arrays([[4.8, 6.4, 43.2, 57.6]], [1], [0]))
    element.process(seen, Out())
    [pose] = seen.poses
    assert (pose.keypoints == pytest.approx(np.array([[2.5, 3.5]] * 4) * 4)) == middle
