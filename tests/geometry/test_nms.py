from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry import nms as module
from streamserver.geometry.boxes import iou_matrix
from streamserver.geometry.nms import nms

NEAR = [[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]]


@pytest.mark.parametrize(
    ("boxes", "scores", "threshold", "classes", "expected"),
    [
        (NEAR, [0.5, 0.9, 0.7], 0.5, None, [1, 2]),
        (NEAR, [0.5, 0.9, 0.7], 0.5, [0, 0, 0], [1, 2]),
        (NEAR, [0.5, 0.9, 0.7], 0.5, [0, 1, 0], [1, 2, 0]),
        (NEAR, [0.5, 0.9, 0.7], 0.9, None, [1, 2, 0]),
        (NEAR, [0.5, 0.5, 0.5], 0.5, None, [0, 2]),
        ([[0, 0, 10, 10], [0, 0, 10, 5]], [0.9, 0.8], 0.5, None, [0, 1]),
        ([], [], 0.5, None, []),
    ],
)
def test_the_best_of_overlapping_boxes_stays(boxes, scores, threshold, classes, expected) -> None:  # type: ignore[no-untyped-def]
    kept = nms(boxes, scores, iou_threshold=threshold, class_ids=classes)
    assert kept.dtype == np.intp
    assert kept.tolist() == expected


def test_a_dropped_box_drops_nobody() -> None:
    chain = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]
    assert nms(chain, [0.9, 0.8, 0.7], iou_threshold=0.3).tolist() == [0, 2]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="one score and one class for each of 3 boxes"):
        nms(NEAR, [0.5], iou_threshold=0.5)


@pytest.mark.parametrize("by_class", [False, True])
def test_many_boxes_give_the_same_as_few(monkeypatch: pytest.MonkeyPatch, by_class: bool) -> None:
    random = np.random.default_rng(1)
    corners = random.uniform(0, 200, (300, 2))
    boxes = np.hstack((corners, corners + random.uniform(5, 60, (300, 2)))).astype(np.float32)
    scores = random.integers(0, 20, 300) / 20
    classes = random.integers(0, 3, 300) if by_class else None
    dense = nms(boxes, scores, iou_threshold=0.4, class_ids=classes)
    monkeypatch.setattr(module, "_DENSE_LIMIT", 0)
    np.testing.assert_array_equal(nms(boxes, scores, iou_threshold=0.4, class_ids=classes), dense)
    if not by_class:
        overlaps = iou_matrix(boxes[dense], boxes[dense])
        assert np.triu(overlaps, 1).max() <= 0.4
    assert np.all(np.diff(scores[dense]) <= 0)
