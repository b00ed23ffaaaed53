"""What ``models inspect`` is told of YOLOX, YOLOv5 and YOLOv7 files, and of files that are neither."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamserver.core.errors import ModelError
from streamserver.core.settings import Settings
from streamserver.models import yolov5, yolov7, yolov8, yolox
from streamserver.models._yolov8_heads import Task
from streamserver.models.detector import load_detector
from streamserver.models.inspect import inspect
from streamserver.models.store import ModelStore
from streamserver.runtime.session import open_session
from tests import assets
from tests.models import yolo_files
from tests.models.yolov8_files import constant_network, notes
from tests.searching import examples

FAMILIES = {"yolov5": yolov5, "yolov7": yolov7, "yolov8": yolov8, "yolox": yolox}
DETECTORS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in ("yolov5", "yolov7", "yolox")),
    ("yolov5", {"corners": 4}),
    *(("yolov8", {"task_type": str(task)}) for task in Task),
]


def suggested(path: Path) -> dict[str, float]:
    """How sure each family is of a file."""
    session = open_session(path, device="cpu")
    found = {name: module.suggest(session) for name, module in FAMILIES.items()}
    assert all(suggestion is None or suggestion.element == name for name, suggestion in found.items())
    return {name: suggestion.certainty for name, suggestion in found.items() if suggestion is not None}


def test_a_flat_yolov5_is_one_and_a_yolov7_less_likely(tmp_path: Path) -> None:
    sure = suggested(yolo_files.write(tmp_path / "v5.onnx", {"output": np.zeros((1, 252, 90))}))
    assert list(sure) == ["yolov5", "yolov7"]
    assert sure["yolov5"] > sure["yolov7"]


def test_heads_say_whose_anchors_are_taken(tmp_path: Path) -> None:
    heads = {f"h{side}": np.random.default_rng(1).normal(0, 2, (1, 45, side, side)) for side in (8, 4, 2)}
    suggestion = yolov5.suggest(open_session(yolo_files.write(tmp_path / "heads.onnx", heads), device="cpu"))
    assert suggestion is not None
    assert "3 heads [1, 45, 8, 8]" in suggestion.layout
    assert "10 classes" in suggestion.notes
    assert any("anchors" in note for note in suggestion.notes)
    assert any("four corner points and 2 classes" in note for note in suggestion.notes)


def test_a_list_is_possible_for_all_and_certain_for_none(tmp_path: Path) -> None:
    sure = suggested(yolo_files.write(tmp_path / "end2end.onnx", {"output": np.zeros((2, 7))}))
    assert set(sure) == {"yolov5", "yolov7", "yolox"}
    assert max(sure.values()) < 0.5


def test_a_list_that_is_empty_on_grey_is_likeliest_of_yolov7(tmp_path: Path) -> None:
    """``--end2end`` finds nothing in the grey picture that a file is tried with."""
    sure = suggested(yolo_files.write(tmp_path / "end2end.onnx", {"output": np.zeros((0, 7))}))
    assert max(sure, key=lambda family: sure[family]) == "yolov7"
    assert "yolov8" not in sure


@pytest.mark.parametrize(
    ("classes", "decoded", "turned", "element"),
    [
        (80, False, False, "yolox"),
        (80, False, True, "yolox"),
        (7, False, True, "yolox"),
        (80, True, False, "yolox"),
        (79, True, False, "yolov8"),
        (79, True, True, "yolov8"),
        (7, True, True, "yolov8"),
    ],
)
def test_yolox_and_yolov8_are_told_apart_by_boxes_classes_and_order(
    tmp_path: Path, classes: int, decoded: bool, turned: bool, element: str
) -> None:
    """Of one shape are [1, 5+classes, cells] of a YOLOX and [1, 4+classes, cells] of a YOLOv8 with a class more."""
    rng = np.random.default_rng(3)
    raw = np.hstack([rng.uniform(0, 1, (189, 4)), rng.uniform(0, 0.2, (189, 1 + classes))])
    rows = (yolo_files.yolox_rows(raw, 96) if decoded else raw)[None]
    output = rows.transpose(0, 2, 1) if turned else rows
    sure = suggested(yolo_files.write(tmp_path / "one.onnx", {"output": output}, shape=(1, 3, 96, 96)))
    best, *others = sorted(sure, key=lambda family: -sure[family])
    assert best == element
    assert sure[best] > 0.5
    assert all(sure[other] <= 0.5 for other in others)


def test_a_file_whose_metadata_name_its_classes_is_of_a_family_that_has_as_many(tmp_path: Path) -> None:
    rows = np.zeros((1, 84, 84), dtype=np.float32)
    rows[0, :4] = np.random.default_rng(0).uniform(20, 60, (4, 84))
    path = constant_network(tmp_path / "eleven.onnx", rows, metadata=notes("detect", [f"k{i}" for i in range(80)]))
    assert list(suggested(path)) == ["yolov8"]
    with pytest.raises(ModelError, match=r"'eleven.onnx' names 80 classes in its metadata, but read as YOLOX .* 79"):
        load_detector(path, family="yolox", device="cpu")


@pytest.mark.parametrize(("name", "element"), [("yolox_nano", "yolox"), ("hyperlpr3_detect_320", "yolov5")])
def test_real_files_are_known(tmp_path: Path, name: str, element: str) -> None:
    sure = suggested(assets.model(f"{name}.onnx"))
    assert max(sure, key=lambda family: sure[family]) == element
    store = ModelStore(Settings(models=str(assets.model(f"{name}.onnx").parent), model_cache=str(tmp_path)))
    assert [(s.element, s.certainty) for s in inspect(store, f"{name}.onnx").suggestions] == [(element, 1)]


SHAPES = st.lists(
    st.lists(st.sampled_from([0, 1, 2, 4, 5, 6, 7, 8, 9, 16, 21, 32, 56, 63, 84, 85, 252]), max_size=5), max_size=6
).filter(lambda shapes: shapes and all(math.prod(shape) <= 50_000 for shape in shapes))


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=SHAPES, one_picture=st.booleans(), seed=st.integers(0, 99), spread=st.sampled_from([0.2, 3.0, 50.0]))
def test_outputs_of_any_shapes_are_read_or_refused(
    tmp_path: Path, shapes: list[list[int]], one_picture: bool, seed: int, spread: float
) -> None:
    """None of them may end a task by a crash, after which it would be started again."""
    rng = np.random.default_rng(seed)
    outputs = {
        f"out{i}": rng.normal(0, spread, [1, *shape[1:]] if one_picture and shape else shape)
        for i, shape in enumerate(shapes)
    }
    path = yolo_files.write(tmp_path / "any.onnx", outputs)
    session = open_session(path, device="cpu", quiet=True)
    assert all(s is None or 0 < s.certainty < 1 for s in (module.suggest(session) for module in FAMILIES.values()))
    for family, options in DETECTORS:
        with contextlib.suppress(ModelError):
            detector = load_detector(path, family=family, device="cpu", options=options)
            limits = np.full(max(1, detector.class_count), 0.3, dtype=np.float32)
            detector.look(np.zeros((2, 3, 3), dtype=np.uint8), min_scores=limits, iou_threshold=0.5)


@pytest.mark.parametrize(
    "name", ["FastestDet", "lprnet", "yunet_s_640_640", "movenet_lightning_int8", "mobilefacenet_128d"]
)
def test_files_of_other_kinds_are_nobodys(name: str) -> None:
    assert suggested(assets.model(f"{name}.onnx")) == {}
