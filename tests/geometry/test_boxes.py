from __future__ import annotations

import numpy as np
import pytest

from streamserver.geometry import boxes
from streamserver.geometry.boxes import FloatRows, iou_matrix


@pytest.mark.parametrize(
    ("there", "back", "given", "expected"),
    [
        (boxes.xywh_to_xyxy, boxes.xyxy_to_xywh, [10, 20, 30, 40], [10, 20, 40, 60]),
        (boxes.cxcywh_to_xyxy, boxes.xyxy_to_cxcywh, [10, 20, 30, 40], [-5, 0, 25, 40]),
    ],
)
def test_conversions_give_the_other_form_and_come_back(there, back, given, expected) -> None:  # type: ignore[no-untyped-def]
    np.testing.assert_array_equal(there([given]), [expected])
    np.testing.assert_array_equal(back([expected]), [given])


def test_zero_rows_stay_zero_rows_everywhere() -> None:
    for convert in (boxes.xywh_to_xyxy, boxes.xyxy_to_xywh, boxes.cxcywh_to_xyxy, boxes.xyxy_to_cxcywh):
        assert convert([]).shape == (0, 4)
    assert boxes.area([]).shape == (0,)
    assert boxes.foot_points([]).shape == boxes.center_points([]).shape == (0, 2)
    assert boxes.iou_matrix([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert boxes.contains([[0, 0, 1, 1]], []).shape == (1, 0)


def test_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"expected an array of shape \(n, 4\), got \(1, 3\)"):
        boxes.area([[1, 2, 3]])


def test_floats_keep_their_type_and_whole_numbers_do_not_overflow() -> None:
    assert boxes.area(np.ones((1, 4), dtype=np.float32)).dtype == np.float32
    assert boxes.area(np.array([[0, 0, 200, 200]], dtype=np.uint8))[0] == 40_000


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 1 / 3),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),
        ([0, 0, 10, 10], [20, 20, 30, 30], 0.0),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0.0),
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),
    ],
)
def test_intersection_over_union(first: list[int], second: list[int], expected: float) -> None:
    assert boxes.iou_matrix([first], [second])[0, 0] == pytest.approx(expected)
    assert boxes.iou_matrix([second], [first])[0, 0] == pytest.approx(expected)


def test_points_of_a_box() -> None:
    box = [[10, 20, 30, 60]]
    np.testing.assert_array_equal(boxes.center_points(box), [[20, 40]])
    np.testing.assert_array_equal(boxes.foot_points(box), [[20, 60]])


def test_clipping_keeps_what_is_visible() -> None:
    np.testing.assert_array_equal(
        boxes.clip([[-5, -5, 10, 10], [90, 90, 200, 200], [150, 0, 160, 10]], (100, 100)),
        [[0, 0, 10, 10], [90, 90, 100, 100], [100, 0, 100, 10]],
    )


def test_left_and_top_edge_belong_to_a_box_and_the_others_do_not() -> None:
    found = boxes.contains([[0, 0, 10, 10]], [[0, 0], [9.9, 9.9], [10, 5], [5, 10], [-1, 5]])
    assert found.tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("flat", [False, True], ids=["all have area", "some have none"])
def test_overlaps_are_those_of_each_pair_by_itself(kind: type[np.floating], flat: bool) -> None:
    """To the last bit: what lies at a threshold must not change sides."""
    random = np.random.default_rng(8)
    first, second = (
        np.hstack((corners, corners + random.uniform(0.5, 60, corners.shape))).astype(kind)
        for corners in (random.uniform(0, 100, (30, 2)), random.uniform(0, 100, (20, 2)))
    )
    if flat:
        first[::3, 2], second[::4, 3] = first[::3, 0], second[::4, 1]
        second[0] = first[0]

    def overlap(one: FloatRows, other: FloatRows) -> np.floating:
        nothing = kind(0)
        wide = max(min(one[2], other[2]) - max(one[0], other[0]), nothing)
        high = max(min(one[3], other[3]) - max(one[1], other[1]), nothing)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
        union = areas[0] + areas[1] - wide * high
        return wide * high / union if union > 0 else nothing

    expected = np.array([[overlap(one, other) for other in second] for one in first])
    found = iou_matrix(first, second)
    assert found.dtype == kind
    np.testing.assert_array_equal(found, expected)
