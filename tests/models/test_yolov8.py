"""YOLOv8: all tasks and layouts against an independent reference, and files that are something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from streamserver.core.errors import ModelError
from streamserver.models import yolov8
from streamserver.models.detector import Found, Reading, load_detector
from streamserver.models.normalisation import Normalisation
from streamserver.models.yolov8 import YoloV8, suggest
from streamserver.runtime.session import open_session
from tests.models import yolov8_reference as reference
from tests.models.yolov8_files import cells, colour_network, constant_network, notes, random_rows

SIZE = (96, 64)
N = cells(SIZE)
GRID = reference.grid_of(SIZE)
Array = npt.NDArray[np.float32]
Written = Callable[[Array], list[Array]]
EXAMPLES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load(path: Path, *, device: str = "auto", **known: Any) -> YoloV8:
    """The detector of a file; ``known`` are fields of ``Reading``."""
    return yolov8.load(open_session(path, device=device), Reading(**known))


def columns_first(rows: Array) -> list[Array]:
    return [np.ascontiguousarray(rows.T[None])]


def transposed(rows: Array) -> list[Array]:
    return [rows[None]]


def as_maps(*parts: int, last: bool = False) -> Written:
    """Raw rows as maps for each stride, each of them cut into ``parts`` columns (the last part takes the rest)."""

    def write(rows: Array) -> list[Array]:
        maps, start = [], 0
        for stride in (8, 16, 32):
            width, height = SIZE[0] // stride, SIZE[1] // stride
            level = rows[start : start + width * height].reshape(height, width, -1)
            start += width * height
            for part in np.split(level, list(np.cumsum(parts)), axis=2):
                maps.append(np.ascontiguousarray((part if last else part.transpose(2, 0, 1))[None]))
        return maps

    return write


def looked(
    path: Path, picture_wh: tuple[int, int] = (100, 50), limit: float = 0.3, iou: float = 0.5, **more: Any
) -> Found:
    detector = load(path, device="cpu", options=more.pop("options", {}), **more)
    limits = np.full(max(1, detector.class_count), limit, dtype=np.float32)
    picture = np.zeros((picture_wh[1], picture_wh[0], 3), dtype=np.uint8)
    return detector.look(picture, min_scores=limits, iou_threshold=iou)


def network(tmp_path: Path, *outputs: Array, **more: Any) -> Path:
    more.setdefault("shape", (1, 3, SIZE[1], SIZE[0]))
    return constant_network(tmp_path / "net.onnx", *outputs, **more)


def compare_boxes(found: Found, expected: list[reference.Row], mapping: tuple[float, float, int, int]) -> None:
    assert len(found.detections) == len(expected)
    assert found.detections.class_ids.tolist() == [row["class"] for row in expected]
    assert found.detections.scores == pytest.approx([row["score"] for row in expected], abs=1e-4)
    for box, row in zip(found.detections.boxes_xyxy, expected, strict=True):
        assert box == pytest.approx(reference.corners(row, mapping), abs=0.5)


PICTURES = st.tuples(st.integers(20, 400), st.integers(20, 400))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("write", [columns_first, transposed])
@given(seed=SEEDS, picture_wh=PICTURES, classes=st.sampled_from([1, 2, 3, 80]), limit=st.floats(0.05, 0.9))
@EXAMPLES
def test_detections_equal_the_reference(
    tmp_path: Path, write: Written, seed: int, picture_wh: tuple[int, int], classes: int, limit: float
) -> None:
    rows = random_rows(np.random.default_rng(seed), N, SIZE, classes)
    found = looked(network(tmp_path, *write(rows)), picture_wh, limit)
    expected = reference.objects(rows, classes=classes, limit=limit, iou=0.5)
    compare_boxes(found, expected, reference.letterbox(picture_wh, SIZE))


@pytest.mark.parametrize("write", [as_maps(), as_maps(64), as_maps(64, last=True)])
@given(seed=SEEDS, classes=st.sampled_from([1, 5, 80]))
@EXAMPLES
def test_boxes_from_raw_maps_equal_the_reference(tmp_path: Path, write: Written, seed: int, classes: int) -> None:
    raw = np.random.default_rng(seed).normal(0, 2, (N, 64 + classes)).astype(np.float32)
    found = looked(network(tmp_path, *write(raw)), limit=0.6)
    rows = reference.from_distributions(raw, GRID, classes=classes)
    expected = reference.objects(rows, classes=classes, limit=0.6, iou=0.5)
    compare_boxes(found, expected, reference.letterbox((100, 50), SIZE))


@pytest.mark.parametrize("write", [columns_first, transposed])
@given(seed=SEEDS, picture_wh=PICTURES, points=st.sampled_from([4, 17, 21]))
@EXAMPLES
def test_poses_equal_the_reference(
    tmp_path: Path, write: Written, seed: int, picture_wh: tuple[int, int], points: int
) -> None:
    rng = np.random.default_rng(seed)
    joints = np.dstack(
        [rng.uniform(0, SIZE[0], (N, points)), rng.uniform(0, SIZE[1], (N, points)), rng.random((N, points))]
    )
    rows = np.hstack([random_rows(rng, N, SIZE, 1), joints.reshape(N, -1)]).astype(np.float32)
    found = looked(network(tmp_path, *write(rows)), picture_wh, options={"task_type": "Pose"})
    expected = reference.objects(rows, classes=1, limit=0.3, iou=0.5)
    mapping = reference.letterbox(picture_wh, SIZE)
    compare_boxes(found, expected, mapping)
    assert len(found.poses) == len(expected)
    for pose, row in zip(found.poses, expected, strict=True):
        joints = row["rest"].reshape(points, 3)
        assert pose.keypoints.shape == (points, 3)
        for joint, (x, y, score) in zip(pose.keypoints, joints, strict=True):
            assert joint[:2] == pytest.approx(reference.to_picture(x, y, mapping), abs=0.5)
            assert joint[2] == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("write", [columns_first, transposed])
@given(seed=SEEDS, picture_wh=PICTURES, classes=st.sampled_from([1, 15]))
@EXAMPLES
def test_turned_boxes_equal_the_reference(
    tmp_path: Path, write: Written, seed: int, picture_wh: tuple[int, int], classes: int
) -> None:
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-np.pi / 4, 3 * np.pi / 4, (N, 1))
    rows = np.hstack([random_rows(rng, N, SIZE, classes), angles]).astype(np.float32)
    found = looked(network(tmp_path, *write(rows)), picture_wh, options={"task_type": "Obb"})
    compare_turned(found, rows, classes, picture_wh)


@given(seed=SEEDS)
@EXAMPLES
def test_turned_boxes_from_raw_maps_equal_the_reference(tmp_path: Path, seed: int) -> None:
    raw = np.random.default_rng(seed).normal(0, 2, (N, 64 + 5 + 1)).astype(np.float32)
    found = looked(network(tmp_path, *as_maps(64, 5)(raw)), options={"task_type": "Obb"})
    compare_turned(found, reference.from_distributions(raw, GRID, classes=5, angle=True), 5, (100, 50))


def compare_turned(found: Found, rows: Any, classes: int, picture_wh: tuple[int, int]) -> None:
    expected = reference.objects(rows, classes=classes, limit=0.3, iou=0.5, turned=True)
    mapping = reference.letterbox(picture_wh, SIZE)
    assert len(found.detections) == 0
    assert len(found.turned_boxes) == len(expected)
    for box, row in zip(found.turned_boxes, expected, strict=True):
        assert box.center_xy == pytest.approx(reference.to_picture(*row["box"][:2], mapping), abs=0.5)
        assert box.size_wh == pytest.approx([row["box"][2] / mapping[0], row["box"][3] / mapping[1]], abs=0.5)
        assert (box.score, box.angle_rad) == pytest.approx((row["score"], row["rest"][-1]), abs=1e-4)
        assert box.class_id == row["class"]


@pytest.mark.parametrize("last", [False, True])
@given(seed=SEEDS, picture_wh=st.tuples(st.integers(20, 150), st.integers(20, 150)))
@settings(EXAMPLES, max_examples=5)
def test_outlines_equal_the_reference(tmp_path: Path, last: bool, seed: int, picture_wh: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 1, (N, 8))
    rows = np.hstack([random_rows(rng, N, SIZE, 2), weights]).astype(np.float32)
    prototypes = rng.normal(0, 1, (8, SIZE[1] // 4, SIZE[0] // 4)).astype(np.float32)
    written = np.ascontiguousarray(prototypes.transpose(1, 2, 0) if last else prototypes)[None]
    path = network(tmp_path, *columns_first(rows), written)
    found = looked(path, picture_wh, 0.8, 0.2, options={"task_type": "Seg"})
    expected = reference.objects(rows, classes=2, limit=0.8, iou=0.2)
    mapping = reference.letterbox(picture_wh, SIZE)
    compare_boxes(found, expected, mapping)
    assert len(found.segments) == len(expected)
    for segment, row in zip(found.segments, expected, strict=True):
        left, top, right, bottom = np.clip(reference.corners(row, mapping), 0, np.tile(picture_wh, 2))
        x, y = segment.left_top_xy
        height, width = segment.mask.shape
        assert (x, y, x + width, y + height) == pytest.approx((left, top, right, bottom), abs=1.001)
        for i, j in rng.integers(0, max(height, 1), (20, 2)) % max(1, min(height, width)) if height and width else ():
            value = reference.mask_value(row["rest"], prototypes, x + j, y + i, mapping, SIZE)
            assert abs(value) < 1e-3 or segment.mask[i, j] == (value > 0)


def end_to_end(rows: Array, classes: int, extra: int) -> Array:
    """The reference's objects as an end-to-end network lists them, filled up with zeros."""
    out = np.zeros((1, 40, 6 + extra), dtype=np.float32)
    for i, row in enumerate(reference.objects(rows, classes=classes, limit=0.5, iou=0.3)[:40]):
        x, y, w, h = row["box"]
        out[0, i] = [x - w / 2, y - h / 2, x + w / 2, y + h / 2, row["score"], row["class"], *row["rest"]]
    return out


