"""The yolov8 element: its keys, what each task leaves in a frame, and weights for another task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError, ModelError
from streamserver.core.objects import Recognition
from streamserver.core.settings import Settings
from streamserver.elements.yolov8 import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from streamserver.models.registry import ModelEntry
from streamserver.models.store import FoundModel
from tests import assets
from tests.models.yolov8_files import cells, constant_network, notes

SIDE = 64
CORNER = {"left": 30, "top": 20, "width": SIDE, "height": SIDE}
KEYS: dict[str, Any] = {"model_path": "net.onnx", "threshold_conf": 0.5, "threshold_nms": 0.5}


def element(tmp_path: Path, *, models: str = "", **keys: Any) -> Any:
    configure = {key: value for key, value in {**KEYS, **keys}.items() if value is not ...}
    context = ElementContext(
        element_id=5001,
        name="yolov8",
        config_file="elements/0_5001_yolov8.json",
        configure=configure,
        settings=Settings(device="cpu", models=models, model_cache=str(tmp_path / "cache"), model_download=False),
        base_dir=tmp_path,
    )
    return ELEMENT(context)


def rows(*extras: float, classes: int = 2) -> np.ndarray:
    """One object of class 1 around (16, 24), 12 wide and 8 high; (1, 4 + classes + extras, cells)."""
    values = np.zeros((cells((SIDE, SIDE)), 4 + classes + len(extras)), dtype=np.float32)
    values[7, :4] = 16, 24, 12, 8
    values[7, 4 + classes - 1], values[7, 4 + classes :] = 0.75, extras
    return np.ascontiguousarray(values.T[None])


def seen(tmp_path: Path, *outputs: np.ndarray, metadata: dict[str, str] | None = None, **keys: Any) -> Frame:
    constant_network(tmp_path / "net.onnx", *outputs, metadata=metadata)
    ready = element(tmp_path, **keys)
    ready.open()
    frame = Frame(0, 0, 0, picture=Picture((200, 100), lambda: np.zeros((100, 200, 3), dtype=np.uint8)))
    frame.detections = Detections.from_arrays([[1, 2, 3, 4]], [0.5], [7])
    frame.recognitions = [Recognition(label="before")]
    out: list[Frame] = []
    ready.process(frame, lambda frame, *, port=None: out.append(frame))
    ready.close()
    assert out == [frame]
    return frame


def test_detections_take_the_place_of_those_before(tmp_path: Path) -> None:
    found = seen(tmp_path, rows(), roi=CORNER)
    assert found.detections.boxes_xyxy.tolist() == [[40, 40, 52, 48]]
    assert (found.detections.class_ids.tolist(), found.detections.scores.tolist()) == ([1], [0.75])
    assert [recognition.label for recognition in found.recognitions] == ["before"]


def test_poses_come_with_their_detections_in_pixels_of_the_frame(tmp_path: Path) -> None:
    joints = [20.0, 30.0, 0.5] * 17
    found = seen(tmp_path, rows(*joints, classes=1), roi=CORNER, task_type="Pose")
    assert found.detections.boxes_xyxy.tolist() == [[40, 40, 52, 48]]
    [pose] = found.poses
    assert pose.keypoints.tolist() == [[50, 50, 0.5]] * 17


def test_outlines_come_with_their_detections_cut_to_the_box(tmp_path: Path) -> None:
    weights = [1.0] + [0.0] * 31
    prototypes = np.full((1, 32, 16, 16), -1, dtype=np.float32)
    prototypes[0, 0, :, 4:] = 1
    found = seen(tmp_path, rows(*weights), prototypes, roi=CORNER, task_type="Seg")
    [segment] = found.segments
    assert (segment.left_top_xy, segment.mask.shape) == ((40, 40), (8, 12))
    assert segment.mask.all(axis=0).tolist() == [False] * 6 + [True] * 6


def test_turned_boxes_stand_beside_what_detectors_have_left(tmp_path: Path) -> None:
    found = seen(tmp_path, rows(1.25), roi=CORNER, task_type="Obb")
    [box] = found.turned_boxes
    assert (box.center_xy, box.size_wh, box.angle_rad, box.class_id) == ((46, 44), (12, 8), 1.25, 1)
    assert found.detections.class_ids.tolist() == [7]


def test_a_class_stands_beside_what_detectors_have_left_whatever_its_score(tmp_path: Path) -> None:
    scores = np.array([[0.2, 0.3, 0.1]], dtype=np.float32)
    found = seen(tmp_path, scores, roi=CORNER, task_type="Cls", threshold_conf=0.9)
    [recognition] = found.recognitions
    assert (recognition.class_ids, recognition.scores) == ((1,), (pytest.approx(0.3),))
    assert found.detections.class_ids.tolist() == [7]


def test_each_class_can_have_its_threshold_under_the_names_of_the_names_file(tmp_path: Path) -> None:
    (tmp_path / "two.names").write_text("cat\ndog\n")
    limits = {"cat": 0.1, "dog": 0.8}
    assert len(seen(tmp_path, rows(), threshold_conf=limits, class_names_file="two.names").detections) == 0
    limits["dog"] = 0.7
    assert len(seen(tmp_path, rows(), threshold_conf=limits, class_names_file="two.names").detections) == 1
    with pytest.raises(GraphError, match="class_names_file: has 2 names, the model has 3 classes"):
        seen(tmp_path, rows(classes=3), threshold_conf=limits, class_names_file="two.names")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"task_type": "Track"}, "task_type: got 'Track'; use one of Detect, Pose, Cls, Seg, Obb"),
        ({"task_type": "detect"}, "task_type: got 'detect'"),
        ({"task_type": None}, "task_type: got None"),
        ({"threshold_nms": ...}, "threshold_nms: expected a number"),
        ({"model_path": ...}, "model_path: expected a path"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5001_yolov8.json: element 5001 'yolov8': {problem}"):
        element(tmp_path, **keys)


def test_weights_for_another_task_are_refused_with_the_right_one(tmp_path: Path) -> None:
    joints = [20.0, 30.0, 0.5] * 17
    with pytest.raises(
        ModelError,
        match=r"element 5001 'yolov8': model_path: 'net.onnx' is for Pose, not for Detect: .*; set task_type to 'Pose'",
    ):
        seen(tmp_path, rows(*joints, classes=1), metadata=notes("pose", ["person"], kpt_shape="[17, 3]"))


def test_a_bmodel_whose_stand_in_finds_boxes_can_do_no_other_task(tmp_path: Path) -> None:
    models = str(assets.model("yolox_nano.onnx").parent)
    path = "../yolov8/data/models/BM1684X/yolov8s_int8_1b.bmodel"
    element(tmp_path, models=models, model_path=path).open()
    with pytest.raises(GraphError, match="task_type: 'yolox_nano' is for Detect, not for Pose; write 'Detect'"):
        element(tmp_path, models=models, model_path=path, task_type="Pose").open()


def test_the_registry_says_the_task_and_the_graph_must_not_contradict(tmp_path: Path) -> None:
    known = {"task_type": "Pose", "keypoints": [5, 3]}
    entry = ModelEntry(name="mine", file="net.onnx", sha256="0", task="", family="yolov8", licence="MIT", options=known)
    found = FoundModel(tmp_path / "net.onnx", entry)
    assert element(tmp_path, task_type="Pose").options_for(found) == known
    with pytest.raises(GraphError, match="task_type: 'mine' is for Pose, not for Obb"):
        element(tmp_path, task_type="Obb").options_for(found)


def test_every_yolov8_configuration_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    read = []
    for file in sorted(assets.graphs_dir().glob("*/config/*yolov8*.json")):
        content = json.loads(file.read_text("utf-8"))
        if content.get("name") == "yolov8_group":
            keys = dict(content["configure"])
            if "class_names_file" in keys:
                (tmp_path / "coco.names").write_text("\n".join(keys["threshold_conf"]))
                keys["class_names_file"] = "coco.names"
            element(tmp_path, **keys)
            read.append(keys.get("task_type", "Detect"))
    assert read == ["Detect", "Detect", "Obb"]
