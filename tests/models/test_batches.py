"""Several pictures in one run give what each gives alone, with real sessions; where they do not, they run alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streamserver.core.errors import ModelError
from streamserver.models import yolov5, yolov8, yolox
from streamserver.models.detector import Detector, Found, Reading
from streamserver.models.network import PictureNetwork
from streamserver.models.resnet import ResNet
from streamserver.runtime.session import Session, TensorSpec, open_session
from tests import assets, onnx_files

SIDE = 64
SIZES_WH = ((64, 64), (100, 40), (30, 90), (200, 200), (64, 64), (7, 5))


def pictures() -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for width, height in SIZES_WH]


def look_many(detector: Detector, images: list[Any]) -> list[Found]:
    limits = np.full(detector.class_count, 0.4, dtype=np.float32)
    return detector.look_many(images, min_scores=limits, iou_threshold=0.5)


def assert_same(one: Found, other: Found) -> None:
    assert one.detections.class_ids.tolist() == other.detections.class_ids.tolist()
    np.testing.assert_allclose(one.detections.boxes_xyxy, other.detections.boxes_xyxy, atol=0.01)
    np.testing.assert_allclose(one.detections.scores, other.detections.scores, atol=1e-5)


def opened(family: Any, path: Path, *, best_batch: int = 1) -> Detector:
    """The detector of a file, on a device that likes so many pictures."""
    session = open_session(path, device="cpu")
    session.best_batch = best_batch
    detector: Detector = family.load(session, Reading())
    return detector


FILES: dict[str, tuple[Any, Callable[[Path], Path]]] = {
    "yolov5": (yolov5, lambda path: onnx_files.yolov5(path, side=SIDE, classes=3, found=(0, 1, 2))),
    "yolov8": (yolov8, lambda path: onnx_files.yolov8(path, side=SIDE, classes=3, found=(0, 1, 2))),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("count", [None, 4], ids=["free", "fixed"])
def test_pictures_of_one_run_are_read_as_if_each_were_alone(tmp_path: Path, name: str, count: int | None) -> None:
    family, write = FILES[name]
    alone = opened(family, write(tmp_path / "one.onnx"))
    together = opened(family, onnx_files.with_batch(tmp_path / "one.onnx", tmp_path / "many.onnx", count), best_batch=4)
    assert (alone.batch_size, together.batch_size) == (1, 4)
    found = look_many(together, pictures())
    assert len(found) == len(SIZES_WH) and all(len(one.detections) for one in found)
    for image, one in zip(pictures(), found, strict=True):
        assert_same(one, look_many(alone, [image])[0])
        assert_same(one, look_many(together, [image])[0])
    assert look_many(together, []) == []


def test_a_real_network_finds_the_same_people_in_a_batch(tmp_path: Path) -> None:
    weights = assets.model("yolox_nano.onnx")
    image = cv2.imread(str(assets.media("images/pedestrians.jpg")))
    assert image is not None
    images = [image, image[:, ::-1].copy(), np.zeros_like(image), image[::2, ::2].copy()]
    alone = opened(yolox, weights)
    together = opened(yolox, onnx_files.with_batch(weights, tmp_path / "many.onnx", None), best_batch=4)
    found = look_many(together, images)
    assert [bool(len(one.detections)) for one in found] == [True, True, False, True]
    for one, other in zip(found, (look_many(alone, [each])[0] for each in images), strict=True):
        assert one.detections.class_ids.tolist() == other.detections.class_ids.tolist()
        np.testing.assert_allclose(one.detections.boxes_xyxy, other.detections.boxes_xyxy, atol=0.1)
        np.testing.assert_allclose(one.detections.scores, other.detections.scores, atol=1e-3)


def test_a_device_that_gains_nothing_by_it_gets_one_picture_a_run(tmp_path: Path) -> None:
    path = onnx_files.with_batch(FILES["yolov5"][1](tmp_path / "one.onnx"), tmp_path / "many.onnx", None)
    assert opened(yolov5, path).batch_size == 1


def test_a_file_that_is_free_in_name_only_gets_one_picture_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its Reshape is that of one picture, as exporters often leave it."""
    caplog.set_level(logging.INFO)
    path = FILES["yolov5"][1](tmp_path / "one.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    path.write_bytes(model.SerializeToString())
    detector = opened(yolov5, path, best_batch=4)
    assert detector.batch_size == 1
    assert any("gets one picture a run: it fails with two" in message for message in caplog.messages)
    assert all(len(found.detections) for found in look_many(detector, pictures()))


def mixing(path: Path, *nodes: Any, shape: tuple[int | str, ...]) -> Session:
    """A session of a file of any batch with these nodes from x to y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    session = open_session(path, device="cpu")
    session.best_batch = 8
    return session


@pytest.mark.parametrize(
    ("nodes", "shape", "batch"),
    [
        ([helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)], ("n", 3), 8),
        ([helper.make_node("Softmax", ["x"], ["y"], axis=0)], ("n", 3, 8, 8), 1),
        ([helper.make_node("ReduceMean", ["x"], ["y"], axes=[0], keepdims=0)], (3, 8, 8), 1),
        ([helper.make_node("ReduceMean", ["x"], ["y"], axes=[0, 1, 2, 3], keepdims=0)], (), 1),
        ([helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2, 3])], (3, "n", 8, 8), 1),
    ],
    ids=["each for itself", "mixed", "one for all", "a number", "other side"],
)
def test_only_outputs_with_a_row_a_picture_are_taken_apart(
    tmp_path: Path, nodes: list[Any], shape: tuple[int | str, ...], batch: int
) -> None:
    network = PictureNetwork(mixing(tmp_path / "m.onnx", *nodes, shape=shape), default_size_wh=(8, 8))
    assert network.proven_batch() == batch


class Fragile:
    """A session that takes one picture at a time, whatever its file says."""

    def __init__(self) -> None:
        self.name, self.provider, self.best_batch = "fragile.onnx", "CUDAExecutionProvider", 8
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("x", (None, 3, 8, 8), "tensor(float)"),)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("y", (None, 1), "tensor(float)"),)
        self.metadata: Mapping[str, str] = {}

    def run(self, inputs: Any) -> list[Any]:
        if len(inputs["x"]) > 1:
            raise ModelError("does not fit")
        return [np.zeros((1, 1), dtype=np.float32)]


def test_a_session_that_refuses_two_pictures_goes_on_with_one() -> None:
    network = PictureNetwork(Fragile(), default_size_wh=(8, 8))
    assert network.proven_batch() == 1
    assert network.run(np.zeros((1, 3, 8, 8), dtype=np.float32))[0].shape == (1, 1)


@pytest.mark.parametrize("count", [None, 4], ids=["free", "fixed"])
def test_a_classifier_judges_parts_of_one_run_as_if_each_were_alone(tmp_path: Path, count: int | None) -> None:
    one = onnx_files.classifier(tmp_path / "one.onnx", size_wh=(64, 32), classes=5)
    sessions = [
        open_session(path, device="cpu") for path in (one, onnx_files.with_batch(one, tmp_path / "n.onnx", count))
    ]
    sessions[1].best_batch = 4
    alone, together = (ResNet(session) for session in sessions)
    assert (alone.batch_size, together.batch_size) == (1, 4)
    rows = together.run_many(pictures())
    assert len(rows) == len(SIZES_WH)
    for image, row in zip(pictures(), rows, strict=True):
        np.testing.assert_allclose(row, alone.run(image), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(row, together.run(image), rtol=1e-4, atol=1e-4)
    assert len({row.tobytes() for row in rows}) == len(rows)