@pytest.mark.parametrize(("task", "extra"), [("Detect", 0), ("Pose", 51), ("Seg", 32)])
@pytest.mark.parametrize("metadata", [None, {"end2end": "True"}])
def test_what_the_network_has_suppressed_itself_is_taken_as_it_is(
    tmp_path: Path, task: str, extra: int, metadata: dict[str, str] | None
) -> None:
    rng = np.random.default_rng(3)
    rows = np.hstack([random_rows(rng, N, SIZE, 4), rng.uniform(1, 60, (N, extra))]).astype(np.float32)
    outputs = [end_to_end(rows, 4, extra)]
    if task == "Seg":
        outputs.append(rng.normal(0, 1, (1, 32, 16, 24)).astype(np.float32))
    found = looked(network(tmp_path, *outputs, metadata=metadata), limit=0, iou=0, options={"task_type": task})
    expected = reference.objects(rows, classes=4, limit=0.5, iou=0.3)[:40]
    compare_boxes(found, expected, reference.letterbox((100, 50), SIZE))
    assert (len(found.poses), len(found.segments)) == (
        len(expected) * (task == "Pose"),
        len(expected) * (task == "Seg"),
    )


def test_turned_boxes_that_the_network_has_suppressed_itself_have_centre_and_size(tmp_path: Path) -> None:
    out = np.zeros((1, 300, 7), dtype=np.float32)
    out[0, :2] = [[48, 32, 20, 10, 0.6, 3, 0.5], [10, 12, 8, 4, 0.9, 1, -0.2]]
    found = looked(network(tmp_path, out), (96, 64), options={"task_type": "Obb"})
    first, second = found.turned_boxes
    assert (first.center_xy, first.size_wh, first.class_id) == (pytest.approx((10, 12)), pytest.approx((8, 4)), 1)
    assert (second.score, second.angle_rad) == pytest.approx((0.6, 0.5))


