"""Turned boxes: their overlap as that of Gaussians, and suppression by it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.geometry.rotated import prob_iou_matrix, rotated_nms

BOX = st.tuples(
    st.floats(-50, 50), st.floats(-50, 50), st.floats(4, 60), st.floats(4, 60), st.floats(-math.pi, math.pi)
)


def integrated(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """1 less the Hellinger distance, by adding up the two densities on a fine grid."""
    xs, ys = np.meshgrid(np.arange(-150, 150, 0.5), np.arange(-150, 150, 0.5))
    densities = []
    for x, y, w, h, angle in (first, second):
        dx, dy = xs - x, ys - y
        along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
        density = np.exp(-6 * ((along / w) ** 2 + (across / h) ** 2))
        densities.append(density / density.sum())
    return 1 - math.sqrt(max(0.0, 1 - np.sqrt(densities[0] * densities[1]).sum()))


@given(BOX, BOX)
@settings(max_examples=25)
def test_the_overlap_is_that_of_the_boxes_gaussians(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    assert prob_iou_matrix([first], [second])[0, 0] == pytest.approx(integrated(first, second), abs=2e-3)


@given(BOX, BOX)
@settings(max_examples=200)
def test_it_is_symmetric_and_the_same_after_half_a_turn(first: tuple[float, ...], second: tuple[float, ...]) -> None:
    overlap = prob_iou_matrix([first], [second])[0, 0]
    turned = (*second[:4], second[4] + math.pi)
    swapped = (*second[:2], second[3], second[2], second[4] + math.pi / 2)
    assert 0 <= overlap <= 1
    for same in (turned, swapped):
        assert prob_iou_matrix([same], [first])[0, 0] == pytest.approx(overlap, abs=1e-6)
    assert prob_iou_matrix([first], [first])[0, 0] == pytest.approx(1, abs=1e-6)


def test_no_boxes_and_boxes_without_area_are_no_accident() -> None:
    assert prob_iou_matrix([], [(0, 0, 1, 1, 0)]).shape == (0, 1)
    assert rotated_nms([], [], iou_threshold=0.5).tolist() == []
    flat = prob_iou_matrix([(0, 0, 0, 0, 0), (0, 0, 10, 0, 1)], [(0, 0, 10, 10, 0), (0, 0, 0, 0, 0)])
    assert np.isfinite(flat).all()


def test_of_boxes_that_overlap_the_best_of_each_class_stays() -> None:
    boxes = [(50, 50, 40, 10, 0.5), (51, 50, 40, 10, 0.5), (50, 50, 40, 10, 0.5 + math.pi / 2), (51, 50, 40, 10, 0.5)]
    scores = [0.7, 0.9, 0.8, 0.6]
    assert rotated_nms(boxes, scores, iou_threshold=0.5).tolist() == [1, 2]
    assert rotated_nms(boxes, scores, iou_threshold=0.5, class_ids=[0, 0, 0, 1]).tolist() == [1, 2, 3]
    assert rotated_nms(boxes, scores, iou_threshold=1, most=2).tolist() == [1, 2]


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one score and one class for each of 1 boxes"):
        rotated_nms([(0, 0, 1, 1, 0)], [0.5, 0.5], iou_threshold=0.5)
