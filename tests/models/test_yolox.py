"""YOLOX: the arithmetic on outputs written by hand, and real weights on real pictures."""

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import ModelError
from streamserver.geometry.boxes import iou_matrix
from streamserver.models._yolo_detector import YoloDetector
from streamserver.models.detector import Reading
from streamserver.models.letterboxed import LetterboxedNetwork
from streamserver.models.yolox import FAMILY
from streamserver.runtime.session import TensorSpec, open_session
from tests import assets

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
CLASSES = 3
LOW = np.full(CLASSES, 0.3, dtype=np.float32)
PICTURE = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)


class FakeSession:
    """Answers every picture with the same rows; remembers what it was shown."""

    name, provider, best_batch = "fake.onnx", "CPUExecutionProvider", 1

    def __init__(self, rows: npt.NDArray[np.float32], *, shape: tuple[int | None, ...] = (1, 3, SIDE, SIDE)) -> None:
        self.inputs = (TensorSpec("images", shape, "tensor(float)"),)
        self.outputs = (TensorSpec("output", (None, None, None), "tensor(float)"),)
        self.rows = rows
        self.metadata: dict[str, str] = {}
        self.seen = np.zeros(0)

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        self.seen = inputs["images"].copy()
        return [self.rows[None]]


def empty_rows(cells: int = CELLS) -> npt.NDArray[np.float32]:
    return np.zeros((cells, 5 + CLASSES), dtype=np.float32)


def network(rows: npt.NDArray[np.float32], **options: Any) -> YoloDetector:
    return YoloDetector(FakeSession(rows), FAMILY, Reading(**options))  # type: ignore[arg-type]


def detect(rows: npt.NDArray[np.float32], *, iou: float = 0.5, picture: Any = PICTURE, **options: Any) -> Detections:
    detector = network(rows, **options)
    return detector.detect(picture, min_scores=LOW[: detector.class_count], iou_threshold=iou)


def put(
    rows: npt.NDArray[np.float32], cell: int, xywh: tuple[float, ...], scores: tuple[float, ...], obj: float = 1.0
) -> None:
    rows[cell] = [*xywh, obj, *scores]


@pytest.mark.parametrize(
    ("cell", "stride", "corner_xy"),
    [(0, 8, (0, 0)), (9, 8, (8, 8)), (64 + 6, 16, (32, 16)), (64 + 16 + 3, 32, (32, 32))],
)
def test_offsets_count_from_the_corner_of_their_cell(cell: int, stride: int, corner_xy: tuple[int, int]) -> None:
    rows = empty_rows()
    put(rows, cell, (0.5, 0.25, np.log(1), np.log(3)), (0, 0.9, 0))
    found = detect(rows)
    x, y = corner_xy[0] + 0.5 * stride, corner_xy[1] + 0.25 * stride
    assert found.boxes_xyxy == pytest.approx(
        np.array([[x - stride / 2, y - 1.5 * stride, x + stride / 2, y + 1.5 * stride]])
    )
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.9)])


def test_a_file_that_decodes_its_boxes_itself_is_recognised() -> None:
    rows = empty_rows()
    columns, lines = np.meshgrid(np.arange(8) * 8 + 4, np.arange(8) * 8 + 4)
    rows[:64, 0], rows[:64, 1], rows[64:, :2] = columns.ravel(), lines.ravel(), 32
    put(rows, 9, (20, 30, 10, 12), (0.8, 0, 0))
    assert detect(rows).boxes_xyxy == pytest.approx(np.array([[15, 24, 25, 36]]))


def test_the_score_is_objectness_times_class_and_each_class_has_its_threshold() -> None:
    rows = empty_rows()
    for cell, scores, obj in ((0, (0.9, 0, 0), 0.5), (20, (0, 0.9, 0), 0.5), (40, (0, 0, 0.9), 0.2)):
        put(rows, cell, (0.5, 0.5, 0, 0), scores, obj)
    limits = np.array([0.44, 0.46, 0.1], dtype=np.float32)
    found = network(rows).detect(PICTURE, min_scores=limits, iou_threshold=0.5)
    assert found.class_ids.tolist() == [0, 2]
    assert found.scores == pytest.approx(np.array([0.45, 0.18]))


def test_of_overlapping_boxes_the_best_stays_whatever_the_classes() -> None:
    rows = empty_rows()
    put(rows, 0, (0.5, 0.5, 0, 0), (0.6, 0, 0))
    put(rows, 1, (-0.4, 0.5, 0, 0), (0, 0.8, 0))
    assert detect(rows).class_ids.tolist() == [1]
    assert detect(rows, iou=0.9).class_ids.tolist() == [1, 0]


def test_a_box_as_large_as_the_frame_is_no_object() -> None:
    rows = empty_rows()
    put(rows, 80 + 0, (1, 1, np.log(2.1), np.log(2.1)), (0.9, 0, 0))
    assert len(detect(rows)) == 0
    put(rows, 80 + 0, (1, 1, np.log(2.1), np.log(1.9)), (0.9, 0, 0))
    assert len(detect(rows)) == 1


def test_chosen_classes_are_numbered_from_0_and_others_do_not_appear() -> None:
    rows = empty_rows()
    put(rows, 0, (0.5, 0.5, 0, 0), (0.9, 0, 0.5))
    put(rows, 30, (0.5, 0.5, 0, 0), (0, 0.9, 0.1))
    found = detect(rows, classes=(2,))
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([0], [0.5])