def test_classes_that_are_not_reported_do_not_hide_others(tmp_path: Path) -> None:
    rows = np.zeros((N, 4 + 3), dtype=np.float32)
    rows[:, :4] = 500, 500, 1, 1
    rows[5] = [48, 32, 20, 20, 0.9, 0.2, 0.7]
    found = looked(network(tmp_path, *columns_first(rows)), (96, 64), classes=(2, 1))
    assert (found.detections.class_ids.tolist(), found.detections.scores.tolist()) == ([0], [pytest.approx(0.7)])
    out = np.array([[[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.8, 1], [0, 0, 9, 9, 0.7, 2]]], dtype=np.float32)
    found = looked(network(tmp_path, out), (96, 64), classes=(2, 1))
    assert found.detections.class_ids.tolist() == [1, 0]
    with pytest.raises(ModelError, match=r"has 3 classes, asked for numbers \(3,\)"):
        looked(network(tmp_path, *columns_first(rows)), classes=(3,))


def test_no_more_than_300_objects_are_reported_the_best_first(tmp_path: Path) -> None:
    size = (256, 256)
    rng = np.random.default_rng(0)
    rows = np.zeros((cells(size), 5), dtype=np.float32)
    rows[:, :2] = np.arange(len(rows))[:, None] * 3
    rows[:, 2:4], rows[:, 4] = 2, rng.permutation(len(rows)) / len(rows)
    found = looked(network(tmp_path, *columns_first(rows), shape=(1, 3, 256, 256)), limit=0).detections
    assert found.scores.tolist() == sorted(rows[:, 4].tolist(), reverse=True)[:300]


