"""YOLOX, YOLOv5 and YOLOv7 in every form in which they are exported, against a reference written cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from streamserver.core.arrays import Detections
from streamserver.core.errors import ModelError
from streamserver.models import yolov5, yolov7, yolox
from streamserver.models._yolo_detector import YoloDetector
from streamserver.models.detector import Detector, Reading, load_detector
from streamserver.models.normalisation import Normalisation
from streamserver.runtime.session import open_session
from tests.models import yolo_files
from tests.models.yolo_files import Array, Expected
from tests.searching import examples

SIDE, CLASSES, NUMBERS = 64, 4, 9
GRIDS = (8, 4, 2)
THRESHOLD, IOU = 0.25, 0.5
DECIDED = 1e-5
"""Examples in which rounding decides what is found are left out."""

PICTURE = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
QUICK = settings(max_examples=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])

Heads = list[Array]


def random_heads(seed: int, *, numbers: int = NUMBERS, grids: tuple[int, ...] = GRIDS, coarse: bool = False) -> Heads:
    """Logits (3, h, w, numbers) of each grid; ``coarse``: in steps that int8 and float16 hold exactly."""
    rng = np.random.default_rng(seed)
    heads = [rng.normal(0, 1.5, (3, side, side, numbers)) for side in grids]
    for head in heads:
        head[..., 4] -= 1
    steps = 16 if coarse else 2**16
    return [np.clip(np.rint(head * steps) / steps, -7.9, 7.9).astype(np.float32) for head in heads]


def decoded(heads: Heads, anchors: Any = yolov5.ANCHORS) -> Array:
    return yolo_files.anchored_rows(heads, anchors).astype(np.float32)[None]


def named(arrays: list[Array]) -> dict[str, Array]:
    return {f"out{i}": np.ascontiguousarray(array) for i, array in enumerate(arrays)}


def flat_logits(heads: Heads) -> Array:
    return np.concatenate([head.reshape(-1, head.shape[-1]) for head in heads])[None]


def channels_first(heads: Heads) -> list[Array]:
    return [head.transpose(0, 3, 1, 2).reshape(1, -1, *head.shape[1:3]) for head in heads]


FORMS: dict[str, Callable[[Heads], dict[str, Array]]] = {
    "heads [1,3,h,w,n]": lambda heads: named([head[None] for head in heads]),
    "heads [1,3,n,h,w]": lambda heads: named([head.transpose(0, 3, 1, 2)[None] for head in heads]),
    "heads [1,3n,h,w]": lambda heads: named(channels_first(heads)),
    "heads [1,h,w,3n]": lambda heads: named([head.transpose(0, 2, 3, 1) for head in channels_first(heads)]),
    "heads [1,h,w,3,n]": lambda heads: named([head.transpose(1, 2, 0, 3)[None] for head in heads]),
    "coarsest first": lambda heads: named(channels_first(heads)[::-1]),
    "sigmoid inside": lambda heads: named([yolo_files.logistic(head)[None] for head in heads]),
    "flat logits": lambda heads: {"output": flat_logits(heads)},
    "flat": lambda heads: {"output": decoded(heads)},
    "flat, exchanged": lambda heads: {"output": decoded(heads).transpose(0, 2, 1)},
    "flat, 0 to 1": lambda heads: {"output": decoded(heads) / np.array([SIDE] * 4 + [1] * (NUMBERS - 4))},
    "flat beside heads": lambda heads: {**named(channels_first(heads)), "output": decoded(heads)},
}


def opened(family: Any, path: Path, **known: Any) -> YoloDetector:
    """The detector of a file; ``known`` are fields of ``Reading``."""
    detector = family.load(open_session(path, device="cpu"), Reading(**known))
    assert isinstance(detector, YoloDetector)
    return detector


def find(detector: Detector, *, classes: int = CLASSES, threshold: float = THRESHOLD) -> Detections:
    limits = np.full(classes, threshold, dtype=np.float32)
    return detector.look(PICTURE, min_scores=limits, iou_threshold=IOU).detections


def assert_same(found: Detections, expected: Expected) -> None:
    rows = np.array(expected.rows).reshape(-1, 6 + (0 if found.corners_xy is None else 8))
    assert found.class_ids.tolist() == rows[:, 5].astype(int).tolist()
    assert found.boxes_xyxy == pytest.approx(rows[:, :4], abs=0.5)
    assert found.scores == pytest.approx(rows[:, 4], abs=1e-4)
    if found.corners_xy is not None:
        assert found.corners_xy.reshape(-1, 8) == pytest.approx(rows[:, 6:], abs=0.5)


def expect(heads: Heads, *, by_class: bool, anchors: Any = yolov5.ANCHORS) -> Expected:
    rows = yolo_files.anchored_rows(heads, anchors)
    return yolo_files.reference(rows, threshold=THRESHOLD, iou=IOU, by_class=by_class)


@QUICK
@given(seed=st.integers(0, 2**31), form=st.sampled_from([form for form in FORMS if not form.startswith("flat")]))
def test_yolov5_heads_give_what_the_reference_gives(tmp_path: Path, seed: int, form: str) -> None:
    heads = random_heads(seed)
    file = yolo_files.write(tmp_path / "v5.onnx", FORMS[form](heads))
    expected = expect(heads, by_class=True)
    assume(expected.margin > DECIDED)
    assert_same(find(opened(yolov5, file)), expected)


@QUICK
@given(seed=st.integers(0, 2**31), form=st.sampled_from([form for form in FORMS if form.startswith("flat")]))
def test_yolov5_flat_outputs_give_what_the_reference_gives(tmp_path: Path, seed: int, form: str) -> None:
    heads = random_heads(seed)
    file = yolo_files.write(tmp_path / "v5.onnx", FORMS[form](heads))
    expected = expect(heads, by_class=True)
    assume(expected.margin > DECIDED)
    assert_same(find(opened(yolov5, file)), expected)


@QUICK
@given(seed=st.integers(0, 2**31), flat=st.booleans())
def test_yolov7_has_its_anchors_and_suppresses_across_classes(tmp_path: Path, seed: int, flat: bool) -> None:
    heads = random_heads(seed)
    outputs = {"output": decoded(heads, yolov7.ANCHORS)} if flat else named(channels_first(heads))
    found = find(opened(yolov7, yolo_files.write(tmp_path / "v7.onnx", outputs)))
    expected = expect(heads, by_class=False, anchors=yolov7.ANCHORS)
    assume(expected.margin > DECIDED)
    assert_same(found, expected)
    assert int(found.class_ids.max(initial=0)) < CLASSES


def yolox_raw(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.normal(0.5, 0.5, (84, 2)), rng.normal(0.5, 0.7, (84, 2))], axis=1)
    return np.concatenate([boxes, rng.uniform(0, 1, (84, 1 + CLASSES))], axis=1).astype(np.float32)


def yolox_heads(raw: Array) -> list[Array]:
    parts = np.split(raw, [64, 80])
    return [part.T.reshape(1, -1, side, side) for part, side in zip(parts, GRIDS, strict=True)]


YOLOX_FORMS: dict[str, Callable[[Array], dict[str, Array]]] = {
    "official": lambda raw: {"output": raw[None]},
    "exchanged": lambda raw: {"output": raw.T[None].copy()},
    "decoded": lambda raw: {"output": yolo_files.yolox_rows(raw, SIDE)[None]},
    "0 to 1": lambda raw: {"output": yolo_files.yolox_rows(raw, SIDE)[None] / np.array([SIDE] * 4 + [1] * 5)},
    "heads": lambda raw: named(yolox_heads(raw)),
    "heads, channels last": lambda raw: named([head.transpose(0, 2, 3, 1) for head in yolox_heads(raw)]),
    "logits": lambda raw: {"output": np.concatenate([raw[:, :4], np.log(raw[:, 4:] / (1 - raw[:, 4:]))], axis=1)[None]},
}


@QUICK
@given(seed=st.integers(0, 2**31), form=st.sampled_from(list(YOLOX_FORMS)))
def test_yolox_gives_what_the_reference_gives(tmp_path: Path, seed: int, form: str) -> None:
    raw = yolox_raw(seed)
    rows = yolo_files.yolox_rows(raw, SIDE)
    whole = (rows[:, 2:4] >= SIDE - 0.1).all(axis=1)
    rows[whole, 4], raw[whole, 4] = 0, 1e-6
    expected = yolo_files.reference(rows, threshold=THRESHOLD, iou=IOU, by_class=False)
    assume(expected.margin > DECIDED)
    file = yolo_files.write(tmp_path / "x.onnx", YOLOX_FORMS[form](raw))
    assert_same(find(opened(yolox, file)), expected)


@QUICK
@given(seed=st.integers(0, 2**31))
def test_corner_points_come_with_their_boxes_and_classes_can_be_one(tmp_path: Path, seed: int) -> None:
    heads = random_heads(seed, numbers=5 + 8 + 2)
    rows = yolo_files.anchored_rows(heads, yolov5.ANCHORS, points=4)
    merged = np.concatenate([rows[:, :13], rows[:, 13:].max(axis=1, keepdims=True)], axis=1)
    file = yolo_files.write(tmp_path / "plates.onnx", named(channels_first(heads)))
    for table, options in ((rows, {"corners": 4}), (merged, {"corners": 4, "one_class": True})):
        detector = opened(yolov5, file, options=options)
        expected = yolo_files.reference(table, threshold=THRESHOLD, iou=IOU, by_class=True, points=4)
        assume(expected.margin > DECIDED)
        assert_same(find(detector, classes=detector.class_count), expected)


@pytest.mark.parametrize(
    ("shape", "dtype", "step", "copies", "half"),
    [
        ((1, 3, SIDE, SIDE), TensorProto.FLOAT, None, 1, False),
        ((1, 3, SIDE, SIDE), TensorProto.FLOAT16, None, 1, True),
        ((4, 3, SIDE, SIDE), TensorProto.FLOAT, None, 4, False),
        (("n", 3, SIDE, SIDE), TensorProto.FLOAT, None, 1, False),
        ((1, 3, SIDE, SIDE), TensorProto.FLOAT, 1 / 16, 1, False),
        ((1, 3, SIDE, SIDE), TensorProto.UINT8, None, 1, False),
        ((1, SIDE, SIDE, 3), TensorProto.UINT8, 1 / 16, 1, False),
        ((1, SIDE, SIDE, 3), TensorProto.INT8, None, 1, False),
    ],
)
def test_number_types_batches_and_channel_orders_change_nothing(
    tmp_path: Path, shape: Any, dtype: int, step: float | None, copies: int, half: bool
) -> None:
    heads = random_heads(7, coarse=True)
    outputs = {name: np.repeat(array, copies, axis=0) for name, array in named(channels_first(heads)).items()}
    if half:
        outputs = {name: array.astype(np.float16) for name, array in outputs.items()}
    file = yolo_files.write(tmp_path / "v5.onnx", outputs, shape=shape, dtype=dtype, step=step)
    assert_same(find(opened(yolov5, file)), expect(heads, by_class=True))


def test_files_with_four_grids_are_read_with_their_anchors(tmp_path: Path) -> None:
    heads, anchors = random_heads(3, grids=(16, 8, 4, 2)), yolov5.ANCHORS_OF_FOUR_GRIDS
    expected = expect(heads, by_class=True, anchors=anchors)
    flat = {"output": yolo_files.anchored_rows(heads, anchors)[None]}
    picture = np.zeros((128, 128, 3), dtype=np.uint8)
    limits = np.full(CLASSES, THRESHOLD, dtype=np.float32)
    for outputs in (named(channels_first(heads)), flat):
        file = yolo_files.write(tmp_path / "v5l6.onnx", outputs, shape=(1, 3, 128, 128))
        detector = opened(yolov5, file)
        assert_same(detector.detect(picture, min_scores=limits, iou_threshold=IOU), expected)


def test_anchors_of_its_own_are_an_option(tmp_path: Path) -> None:
    heads = random_heads(5)
    own = [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16], [17, 18, 19, 20, 21, 22]]
    pairs = [list(zip(row[::2], row[1::2], strict=True)) for row in own]
    file = yolo_files.write(tmp_path / "v7.onnx", named(channels_first(heads)))
    found = find(opened(yolov7, file, options={"anchors": own}))
    assert_same(found, expect(heads, by_class=False, anchors=pairs))


def listed(form: str, rows: Array, *, dtype: type = np.float32) -> dict[str, Array]:
    """Rows of x1, y1, x2, y2, score, class as exports with the NMS inside give them."""
    boxes, scores, classes = rows[:, :4], rows[:, 4], rows[:, 5]
    filler = np.zeros((3, 6))
    padded = np.concatenate([rows, filler])
    if form == "rows of 7":
        other = np.array([[1, 0, 0, 9, 9, 0, 0.9]])
        return {"output": np.concatenate([np.column_stack([np.zeros(len(rows)), boxes, classes, scores]), other])}
    if form == "rows of 6":
        return {"output0": padded[None]}
    if form == "dets and labels":
        return {"labels": padded[None, :, 5].astype(np.int64), "dets": padded[None, :, :5]}
    count = np.array([[len(rows)]], dtype=np.int32)
    four = {"num_dets": count, "det_boxes": padded[None, :, :4], "det_scores": padded[None, :, 4]}
    labels: dict[str, Array] = {"det_classes": padded[None, :, 5].astype(dtype)}
    return {**labels, **four} if form == "four, classes first" else {**four, **labels}


@pytest.mark.parametrize("form", ["rows of 7", "rows of 6", "dets and labels", "four", "four, classes first"])
@pytest.mark.parametrize("unit", [1, SIDE])
@pytest.mark.parametrize("family", [yolov5, yolov7, yolox])
def test_lists_with_the_suppression_inside_are_read(tmp_path: Path, form: str, unit: int, family: Any) -> None:
    rows = np.array([[4, 5, 24, 35, 0.9, 2], [30, 8, 50, 60, 0.6, 0], [40, 40, 60, 62, 0.2, 1], [1, 1, 9, 9, 0.5, 7]])
    rows[:, :4] /= unit
    detector = opened(family, yolo_files.write(tmp_path / "end2end.onnx", listed(form, rows)))
    assert detector.class_count == 0
    every = detector.look(PICTURE, min_scores=np.full(1, 0.4, np.float32), iou_threshold=IOU).detections
    assert every.class_ids.tolist() == [2, 0, 7]
    assert every.boxes_xyxy == pytest.approx(np.array([[4, 5, 24, 35], [30, 8, 50, 60], [1, 1, 9, 9]]), abs=0.5)
    limits = np.array([0.1, 0.1, 0.95], dtype=np.float32)
    assert find_by(detector, limits).class_ids.tolist() == [0, 1]


def find_by(detector: Detector, limits: Array) -> Detections:
    return detector.look(PICTURE, min_scores=limits, iou_threshold=IOU).detections


def test_a_list_of_all_pictures_of_a_batch_counts_only_those_of_the_first(tmp_path: Path) -> None:
    rows = np.array([[i // 2, 10, 10, 20, 20 + i, i, 0.9] for i in range(4)], dtype=np.float32)
    file = yolo_files.write(tmp_path / "b4.onnx", {"output": rows}, shape=(4, 3, SIDE, SIDE), free_length=True)
    assert find_by(opened(yolov5, file), np.full(1, 0.5, np.float32)).class_ids.tolist() == [0, 1]


@pytest.mark.parametrize("nhwc_uint8", [False, True])
def test_networks_that_take_whole_numbers_get_pixels_and_the_usual_colour_order(
    tmp_path: Path, nhwc_uint8: bool
) -> None:
    rows = np.zeros((1, 84 * 3, NUMBERS))
    rows[0, 100] = [32, 32, 20, 20, 0, 1, 0, 0, 0]
    file = yolo_files.write_mean(tmp_path / "mean.onnx", 100, rows, nhwc_uint8=nhwc_uint8)
    orange = np.full((SIDE, SIDE, 3), (0, 102, 204), dtype=np.uint8)
    detector = opened(yolov5, file)
    found = detector.detect(orange, min_scores=np.full(CLASSES, 0.1, np.float32), iou_threshold=IOU)
    assert found.scores == pytest.approx(np.array([204 / 255]), abs=1e-3)
    blue_first = opened(yolov5, file, normalisation=Normalisation.from_mean_std(mean=0, std=255, rgb=False))
    assert len(blue_first.detect(orange, min_scores=np.full(CLASSES, 0.1, np.float32), iou_threshold=IOU)) == 0


def test_nonsense_numbers_are_no_objects(tmp_path: Path) -> None:
    rows = np.zeros((1, 84 * 3, NUMBERS))
    rows[0, 5] = [np.nan, 1, 2, 3, 0.9, 0.9, 0, 0, 0]
    rows[0, 6] = [np.inf, 1, 2, 3, 0.9, 0.9, 0, 0, 0]
    rows[0, 7] = [10, 10, 2, 3, np.nan, 0.9, 0, 0, 0]
    rows[0, 8] = [10, 10, 2, 3, 0.9, 0.9, 0, 0, 0]
    detector = opened(yolov5, yolo_files.write(tmp_path / "good.onnx", {"output": np.zeros_like(rows)}))
    found = detector.postprocess([rows], min_scores=np.full(CLASSES, 0.1, np.float32), iou_threshold=IOU)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("family", "outputs", "problem"),
    [
        ("yolov5", {"output0": (1, 84, 84)}, r"no YOLOv5 export: .*64x64 .*\[1, 252, 5\+c.*; 84 rows are what YOLOv8"),
        ("yolov7", {"output0": (1, 300, 85)}, r"no YOLOv7 export: .*got output0 \[1, 300, 85\];"),
        ("yolox", {"output0": (1, 252, 90)}, r"no YOLOX export: .*\[1, 84, 5\+classes\].*252 rows are what YOLOv5"),
        ("yolov5", {"a": (1, 27, 8, 8), "b": (1, 27, 4, 4)}, r"no YOLOv5 export: .*\[1, 3, 8, 8, 5\+classes\]"),
        ("yolov5", {"a": (1, 27, 8, 8), "b": (1, 27, 4, 4), "c": (1, 24, 2, 2)}, "no YOLOv5 export"),
        ("yolov5", {"a": (1, 252, 5)}, "no YOLOv5 export"),
        ("yolox", {"a": (1, 1000)}, r"no YOLOX export: .*got a \[1, 1000\]"),
    ],
)
def test_a_file_of_another_kind_is_told_what_was_expected_and_found(
    tmp_path: Path, family: str, outputs: dict[str, tuple[int, ...]], problem: str
) -> None:
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in outputs.items()}
    file = yolo_files.write(tmp_path / "other.onnx", arrays)
    with pytest.raises(ModelError, match=f"'other.onnx' is {problem}"):
        load_detector(file, family=family, device="cpu")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"anchor": 1}, "anchor: is no option here; there are anchors, corners"),
        ({"anchors": [[1, 2], [3, 4]]}, "anchors: expected three or four lists"),
        ({"anchors": [[1, 2], [3, 4], [5, 6, 7]]}, "anchors: expected the same number"),
        ({"anchors": [[1, 2, 3], [3, 4, 5], [5, 6, 7]]}, "anchors: expected the same number"),
        ({"anchors": [[1, 2], [3, 4], [5, -6]]}, "anchors: expected widths and heights in pixels, got -6"),
        ({"anchors": [[1, 2], [3, 4], [5, True]]}, "anchors: expected widths and heights in pixels, got True"),
        ({"corners": 5}, "corners: expected 4, or 0 for none, got 5"),
        ({"pad": 256}, "pad: expected a whole number from 0 to 255"),
        ({"one_class": 1}, "one_class: expected true or false"),
        ({"enlarge": None}, "enlarge: expected true or false"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    file = yolo_files.write(tmp_path / "v5.onnx", named(channels_first(random_heads(1))))
    with pytest.raises(ModelError, match=rf"'v5.onnx': options: {problem}"):
        opened(yolov5, file, options=options)


def test_corners_are_refused_where_the_file_gives_none(tmp_path: Path) -> None:
    file = yolo_files.write(tmp_path / "e.onnx", listed("rows of 6", np.zeros((1, 6))))
    with pytest.raises(ModelError, match=r"'e\.onnx' gives a list of boxes without corners, but 'corners' is 4"):
        opened(yolov5, file, options={"corners": 4})
