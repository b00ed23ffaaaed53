"""The openpose element: its keys, its errors, and people on its frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.elements.openpose import ELEMENT
from tests import assets
from tests.elements.poses import Out, frame, make
from tests.models.pose_networks import answers_always
from tests.models.test_openpose import COCO_18, PEOPLE, draw

KEYS: dict[str, Any] = {"model_path": "pose.onnx", "threshold_nms": 0.05, "use_tpu_kernel": True}


def network(tmp_path: Path) -> None:
    maps = draw(COCO_18, PEOPLE, (38, 42), scale=8)
    answers_always(tmp_path / "pose.onnx", {"out": maps}, size_wh=(304, 336))


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"threshold_nms": ...}, "threshold_nms: expected a number from 0 to 1, got None"),
        ({"threshold_nms": 2}, "threshold_nms: expected a number from 0 to 1, got 2"),
        ({"use_tpu_kernel": 1}, "use_tpu_kernel: expected true or false, got 1"),
        ({"std": [0, 1, 1]}, "std: expected no zero"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^openpose.json: element 7001 'openpose': {problem}"):
        make(ELEMENT, tmp_path, {**KEYS, **keys})


def test_the_tpu_key_may_be_left_out(tmp_path: Path) -> None:
    make(ELEMENT, tmp_path, {**KEYS, "use_tpu_kernel": ...})


def test_every_openpose_configuration_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    files = sorted((assets.graphs_dir() / "openpose" / "config").glob("openpose_*.json"))
    read = [json.loads(file.read_text("utf-8")) for file in files]
    elements = [make(ELEMENT, tmp_path, content["configure"]) for content in read if "configure" in content]
    assert len(elements) == 4
    with pytest.raises(ModelNotFoundError, match=r"openpose.json: element 7001 'openpose': model_path: .*bmodel"):
        elements[0].open()


def test_a_file_of_another_kind_is_refused_when_it_opens(tmp_path: Path) -> None:
    answers_always(tmp_path / "pose.onnx", {"out": np.zeros((17, 8, 8), np.float32)}, size_wh=(64, 64))
    where = r"^openpose\.json: element 7001 'openpose': model_path: 'pose\.onnx'"
    with pytest.raises(
        ModelError, match=f"{where} is no OpenPose network.*; 'python -m .*inspect .*pose.onnx' says what it is"
    ):
        make(ELEMENT, tmp_path, KEYS).open()


def test_people_are_put_on_the_frame_and_detections_stay(tmp_path: Path) -> None:
    network(tmp_path)
    said = []
    element = make(ELEMENT, tmp_path, KEYS, report=lambda key, value: said.append((key, value)))
    element.open()
    out = Out()
    detections = Detections.from_arrays([[0, 0, 5, 5]], [1], [0])
    seen = frame(size_wh=(304, 336), detections=detections)
    element.process(seen, out)
    element.close()
    assert said == [("detector", "pose.onnx on CPUExecutionProvider (COCO_18)")]
    assert out.frames == [seen]
    assert seen.detections is detections
    assert [pose.keypoints.shape for pose in seen.poses] == [(18, 3)] * 2
    necks = sorted(float(pose.keypoints[1, 0]) for pose in seen.poses)
    assert necks == pytest.approx(sorted(float(person[1, 0]) for person in PEOPLE), abs=4)


def test_a_frame_without_a_picture_passes(tmp_path: Path) -> None:
    network(tmp_path)
    element = make(ELEMENT, tmp_path, KEYS)
    element.open()
    out = Out()
    element.process(frame(picture=None), out)
    assert out.frames[0].poses == ()


def test_a_higher_threshold_finds_fewer(tmp_path: Path) -> None:
    network(tmp_path)
    element = make(ELEMENT, tmp_path, {**KEYS, "threshold_nms": 1.0})
    element.open()
    out = Out()
    element.process(frame(size_wh=(304, 336)), out)
    assert len(out.frames[0].poses) < 2
