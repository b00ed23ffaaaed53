"""What the yolo elements share, on files made here and on the stand-ins of sophon-stream's graphs."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.picture import Picture
from streamserver.core.settings import Settings
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.models.registry import Registry
from tests import assets
from tests.models import yolo_files
from tests.models.yolov8_files import constant_network

KEYS: dict[str, Any] = {"model_path": "own.onnx", "threshold_conf": 0.5, "threshold_nms": 0.5, "use_tpu_kernel": True}
SIDE = 64
PLATES = "../license_plate_recognition/models/yolov5s-licensePLate/BM1684X/yolov5s_v6.1_license_3output_int8_1b.bmodel"


def element(tmp_path: Path, name: str = "yolov5", **keys: Any) -> Any:
    weights = Path(__file__).parents[3] / "shared" / "models"
    context = ElementContext(
        element_id=5002,
        name=name,
        config_file=f"elements/0_5002_{name}.json",
        configure={key: value for key, value in {**KEYS, **keys}.items() if value is not ...},
        settings=Settings(device="cpu", models=str(weights), model_cache=str(tmp_path / "cache"), model_download=False),
        base_dir=tmp_path,
    )
    return importlib.import_module(f"streamserver.elements.{name}").ELEMENT(context)


def seen(ready: Any, picture: np.ndarray) -> Frame:
    frame = Frame(0, 0, 0, picture=Picture((picture.shape[1], picture.shape[0]), lambda: picture))
    ready.process(frame, lambda frame, *, port=None: None)
    return frame


def write_rows(folder: Path, *rows: list[float], classes: int = 3) -> None:
    """A flat YOLOv5 file, own.onnx, with these rows of centre, size, objectness and classes."""
    table = np.zeros((1, 252, 5 + classes))
    for number, row in enumerate(rows):
        table[0, number] = row
    yolo_files.write(folder / "own.onnx", {"output": table})


BLACK = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["yolov5", "yolov7", "yolox"])
@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"threshold_conf": {"person": 2}}, "threshold_conf.person: expected a number from 0 to 1"),
        ({"threshold_nms": ...}, "threshold_nms: expected a number from 0 to 1, got None"),
        ({"bgr2rgb": "yes"}, "bgr2rgb: expected true or false"),
        ({"mean": [1, 2]}, "mean: expected a number or three"),
        ({"mean": 0, "std": [255, 0, 255]}, "std: expected no zero"),
        ({"roi": 5}, "roi: expected an object"),
        ({"mindet": -1}, "mindet: expected a number of pixels, got -1"),
        ({"mindet": 10**400}, "mindet: expected a number of pixels, got 1000"),
        ({"mean": 10**400}, "mean: expected a number or three, got 1000"),
        ({"maxdet": "big"}, "maxdet: expected a number of pixels, got 'big'"),
        ({"mindet": 60, "maxdet": 50}, "mindet: is 60, but maxdet is 50: nothing fits"),
        ({"pad": -1}, "pad: expected a whole number from 0 to 255"),
        ({"enlarge": 0}, "enlarge: expected true or false"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(
    tmp_path: Path, name: str, keys: dict[str, Any], problem: str
) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5002_{name}.json: element 5002 '{name}': {problem}"):
        element(tmp_path, name, **keys)


def test_keys_about_the_picture_may_be_missing(tmp_path: Path) -> None:
    """sophon-stream crashes without bgr2rgb, mean, std and use_tpu_kernel; the official exports agree on them."""
    rows = np.zeros((1, 252, 8))
    rows[0, 100] = [32, 32, 20, 20, 0, 1, 0, 0]
    yolo_files.write_mean(tmp_path / "own.onnx", 100, rows, nhwc_uint8=False)
    ready = element(tmp_path, use_tpu_kernel=...)
    ready.open()
    red = np.full((SIDE, SIDE, 3), (0, 0, 204), dtype=np.uint8)
    assert seen(ready, red).detections.scores == pytest.approx([0.8], abs=1e-3)


def test_the_log_says_how_a_file_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rows(tmp_path)
    caplog.set_level(logging.INFO)
    element(tmp_path).open()
    words = "'own.onnx' is read as yolov5: one output [1, 252, 8], boxes decoded, scores 0 to 1; 3 classes"
    assert words in caplog.messages


def test_a_file_s_own_class_names_serve_thresholds_by_name(tmp_path: Path) -> None:
    rows = np.zeros((1, 252, 8), dtype=np.float32)
    rows[0, 0], rows[0, 9] = [10, 10, 8, 8, 1, 0.7, 0, 0], [40, 40, 8, 8, 1, 0, 0.7, 0]
    constant_network(tmp_path / "own.onnx", rows, metadata={"names": "['cat', 'dog', 'cow']", "stride": "32"})
    ready = element(tmp_path, threshold_conf={"cat": 0.9, "dog": 0.5, "cow": 0})
    ready.open()
    assert seen(ready, BLACK).detections.class_ids.tolist() == [1]
    with pytest.raises(GraphError, match="threshold_conf: has no value for the class 'cow'"):
        element(tmp_path, threshold_conf={"cat": 0.9, "dog": 0.5}).open()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xef\xbb\xbfcat\r\ndog \r\ncow\r\n\r\n", ""),
        (b"cat\n\ndog\ncow\n", "class_names_file: has 4 names, the model has 3 classes"),
        (b"cat\n\ncow\n", "class_names_file: line 2 is empty"),
        (b"cat\ndog\n", "class_names_file: has 2 names, the model has 3 classes"),
        (b"\n \n", "class_names_file: .*the file is empty"),
        ("cat\ndog\n鼠".encode("gbk"), "class_names_file: .*save the file as UTF-8"),
    ],
)
def test_a_names_file_is_read_as_editors_write_it_or_refused_with_the_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    write_rows(tmp_path, [10, 10, 8, 8, 1, 0.7, 0, 0])
    (tmp_path / "own.names").write_bytes(content)
    keys = {"threshold_conf": {"cat": 0.5, "dog": 1, "cow": 0.5}, "class_names_file": "own.names"}
    if problem:
        with pytest.raises(GraphError, match=problem):
            element(tmp_path, **keys).open()
        return
    ready = element(tmp_path, **keys)
    ready.open()
    assert len(seen(ready, BLACK).detections) == 1


@pytest.mark.parametrize(("threshold", "kept"), [(0, 252), (0.0, 252), (0.5, 2), (1, 1), (1.0, 1)])
def test_thresholds_of_nothing_and_of_all_are_taken_at_their_word(tmp_path: Path, threshold: float, kept: int) -> None:
    """sophon-stream takes 1 and 0 without a decimal point for something else."""
    centres = [[number % 16 * 4, number // 16 * 4, 2, 2, 0, 0, 0, 0] for number in range(252)]
    centres[5][4:6], centres[6][4:6] = [1, 1], [1, 0.6]  # type: ignore[list-item]
    write_rows(tmp_path, *centres)  # type: ignore[arg-type]
    ready = element(tmp_path, threshold_conf=threshold, threshold_nms=1)
    ready.open()
    assert len(seen(ready, BLACK).detections) == kept


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 3000), (8000, 6000)])
def test_pictures_of_any_size_are_looked_at(tmp_path: Path, size_wh: tuple[int, int]) -> None:
    write_rows(tmp_path, [32, 32, 64, 64, 1, 0.9, 0, 0])
    ready = element(tmp_path)
    ready.open()
    found = seen(ready, np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8)).detections
    left, top, right, bottom = found.boxes_xyxy[0]
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((size_wh[0] / 2, size_wh[1] / 2), abs=30)


def test_a_region_beside_a_part_finds_nothing_there_and_one_beside_the_frame_looks_at_all_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rows(tmp_path, [32, 32, 20, 20, 1, 0.9, 0, 0])
    ready = element(tmp_path, roi={"left": 50, "top": 0, "width": 20, "height": 20})
    ready.open()
    small = Picture((40, 40), lambda: np.zeros((40, 40, 3), dtype=np.uint8))
    part = Frame(0, 0, 0, picture=small, branch_of=7)
    ready.process(part, lambda frame, *, port=None: None)
    assert len(part.detections) == 0
    with caplog.at_level("WARNING"):
        for _ in range(3):
            whole = Frame(0, 0, 0, picture=small)
            ready.process(whole, lambda frame, *, port=None: None)
            assert len(whole.detections) == 1, "where it misses the frame, all of that is looked at"
    [said] = caplog.messages
    assert "roi: 20x20 at (50, 0) lies outside the frame of 40x40; all of it is looked at" in said


def test_a_file_of_another_family_is_named_with_its_path_and_the_command_that_explains_it(tmp_path: Path) -> None:
    yolo_files.write(tmp_path / "own.onnx", {"output": np.zeros((1, 84, 84))})
    with pytest.raises(ModelError, match=f"'own.onnx' is no YOLOv5 .*models inspect {tmp_path}/own.onnx' says what"):
        element(tmp_path).open()


def test_boxes_of_the_wrong_size_are_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path, [10, 10, 8, 8, 1, 1, 0, 0], [30, 30, 20, 9, 1, 1, 0, 0], [40, 40, 30, 30, 1, 1, 0, 0])
    for keys, kept in (({}, 3), ({"mindet": 8}, 2), ({"mindet": 7.5, "maxdet": 30}, 2), ({"maxdet": 9}, 1)):
        ready = element(tmp_path, **keys)
        ready.open()
        assert len(seen(ready, BLACK).detections) == kept, keys


def test_only_boxes_of_one_class_suppress_each_other_in_yolov5_and_all_in_yolov7(tmp_path: Path) -> None:
    write_rows(tmp_path, [30, 30, 20, 20, 1, 0.9, 0, 0], [31, 30, 20, 20, 1, 0, 0.8, 0])
    for name, classes in (("yolov5", [0, 1]), ("yolov7", [0])):
        ready = element(tmp_path, name)
        ready.open()
        assert seen(ready, BLACK).detections.class_ids.tolist() == classes


def test_what_an_earlier_detector_found_goes_and_what_was_read_stays(tmp_path: Path) -> None:
    write_rows(tmp_path, [30, 30, 20, 20, 1, 0.9, 0, 0])
    ready = element(tmp_path)
    ready.open()
    frame = seen(ready, BLACK)
    frame.poses, frame.recognitions = ("a pose",), ("a text",)  # type: ignore[assignment]
    ready.process(frame, lambda frame, *, port=None: None)
    assert len(frame.detections) == 1
    assert list(frame.poses) == []
    assert [str(text) for text in frame.recognitions] == ["a text"]


def test_a_names_file_of_another_model_is_an_error_only_where_names_are_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rows(tmp_path, [30, 30, 20, 20, 1, 0.9, 0, 0])
    (tmp_path / "two.names").write_text("person\ncar\n")
    element(tmp_path, class_names_file="two.names").open()
    assert "class_names_file: has 2 names, the model has 3 classes" in caplog.text
    limits = {"person": 0.5, "car": 0.5}
    with pytest.raises(GraphError, match="class_names_file: has 2 names, the model has 3 classes"):
        element(tmp_path, class_names_file="two.names", threshold_conf=limits).open()
    with pytest.raises(GraphError, match="class_names_file: is needed where threshold_conf names classes"):
        element(tmp_path, threshold_conf=limits).open()


def test_a_list_with_the_suppression_inside_takes_thresholds_by_name(tmp_path: Path) -> None:
    rows = np.array([[4, 5, 24, 35, 0.9, 2], [30, 8, 50, 60, 0.6, 0]])
    yolo_files.write(tmp_path / "own.onnx", {"output": rows[None]})
    (tmp_path / "three.names").write_text("a\nb\nc\n")
    ready = element(tmp_path, class_names_file="three.names", threshold_conf={"a": 0.5, "b": 0.5, "c": 0.95})
    ready.open()
    assert seen(ready, BLACK).detections.class_ids.tolist() == [0]


def test_a_file_of_another_family_is_named_with_the_key(tmp_path: Path) -> None:
    yolo_files.write(tmp_path / "own.onnx", {"output0": np.zeros((1, 7, 84))})
    with pytest.raises(ModelError, match=r"element 5002 'yolov5': model_path: 'own.onnx' is no YOLOv5 export"):
        element(tmp_path).open()


def test_pixels_of_the_wrong_range_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_rows(tmp_path)
    element(tmp_path, mean=[0, 0, 0], std=[255, 255, 255]).open()
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        element(tmp_path, std=[1, 1, 1]).open()
    assert (
        "'own.onnx' gets pixels from 0 to 255, as 'std' says; the official export of YOLOv5 takes 0 to 1" in caplog.text
    )


@pytest.mark.parametrize("name", ["yolov5", "yolov7"])
def test_own_files_can_have_anchors_and_corners_in_their_keys(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    heads = {f"h{side}": rng.normal(0, 1, (1, 3, side, side, 15)) for side in (8, 4, 2)}
    yolo_files.write(tmp_path / "own.onnx", heads)
    anchors = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16], [17, 18, 19, 20, 21, 22]]
    ready = element(
        tmp_path, name, anchors=anchors, corners=4, one_class=True, roi={"left": 8, "top": 4, "width": 40, "height": 40}
    )
    ready.open()
    found = seen(ready, BLACK).detections
    assert len(found) > 1
    assert found.corners_xy is not None
    assert set(found.class_ids.tolist()) == {0}
    with pytest.raises(GraphError, match="anchors: expected three or four lists"):
        element(tmp_path, name, anchors=[1, 2])


def test_the_plate_detector_of_the_graphs_finds_plates_with_corners(tmp_path: Path) -> None:
    assets.model("hyperlpr3_detect_640.onnx")
    picture = cv2.imdecode(np.fromfile(assets.media("plates/street/test_img.jpg"), dtype=np.uint8), cv2.IMREAD_COLOR)
    ready = element(tmp_path, model_path=PLATES, bgr2rgb=True, mean=[0] * 3, std=[255] * 3)
    ready.open()
    found = seen(ready, np.asarray(picture)).detections
    assert found.class_ids.tolist() == [0]
    assert found.boxes_xyxy[0] == pytest.approx([1749, 740, 1869, 857], abs=4)
    part = element(tmp_path, model_path=PLATES, roi={"left": 1600, "top": 600, "width": 320, "height": 480})
    part.open()
    again = seen(part, np.asarray(picture)).detections
    assert again.boxes_xyxy[0] == pytest.approx(found.boxes_xyxy[0], abs=12)
    assert found.corners_xy is not None
    assert again.corners_xy is not None
    assert again.corners_xy[0].ravel() == pytest.approx(found.corners_xy[0].ravel(), abs=12)


@pytest.mark.parametrize(
    ("name", "file"), [("yolov5", "yolov5s_v6.1_3output_int8_1b"), ("yolov7", "yolov7_tpukernel_int8_1b")]
)
def test_other_detectors_of_the_graphs_run_on_yolox(tmp_path: Path, name: str, file: str) -> None:
    assets.model("yolox_nano.onnx")
    ready = element(
        tmp_path, name, model_path=f"../data/models/{file}.bmodel", bgr2rgb=True, mean=[0] * 3, std=[255] * 3
    )
    ready.open()
    found = seen(ready, np.asarray(cv2.imread(str(assets.media("images/pedestrians.jpg"))))).detections
    assert found.class_ids.tolist() == [0] * 10


@pytest.mark.parametrize(
    "file", ["yolov8s-pose_fp32_1b", "yolov8s-obb_fp16_1b", "yolov8s_seg_int8_1b", "yolov8s-cls_int8_1b"]
)
def test_what_no_detector_can_stand_in_for_is_said(tmp_path: Path, file: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"no ONNX model stands in for 'm/{file}.bmodel'"):
        element(tmp_path, model_path=f"m/{file}.bmodel").open()


def test_every_detector_of_the_real_graphs_has_a_stand_in_of_its_kind() -> None:
    registry, checked = Registry.from_file(), 0
    for path in assets.graphs_dir().glob("*/config/*.json"):
        content = json.loads(path.read_text("utf-8"))
        name = str(content.get("name", "")).removesuffix("_group") if isinstance(content, dict) else ""
        if name not in ("yolov5", "yolov7", "yolox"):
            continue
        rule = registry.bmodel_rule(Path(content["configure"]["model_path"]).name)
        assert rule is not None, path
        plates = "licen" in content["configure"]["model_path"].rsplit("/", 1)[1]
        assert rule.model == ("hyperlpr3_detect_640" if plates else "yolox_nano"), path
        checked += 1
    assert checked > 25


def test_thresholds_sizes_and_roi_change_while_the_network_stays(tmp_path: Path) -> None:
    write_rows(tmp_path, [32, 32, 20, 20, 0.6, 1, 0, 0], [10, 10, 10, 10, 0.9, 1, 0, 0])
    ready = element(tmp_path)
    ready.open()
    network = ready._detector

    def found() -> list[float]:
        return [round(float(score), 2) for score in seen(ready, BLACK).detections.scores]

    assert found() == [0.9, 0.6]
    for keys, expected in (
        ({"threshold_conf": 0.7}, [0.9]),
        ({"threshold_conf": 0.5}, [0.9, 0.6]),
        ({"mindet": 15}, [0.6]),
        ({"maxdet": 15}, [0.9]),
        ({}, [0.9, 0.6]),
    ):
        ready.reconfigure({**KEYS, **keys})
        assert found() == expected
    ready.reconfigure({**KEYS, "roi": {"left": 32, "top": 0, "width": 32, "height": 32}})
    assert all(box[0] >= 32 for box in seen(ready, BLACK).detections.boxes_xyxy)
    for wrong in ({"threshold_conf": 2}, {"roi": 5}, {"threshold_conf": {"person": 0.5}}):
        with pytest.raises(GraphError):
            ready.reconfigure({**KEYS, **wrong})
    ready.reconfigure(KEYS)
    assert found() == [0.9, 0.6] and ready._detector is network
