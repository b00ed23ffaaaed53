"""The retinaface element: its keys, its errors, and real weights in the place of a .bmodel."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.errors import GraphError, ModelError, ModelNotFoundError
from streamserver.core.objects import Face
from streamserver.core.settings import Settings
from streamserver.elements.retinaface import ELEMENT
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture
from tests import assets
from tests.models.constant_net import constant_net

KEYS: dict[str, Any] = {"model_path": "yunet_n", "threshold_nms": 0.4}
COUNT = 2 * (64 + 16 + 4)


def element(tmp_path: Path, *, report: Any = lambda key, value: None, models: str = "", **keys: Any) -> Any:
    configure = {key: value for key, value in {**KEYS, **keys}.items() if value is not ...}
    context = ElementContext(
        element_id=5001,
        name="retinaface",
        config_file="elements/0_5001_retinaface.json",
        configure=configure,
        settings=Settings(device="cpu", models=models, model_cache=str(tmp_path / "cache"), model_download=False),
        base_dir=tmp_path,
        report=report,
    )
    return ELEMENT(context)


def opened(tmp_path: Path, **keys: Any) -> Any:
    ready = element(tmp_path, models=str(assets.model("yunet_n_dynamic.onnx").parent), **keys)
    ready.open()
    return ready


def seen(ready: Any, picture: np.ndarray[Any, Any]) -> tuple[Face, ...]:
    frame = Frame(0, 0, 0, picture=Picture((picture.shape[1], picture.shape[0]), lambda: picture))
    out: list[Frame] = []
    ready.process(frame, lambda frame, *, port=None: out.append(frame))
    assert out == [frame]
    assert len(frame.detections) == 0
    return tuple(frame.faces)


def picture_of(name: str) -> np.ndarray[Any, Any]:
    picture = cv2.imread(str(assets.clip(f"../{name}")))
    assert picture is not None
    return picture


def retinaface_file(tmp_path: Path) -> Path:
    """A RetinaFace for 64x64 that finds one face of 32 pixels around (28, 20), and a weaker one around (52, 52)."""
    conf = np.tile(np.array([3, -3], dtype=np.float32), (1, COUNT, 1))
    conf[0, 2 * (2 * 8 + 3) + 1] = (-3, 3)
    conf[0, 2 * (6 * 8 + 6)] = (-0.2, 0.2)
    loc, landm = (np.zeros((1, COUNT, columns), dtype=np.float32) for columns in (4, 10))
    return constant_net(tmp_path / "mine.onnx", {"loc": loc, "conf": conf, "landm": landm})


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"model_path": ...}, "model_path: expected a path"),
        ({"threshold_nms": ...}, "threshold_nms: expected a number from 0 to 1, got None"),
        ({"score_threshold": 50}, "score_threshold: expected a number from 0 to 1, got 50"),
        ({"score_threshold": None}, "score_threshold: expected a number"),
        ({"max_face_count": -1}, "max_face_count: expected a whole number from 0"),
        ({"max_face_count": 2.5}, "max_face_count: expected a whole number"),
        ({"longest_side": 16}, "longest_side: expected a whole number from 32 to 8192, got 16"),
        ({"bgr2rgb": "no"}, "bgr2rgb: expected true or false"),
        ({"mean": [1, 2]}, r"mean: expected a number or three, got \[1, 2\]"),
        ({"std": [1, 0, 1]}, "std: expected no zero"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_element(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(GraphError, match=f"^elements/0_5001_retinaface.json: element 5001 'retinaface': {problem}"):
        element(tmp_path, **keys)


@pytest.mark.parametrize(
    ("path", "kind", "problem"),
    [
        ("retinaface_mobilenet0.25_fp32_1b.bmodel", ModelNotFoundError, "model 'yunet_n' .* is not in .*fetch yunet_n"),
        ("else.bmodel", ModelNotFoundError, "no ONNX model stands in for"),
        ("broken.onnx", ModelError, "broken.onnx' cannot be loaded"),
        ("other.onnx", ModelError, "'other.onnx' is no yunet face detector: .* is no retinaface face detector"),
    ],
)
def test_missing_or_unusable_weights_are_named_when_it_opens(
    tmp_path: Path, path: str, kind: type[Exception], problem: str
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    constant_net(tmp_path / "other.onnx", {"y": np.zeros((1, 10), dtype=np.float32)})
    with pytest.raises(kind, match=f"element 5001 'retinaface': model_path: .*{problem}"):
        element(tmp_path, model_path=path).open()


def test_weights_of_another_family_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="'yolox_nano' is of the family 'yolox', not 'retinaface' or 'yunet'"):
        opened(tmp_path, model_path="yolox_nano")


def test_it_reports_what_runs_where(tmp_path: Path) -> None:
    said = []
    opened(tmp_path, report=lambda key, value: said.append((key, value)))
    assert said == [("detector", "yunet_n_dynamic.onnx on CPUExecutionProvider")]


def test_every_retinaface_of_the_real_graphs_finds_the_astronaut(tmp_path: Path) -> None:
    picture = picture_of("images/astronaut.png")
    read = 0
    for file in assets.graphs_dir().glob("*/config/*retinaface*.json"):
        content = json.loads(file.read_text("utf-8"))
        if isinstance(content, dict) and str(content.get("name", "")).removesuffix("_group") == "retinaface":
            [face] = seen(opened(tmp_path, **content["configure"]), picture)
            assert face.points_xy[2] == pytest.approx((223, 127), abs=5)
            read += 1
    assert read >= 9


def test_a_threshold_meant_for_a_bmodel_is_raised_for_what_stands_in_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cat = picture_of("images/chelsea.png")
    assert len(seen(opened(tmp_path, score_threshold=0.3), cat)) == 1
    assert caplog.text == ""
    path = "../data/retinaface_mobilenet0.25_fp32_1b.bmodel"
    assert seen(opened(tmp_path, model_path=path, score_threshold=0.3), cat) == ()
    assert "score_threshold 0.3 is meant for 'retinaface_mobilenet0.25_fp32_1b.bmodel'" in caplog.text
    caplog.clear()
    opened(tmp_path, model_path=path, score_threshold=0.7)
    assert caplog.text == ""


def test_the_registry_wins_over_the_graphs_preprocessing(tmp_path: Path) -> None:
    picture = picture_of("faces/compreface/016_8.jpg")
    plain = seen(opened(tmp_path, score_threshold=0.6), picture)
    described = seen(opened(tmp_path, score_threshold=0.6, mean=[104, 117, 123], std=[255] * 3, bgr2rgb=True), picture)
    assert len(plain) == 8
    assert [face.box_xyxy for face in plain] == [face.box_xyxy for face in described]


def test_scores_and_the_number_of_faces_are_limited(tmp_path: Path) -> None:
    retinaface_file(tmp_path)
    black = np.zeros((64, 64, 3), dtype=np.uint8)
    both = seen(opened(tmp_path, model_path="mine.onnx"), black)
    assert [round(face.score, 3) for face in both] == [0.998, 0.599]
    assert len(seen(opened(tmp_path, model_path="mine.onnx", score_threshold=0.7), black)) == 1
    assert seen(opened(tmp_path, model_path="mine.onnx", max_face_count=1), black)[0].score == both[0].score
    assert seen(opened(tmp_path, model_path="mine.onnx", max_face_count=0), black) == ()


def test_unusual_colours_for_a_file_of_ones_own_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    retinaface_file(tmp_path)
    opened(tmp_path, model_path="mine.onnx", mean=[104, 117, 123], std=[1, 1, 1], bgr2rgb=False)
    assert caplog.text == ""
    opened(tmp_path, model_path="mine.onnx", mean=[0, 0, 0], std=[255, 255, 255], bgr2rgb=True)
    assert "'mine.onnx' gets other colours than is usual for a retinaface" in caplog.text


def test_a_longer_side_finds_smaller_faces(tmp_path: Path) -> None:
    group = picture_of("faces/compreface/016_8.jpg")
    wide = np.zeros((4 * group.shape[0], 4 * group.shape[1], 3), dtype=np.uint8)
    wide[: group.shape[0], : group.shape[1]] = group
    keys = {"score_threshold": 0.6}
    assert len(seen(opened(tmp_path, **keys, longest_side=320), wide)) < 8
    assert len(seen(opened(tmp_path, **keys, longest_side=3200), wide)) == 8


def test_a_roi_is_all_that_it_sees_and_faces_are_in_pixels_of_the_frame(tmp_path: Path) -> None:
    picture = picture_of("images/astronaut.png")
    (whole,) = seen(opened(tmp_path), picture)
    left, top, right, bottom = (round(value) for value in whole.box_xyxy)
    roi = {"left": left - 60, "top": max(0, top - 40), "width": right - left + 120, "height": bottom - top + 90}
    (part,) = seen(opened(tmp_path, roi=roi), picture)
    assert part.box_xyxy == pytest.approx(whole.box_xyxy, abs=12)
    assert np.abs(part.points_xy - whole.points_xy).max() < 12
    assert seen(opened(tmp_path, roi={"left": 0, "top": 300, "width": 200, "height": 200}), picture) == ()


def test_a_roi_outside_the_frame_is_named_but_of_parts_it_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ready = opened(tmp_path, roi={"left": 700, "top": 0, "width": 9, "height": 9})
    picture = np.zeros((64, 64, 3), np.uint8)
    with caplog.at_level("WARNING"):
        assert seen(ready, picture) == ()
    assert "roi: 9x9 at (700, 0) lies outside the frame of 64x64; all of it is looked at" in caplog.text
    part = Frame(0, 0, 0, picture=Picture((64, 64), lambda: picture), branch_of=3)
    ready.process(part, lambda frame, *, port=None: None)
    assert part.faces == ()


def test_a_frame_without_a_picture_passes_and_new_faces_replace_old_ones(tmp_path: Path) -> None:
    ready = opened(tmp_path)
    old = (Face((0, 0, 1, 1), 1.0, np.zeros((5, 2), dtype=np.float32)),)
    frame = Frame(0, 0, 0, faces=old)
    ready.process(frame, lambda frame, *, port=None: None)
    assert frame.faces == old
    black = np.zeros((64, 64, 3), dtype=np.uint8)
    frame.picture = Picture((64, 64), lambda: black)
    ready.process(frame, lambda frame, *, port=None: None)
    assert len(frame.faces) == 0
    ready.close()
