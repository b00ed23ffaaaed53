"""What ``models inspect`` is told of YOLOX, YOLOv5 and YOLOv7 files, and of files that are neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamserver.models import yolov5, yolov7, yolox
from streamserver.runtime.session import open_session
from tests import assets
from tests.models import yolo_files

FAMILIES = {"yolov5": yolov5, "yolov7": yolov7, "yolox": yolox}


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
    assert set(sure) == set(FAMILIES)
    assert max(sure.values()) < 0.5


@pytest.mark.parametrize(("name", "element"), [("yolox_nano", "yolox"), ("hyperlpr3_detect_320", "yolov5")])
def test_real_files_are_known(name: str, element: str) -> None:
    sure = suggested(assets.model(f"{name}.onnx"))
    assert max(sure, key=lambda family: sure[family]) == element
    assert sure[element] >= 0.9


@pytest.mark.parametrize(
    "name", ["FastestDet", "lprnet", "yunet_s_640_640", "movenet_lightning_int8", "mobilefacenet_128d"]
)
def test_files_of_other_kinds_are_nobodys(name: str) -> None:
    assert suggested(assets.model(f"{name}.onnx")) == {}