def test_boxes_come_back_in_pixels_of_the_picture() -> None:
    rows = empty_rows()
    put(rows, 9, (0.5, 0.5, 0, 0), (0.9, 0, 0))
    found = detect(rows, picture=np.zeros((320, 640, 3), dtype=np.uint8))
    assert found.boxes_xyxy == pytest.approx(np.array([[80, 80, 160, 160]]))


def test_the_network_sees_raw_pixels_blue_first_and_grey_padding() -> None:
    session = FakeSession(empty_rows())
    picture = np.full((32, 64, 3), (10, 20, 30), dtype=np.uint8)
    YoloDetector(session, FAMILY).detect(picture, min_scores=LOW, iou_threshold=0.5)  # type: ignore[arg-type]
    assert list(session.seen.shape) == [1, 3, SIDE, SIDE]
    assert session.seen[0, :, 0, 0].tolist() == [10, 20, 30]
    assert session.seen[0, :, 40, 0].tolist() == [114, 114, 114]


@pytest.mark.parametrize(
    ("cells", "shape", "problem"),
    [
        (
            100,
            (1, 3, SIDE, SIDE),
            r"is no YOLOX export: for an input of 64x64 expected one output \[1, 84, 5\+classes\]",
        ),
        (CELLS, (1, 1, SIDE, SIDE), "takes grey pictures, expected three channels"),
        (CELLS, (1, 3), "does not look at one picture"),
    ],
)
def test_a_file_of_another_kind_is_refused(cells: int, shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(ModelError, match=f"'fake.onnx' {problem}"):
        YoloDetector(FakeSession(empty_rows(cells), shape=shape), FAMILY)  # type: ignore[arg-type]


def test_classes_the_file_does_not_have_are_refused() -> None:
    with pytest.raises(ModelError, match=r"has 3 classes, asked for numbers \(3,\)"):
        network(empty_rows(), classes=(3,))


def test_free_sizes_are_640_and_a_fourth_stride_is_understood() -> None:
    cells = sum((640 // stride) ** 2 for stride in (8, 16, 32, 64))
    session = FakeSession(empty_rows(cells), shape=(None, 3, None, None))
    assert YoloDetector(session, FAMILY).size_wh == (640, 640)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nano() -> YoloDetector:
    return YoloDetector(open_session(assets.model("yolox_nano.onnx"), device="cpu"), FAMILY)


def people(detector: YoloDetector, picture: Any, min_score: float) -> Detections:
    limits = np.full(detector.class_count, min_score, dtype=np.float32)
    found = detector.detect(picture, min_scores=limits, iou_threshold=0.5)
    return found.select(found.class_ids == 0)


def test_real_weights_say_what_they_are(nano: YoloDetector) -> None:
    assert (nano.description, nano.class_count) == ("yolox_nano.onnx on CPUExecutionProvider", 80)


def test_ten_pedestrians_are_ten_people(nano: YoloDetector) -> None:
    picture = cv2.imread(str(assets.clip("../images/pedestrians.jpg")))
    assert len(people(nano, picture, 0.5)) == 10


def test_a_cat_is_no_person(nano: YoloDetector) -> None:
    picture = cv2.imread(str(assets.clip("../images/chelsea.png")))
    assert len(people(nano, picture, 0.3)) == 0


def test_people_of_the_campus_clip_are_where_the_published_truth_says(nano: YoloDetector) -> None:
    hits = total = 0
    for number, truth in campus_truth(assets.clip("vtest_PETS09-S2L1_gt_excerpt.csv")).items():
        found = people(nano, campus_picture(number), 0.3)
        hits += int((iou_matrix(truth, found.boxes_xyxy).max(axis=1) > 0.4).sum())
        total += len(truth)
    assert total == 38
    assert hits >= 35


def campus_truth(path: Path) -> dict[int, npt.NDArray[np.float32]]:
    """Boxes (n, 4) by frame number from 1."""
    table = np.loadtxt(path, delimiter=",", comments=("#", "frame"), ndmin=2)
    corners = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], axis=1).astype(np.float32)
    return {int(number): corners[table[:, 0] == number] for number in np.unique(table[:, 0])}


def campus_picture(number: int) -> Any:
    capture = cv2.VideoCapture(str(assets.clip("vtest.avi")))
    try:
        for _ in range(number):
            capture.grab()
        return capture.retrieve()[1]
    finally:
        capture.release()


def test_threads_that_share_a_network_do_not_disturb_each_other(nano: YoloDetector) -> None:
    pictures = [cv2.imread(str(assets.clip(f"../images/{name}"))) for name in ("pedestrians.jpg", "chelsea.png")]
    alone = [people(nano, picture, 0.3).boxes_xyxy for picture in pictures]
    together: list[list[Any]] = [[], []]

    def look(row: int) -> None:
        together[row] = [people(nano, pictures[row], 0.3).boxes_xyxy for _ in range(5)]

    threads = [threading.Thread(target=look, args=(row,)) for row in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for row in (0, 1):
        assert len(together[row]) == 5
        assert all(np.array_equal(boxes, alone[row]) for boxes in together[row])


def test_the_input_does_not_depend_on_what_was_looked_at_before(nano: YoloDetector) -> None:
    random = np.random.default_rng(10)
    sizes = [(320, 240), (320, 240), (240, 320), (320, 240), (100, 416), (100, 416)]
    pictures = [random.integers(0, 256, (high, wide, 3), dtype=np.uint8) for wide, high in sizes]
    used = nano._network
    for picture in pictures:
        fresh = LetterboxedNetwork(used.network.session, normalisation=FAMILY.usual, anchor=FAMILY.anchor)
        np.testing.assert_array_equal(used.prepare(picture)[0], fresh.prepare(picture)[0])