def test_numbers_that_are_none_are_no_objects(tmp_path: Path) -> None:
    rows = np.full((N, 6), np.nan, dtype=np.float32)
    rows[:, 4:] = 0.1
    rows[3:6] = [[np.inf, 4, 2, 2, 0.9, 0], [4, 4, 2, 2, 0.9, 0], [np.nan, 4, 2, 2, 0.9, 0]]
    assert len(looked(network(tmp_path, *columns_first(rows))).detections) == 1


@pytest.mark.parametrize(
    ("shape", "kind", "scale"),
    [
        ((1, 3, 32, 64), TensorProto.FLOAT, 1 / 255),
        ((1, 32, 64, 3), TensorProto.FLOAT, 1 / 255),
        ((4, 3, 32, 64), TensorProto.FLOAT, 1 / 255),
        (("n", 3, "h", "w"), TensorProto.FLOAT, 1 / 255),
        ((1, 3, 32, 64), TensorProto.FLOAT16, 1 / 255),
        ((1, 3, 32, 64), TensorProto.UINT8, 1),
        ((1, 32, 64, 3), TensorProto.UINT8, 1),
    ],
)
def test_a_network_sees_red_first_in_the_numbers_its_input_wants(
    tmp_path: Path, shape: tuple[int | str, ...], kind: int, scale: float
) -> None:
    path = colour_network(tmp_path / "colours.onnx", shape=shape, kind=kind)
    picture = np.zeros((32, 64, 3), dtype=np.uint8)
    picture[...] = 10, 20, 250
    detector = load(path, device="cpu", options={"task_type": "Cls"})
    if shape[2] == "h":
        picture = picture[:, :32]
    [seen] = detector.look(picture, min_scores=np.zeros(3, dtype=np.float32), iou_threshold=0.5).recognitions
    assert (seen.class_ids, seen.scores, seen.label) == ((0,), pytest.approx((250 * scale,), rel=1e-2), "")
    assert detector.class_count == 3


def test_a_classifier_sees_the_picture_in_the_middle_of_grey_and_its_score_is_taken_as_it_is(tmp_path: Path) -> None:
    path = colour_network(tmp_path / "colours.onnx", shape=(1, 3, 64, 64))
    plain = Normalisation.per_channel(rgb=True)
    detector = load_detector(path, family="yolov8", device="cpu", options={"task_type": "Cls"}, normalisation=plain)
    picture = np.zeros((32, 64, 3), dtype=np.uint8)
    [seen] = detector.look(picture, min_scores=np.ones(3, dtype=np.float32), iou_threshold=0.5).recognitions
    assert seen.scores == pytest.approx((57,))


def test_class_names_and_key_points_of_the_file_decide_what_its_numbers_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = np.hstack([random_rows(rng, N, SIZE, 3), rng.uniform(2, 60, (N, 10))]).astype(np.float32)
    metadata = notes("pose", ["a", "b", "c"], kpt_shape="[5, 2]")
    path = network(tmp_path, *columns_first(rows), metadata=metadata)
    detector = load(path, device="cpu", options={"task_type": "Pose"})
    assert (detector.class_count, "3 classes, 5 key points of 2 numbers" in detector.layout) == (3, True)
    found = looked(path, options={"task_type": "Pose"})
    assert found.poses[0].keypoints.shape == (5, 3)
    assert set(found.poses[0].keypoints[:, 2]) == {found.detections.scores[0]}
    plain = network(tmp_path, *columns_first(rows))
    assert load(plain, device="cpu", options={"task_type": "Pose", "keypoints": [5, 2]}).class_count == 3


