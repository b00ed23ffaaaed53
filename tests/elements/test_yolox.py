"""The yolox element: its keys, its errors, and real weights in the place of a .bmodel."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.settings import Settings
from streamserver.elements.yolox import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests import assets

KEYS: dict[str, Any] = {"model_path": "yolox_nano.onnx", "threshold_conf": 0.5, "threshold_nms": 0.5}


def element(
    tmp_path: Path, *, report: Any = lambda key, value: None, models: str = "", cache: Path | None = None, **keys: Any
) -> Any:
    configure = {key: value for key, value in {**KEYS, **keys}.items() if value is not ...}
    context = ElementContext(
        element_id=5001,
        name="yolox",
        config_file="elements/0_5001_yolox.json",
        configure=configure,
        settings=Settings(
            device="cpu", models=models, model_cache=str(cache or tmp_path / "cache"), model_download=False
        ),
        base_dir=tmp_path,
        report=report,
    )
    return ELEMENT(context)


def opened(tmp_path: Path, **keys: Any) -> Any:
    cache = tmp_path.parent / "model_cache"  # one for all tests of this process: tuning takes longer than the rest
    ready = element(tmp_path, models=str(assets.model("yolox_nano.onnx").parent), cache=cache, **keys)
    ready.open()
    return ready


def seen(ready: Any, picture: np.ndarray) -> Detections:
    frame = Frame(0, 0, 0, picture=Picture((picture.shape[1], picture.shape[0]), lambda: picture))
    out: list[Frame] = []
    ready.process(frame, lambda frame, *, port=None: out.append(frame))
    assert out == [frame]
    return frame.detections


@pytest.fixture(scope="module")
def pedestrians() -> np.ndarray:
    picture = cv2.imread(str(assets.clip("../images/pedestrians.jpg")))
    assert picture is not None
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"model_path": 7}, "model_path: expected a path"),
        ({"threshold_conf": ...}, "threshold_conf: expected a number from 0 to 1, got None"),
        ({"threshold_conf": 50}, "threshold_conf: expected a number from 0 to 1, got 50"),
        ({"threshold_conf": True}, "threshold_conf: expected a number"),
        ({"threshold_conf": {}}, "threshold_conf: expected a number"),
        ({"threshold_conf": {"person": "x"}}, "threshold_conf.person: expected a number"),
        ({"threshold_nms": ...}, "threshold_nms: expected a number"),
        ({"threshold_nms": float("nan")}, "threshold_nms: expected a number"),
        ({"threshold_conf": {"person": 1}, "class_names_file": "no.names"}, "class_names_file: .*no.names' cannot be"),
        ({"bgr2rgb": 1}, "bgr2rgb: expected true or false"),
        ({"mean": [0, 0]}, r"mean: expected a number or three, got \[0, 0\]"),
        ({"std": [1, 0, 1]}, "std: expected no zero"),
        ({"roi": {"left": 1}}, "roi: top: expected a number of pixels"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5001_yolox.json: element 5001 'yolox': {problem}"):
        element(tmp_path, **keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"threshold_conf": 1, "mean": [0, 0, 0], "std": [0.0039216] * 3, "bgr2rgb": True},
        {"maxdet": 100, "mindet": 1, "stage": ["pre"], "use_tpu_kernel": True},
        {"class_names_file": "not/needed/without/a/map.names"},
    ],
)
def test_what_a_graph_for_sophgo_hardware_may_say_is_accepted(tmp_path: Path, keys: dict[str, Any]) -> None:
    element(tmp_path, **keys)


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("yolox_s.bmodel", ModelNotFoundError, "model 'yolox_nano' .* is not in .*fetch yolox_nano"),
        ("../data/some.bmodel", ModelNotFoundError, "no ONNX model stands in for"),
        ("mine.onnx", ModelError, "mine.onnx' cannot be loaded"),
    ],
)
def test_missing_or_unusable_weights_are_named_when_it_opens(
    tmp_path: Path, path: str, kind: type[Exception], problem: str
) -> None:
    (tmp_path / "mine.onnx").write_bytes(b"no model")
    with pytest.raises(kind, match=problem):
        element(tmp_path, model_path=path).open()


def test_it_reports_what_runs_where(tmp_path: Path) -> None:
    said = []
    opened(tmp_path, report=lambda key, value: said.append((key, value)))
    assert said == [("detector", "yolox_nano.onnx on CPUExecutionProvider")]


def test_people_are_found_and_the_registry_wins_over_the_graphs_preprocessing(
    tmp_path: Path, pedestrians: np.ndarray
) -> None:
    found = seen(opened(tmp_path), pedestrians)
    described = seen(opened(tmp_path, mean=[0, 0, 0], std=[255, 255, 255], bgr2rgb=True), pedestrians)
    assert found.class_ids.tolist() == [0] * 10
    assert np.array_equal(found.boxes_xyxy, described.boxes_xyxy)


def test_for_a_file_the_registry_does_not_know_the_graph_says_how_to_preprocess(
    tmp_path: Path, pedestrians: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    weights = assets.model("yolox_nano.onnx").read_bytes()
    (tmp_path / "mine.onnx").write_bytes(weights + b"\x92\x03\x00")
    raw = seen(opened(tmp_path, model_path="mine.onnx"), pedestrians)
    same = seen(opened(tmp_path, model_path="mine.onnx", mean=[0, 0, 0], std=[1 / 255] * 3), pedestrians)
    assert caplog.text == ""
    wrong = seen(opened(tmp_path, model_path="mine.onnx", mean=[0, 0, 0], std=[1, 1, 1]), pedestrians)
    assert (len(raw), len(same), len(wrong)) == (10, 10, 0)
    assert (
        "'mine.onnx' gets pixels from 0 to 1, as 'std' says; the official export of YOLOX takes 0 to 255" in caplog.text
    )


def test_a_bmodel_of_people_reports_people_only(tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(assets.clip("bottle-detection.mp4")))
    _, bottles = capture.read()
    capture.release()
    path = "../tripwire/data/models/BM1688/{}_int8_1b.bmodel"
    every = seen(opened(tmp_path, model_path=path.format("yolox_s")), np.asarray(bottles))
    people = seen(opened(tmp_path, model_path=path.format("yolox_bytetrack_s")), np.asarray(bottles))
    assert every.class_ids.tolist() == [39, 39, 39]
    assert len(people) == 0


def test_a_region_is_looked_at_alone_and_boxes_come_back_in_frame_pixels(
    tmp_path: Path, pedestrians: np.ndarray
) -> None:
    roi = {"left": 320, "top": 0, "width": 320, "height": 480}
    found = seen(opened(tmp_path, roi=roi), pedestrians)
    assert len(found) >= 3
    assert found.boxes_xyxy[:, 0].min() > 300
    assert found.boxes_xyxy[:, 2].max() > 400


def test_each_class_can_have_its_threshold(tmp_path: Path, pedestrians: np.ndarray) -> None:
    names = (Path(__file__).parents[2] / "configs" / "labels" / "coco.txt").read_text("utf-8").split("\n")[:80]
    limits = dict.fromkeys(names, 0.5)
    scores = seen(opened(tmp_path, threshold_conf={**limits, "person": 0.8}), pedestrians).scores
    assert 0 < len(scores) < 10
    assert scores.min() >= 0.8
    (tmp_path / "own.names").write_text("\n".join(name.upper() for name in names))
    upper = {name.upper(): 0.5 for name in names}
    assert len(seen(opened(tmp_path, threshold_conf=upper, class_names_file="own.names"), pedestrians)) == 10


def test_thresholds_for_too_few_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="threshold_conf: has no value for the class 'bicycle'"):
        opened(tmp_path, threshold_conf={"person": 0.5})
    (tmp_path / "two.names").write_text("person\ncar\n")
    with pytest.raises(GraphError, match="class_names_file: has 2 names, the model has 80 classes"):
        opened(tmp_path, threshold_conf={"person": 0.5, "car": 0.5}, class_names_file="two.names")


def test_every_yolox_configuration_of_the_real_graphs_is_read(tmp_path: Path) -> None:
    files = [file for file in assets.graphs_dir().glob("*/config/*.json") if "yolox" in file.read_text("utf-8")]
    read = 0
    for file in files:
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and str(content.get("name", "")).removesuffix("_group") == "yolox":
            keys = dict(content["configure"])
            if "class_names_file" in keys:
                (tmp_path / "coco.names").write_text("\n".join(keys["threshold_conf"]))
                keys["class_names_file"] = "coco.names"
            element(tmp_path, **keys)
            read += 1
    assert read >= 10