def test_scores_before_the_sigmoid_are_noticed(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(2), N, SIZE, 3)
    logits = rows.copy()
    logits[:, 4:] = np.log(np.clip(rows[:, 4:], 1e-6, 1 - 1e-6) / (1 - np.clip(rows[:, 4:], 1e-6, 1 - 1e-6)))
    found, same = looked(network(tmp_path, *columns_first(logits))), looked(network(tmp_path, *columns_first(rows)))
    assert found.detections.scores == pytest.approx(same.detections.scores, abs=1e-4)


def pose_rows() -> Array:
    rng = np.random.default_rng(4)
    joints = np.dstack([rng.uniform(0, 90, (N, 17, 2)), rng.random((N, 17))]).reshape(N, -1)
    return np.hstack([random_rows(rng, N, SIZE, 1), joints]).astype(np.float32)


def obb_rows() -> Array:
    rng = np.random.default_rng(5)
    return np.hstack([random_rows(rng, N, SIZE, 15), rng.uniform(-0.7, 2.3, (N, 1))]).astype(np.float32)


def seg_outputs() -> list[Array]:
    rng = np.random.default_rng(6)
    rows = np.hstack([random_rows(rng, N, SIZE, 80), rng.normal(0, 1, (N, 32))]).astype(np.float32)
    return [*columns_first(rows), np.zeros((1, 32, 16, 24), dtype=np.float32)]


WRONG_TASKS: list[tuple[list[Array], dict[str, str] | None, str, str]] = [
    (columns_first(pose_rows()), None, "Detect", "Pose"),
    (columns_first(obb_rows()), None, "Detect", "Obb"),
    (seg_outputs(), None, "Detect", "Seg"),
    ([np.ones((1, 10), dtype=np.float32)], None, "Detect", "Cls"),
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 13)), None, "Pose", "Detect"),
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 80)), None, "Seg", "Detect"),
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 80)), None, "Cls", "Detect"),
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 3)), notes("detect", "abc"), "Obb", "Detect"),
    (columns_first(pose_rows()), notes("pose", ["person"], kpt_shape="[17, 3]"), "Detect", "Pose"),
    (seg_outputs(), notes("segment"), "Detect", "Seg"),
]


@pytest.mark.parametrize(("outputs", "metadata", "asked", "right"), WRONG_TASKS)
def test_a_file_for_another_task_is_refused_and_says_which(
    tmp_path: Path, outputs: list[Array], metadata: dict[str, str] | None, asked: str, right: str
) -> None:
    path = network(tmp_path, *outputs, metadata=metadata)
    with pytest.raises(ModelError, match=f"'net.onnx' .*for {asked}.*set task_type to '{right}'"):
        load(path, device="cpu", options={"task_type": asked})
    load(path, device="cpu", options={"task_type": right})


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ([(1, 3 * N, 85)], r"found \[1, 378, 85\]: 3 boxes a cell, as YOLOv5 and YOLOv7 have them"),
        ([(1, 3, 8, 12, 85), (1, 3, 4, 6, 85), (1, 3, 2, 3, 85)], "3 boxes a cell, as YOLOv5"),
        ([(1, 84, 77)], r"with pictures of 96x64 expected \[1, 4\+classes, cells\].*; found \[1, 84, 77\]; .*inspect"),
        ([(1, 4, N)], r"found \[1, 4, 126\]"),
        ([(1, 3, 64, 96)], r"found \[1, 3, 64, 96\]"),
        ([(1, 84, N), (1, 84, N)], "found"),
    ],
)
def test_a_file_of_another_family_is_refused_with_what_was_expected_and_found(
    tmp_path: Path, shapes: list[tuple[int, ...]], problem: str
) -> None:
    path = network(tmp_path, *(np.zeros(shape, dtype=np.float32) for shape in shapes))
    with pytest.raises(ModelError, match=f"^'net.onnx' is no YOLOv8 network for Detect: .*{problem}"):
        load_detector(path, family="yolov8", device="cpu")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"task_type": "Track"}, "option task_type: got 'Track'; use one of Detect, Pose, Cls, Seg, Obb"),
        ({"keypoints": 17}, "option keypoints: expected their number, then 2 or 3, got 17"),
        ({"anchors": []}, "option 'anchors' is unknown; use task_type, keypoints"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], problem: str) -> None:
    path = network(tmp_path, *columns_first(random_rows(np.random.default_rng(0), N, SIZE, 3)))
    with pytest.raises(ModelError, match=problem):
        load(path, device="cpu", options=options)


def test_metadata_that_name_other_classes_are_refused(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(0), N, SIZE, 3)
    path = network(tmp_path, *columns_first(rows), metadata=notes("detect", ["a", "b"]))
    with pytest.raises(ModelError, match=r"names 2 classes in its metadata, but its output \[1, 7, 126\] has 3"):
        load(path, device="cpu", options={})


def test_boxes_that_are_no_pixels_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A YOLOX export, rows and columns exchanged, has the shape of a YOLOv8 with a class more."""
    offsets = np.random.default_rng(0).uniform(0, 1, (N, 8)).astype(np.float32)
    load(network(tmp_path, *columns_first(offsets)), device="cpu")
    assert "'net.onnx' is read as YOLOv8, but the middles of its boxes are no pixels" in caplog.text
    caplog.clear()
    load(network(tmp_path, *columns_first(random_rows(np.random.default_rng(0), N, SIZE, 4))), device="cpu")
    assert caplog.text == ""


def test_a_file_with_one_row_for_each_object_is_no_classifier(tmp_path: Path) -> None:
    path = network(tmp_path, np.zeros((9, 7), dtype=np.float32))
    with pytest.raises(ModelError, match=r"found \[9, 7\]$"):
        load(path, device="cpu")


def test_a_grey_network_is_refused(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(0), N, SIZE, 3)
    path = network(tmp_path, *columns_first(rows), shape=(1, 1, SIZE[1], SIZE[0]))
    with pytest.raises(ModelError, match="takes grey pictures"):
        load(path, device="cpu", options={})


SUGGESTIONS: list[tuple[list[Array], dict[str, str] | None, str, float]] = [
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 80)), None, "Detect", 0.92),
    (columns_first(random_rows(np.random.default_rng(7), N, SIZE, 80)), notes("detect"), "Detect", 0.95),
    (transposed(random_rows(np.random.default_rng(7), N, SIZE, 80)), None, "Detect", 0.92),
    (transposed(random_rows(np.random.default_rng(7), N, SIZE, 81)), None, "Detect", 0.4),
    (columns_first(pose_rows()), None, "Pose", 0.92),
    (columns_first(obb_rows()), notes("obb"), "Obb", 0.95),
    (columns_first(obb_rows()), None, "Obb", 0.92),
    (seg_outputs(), None, "Seg", 0.92),
    ([np.zeros((1, 300, 6), dtype=np.float32)], None, "Detect", 0.8),
    ([np.zeros((1, 300, 57), dtype=np.float32)], None, "Pose", 0.8),
    ([np.zeros((1, 300, 7), dtype=np.float32)], None, "Obb", 0.8),
    (as_maps(64)(np.random.default_rng(8).normal(0, 2, (N, 144)).astype(np.float32)), None, "Detect", 0.7),
    (as_maps()(np.random.default_rng(8).normal(0, 2, (N, 144)).astype(np.float32)), None, "Detect", 0.7),
    (as_maps()(np.random.default_rng(8).normal(0, 2, (N, 255)).astype(np.float32)), None, "Detect", 0.3),
    ([np.full((1, 4), 0.25, dtype=np.float32)], None, "Cls", 0.2),
    ([np.full((1, 4), 7, dtype=np.float32)], notes("classify", "abcd"), "Cls", 0.95),
]


@pytest.mark.parametrize(("outputs", "metadata", "task", "certainty"), SUGGESTIONS)
def test_a_suggestion_names_the_task_and_can_be_used(
    tmp_path: Path, outputs: list[Array], metadata: dict[str, str] | None, task: str, certainty: float
) -> None:
    path = network(tmp_path, *outputs, metadata=metadata)
    found = suggest(open_session(path, device="cpu"))
    assert found is not None
    assert (found.element, found.configure.get("task_type", "Detect"), found.certainty) == ("yolov8", task, certainty)
    assert str(list(outputs[0].shape)) in found.layout
    load(path, device="cpu", options={"task_type": task})


@pytest.mark.parametrize("shape", [(1, 68, 18), (1, 128), (1, 3, 64, 96), (1, 10, 10, 10, 10), (3,), (1, 378, 85)])
def test_other_networks_get_no_suggestion(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = network(tmp_path, np.ones(shape, dtype=np.float32))
    assert suggest(open_session(path, device="cpu")) is None
