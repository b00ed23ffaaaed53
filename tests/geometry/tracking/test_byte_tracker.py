from __future__ import annotations

import itertools
from typing import Any

import lap
import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.geometry.tracking.byte_tracker import ByteTracker, ByteTrackOptions, _match
from tests.geometry.clip_detections import SIZE_ONE_BY_ONE, one_by_one

SIZE = (800, 600)


def make(**options: Any) -> ByteTracker:
    return ByteTracker(ByteTrackOptions(**options), itertools.count(1).__next__)


def found(*boxes: list[float], scores: list[float] | None = None, classes: list[int] | None = None) -> Detections:
    return Detections.from_arrays(boxes, scores or [0.9] * len(boxes), classes or [0] * len(boxes))


def ids(tracker: ByteTracker, detections: Detections) -> list[int]:
    return tracker.update(detections, SIZE).track_ids.tolist()


A = [100, 100, 140, 200]
B = [500, 100, 540, 200]
NOTHING = Detections.empty()


def test_tracks_of_the_first_frame_are_output_at_once_and_later_ones_from_their_second_frame() -> None:
    tracker = make()
    assert ids(tracker, found(A)) == [1]
    assert ids(tracker, found(A, B)) == [1]
    assert ids(tracker, found(A, B)) == [1, 2]


def test_rows_keep_their_order_boxes_and_scores() -> None:
    tracker = make()
    tracker.update(found(A, B), SIZE)
    moved = found([505, 100, 545, 200], [103, 100, 143, 200], scores=[0.8, 0.7])
    tracked = tracker.update(moved, SIZE)
    assert tracked.track_ids.tolist() == [2, 1]
    np.testing.assert_array_equal(tracked.boxes_xyxy, moved.boxes_xyxy)
    np.testing.assert_array_equal(tracked.scores, moved.scores)


def test_a_new_track_says_once_where_it_was_seen_before_it_was_told_of() -> None:
    tracker = make()
    assert tracker.update(found(A), SIZE).born_xyxy is None
    assert tracker.update(found(A, B), SIZE).born_xyxy is None
    moved = tracker.update(found([520, 100, 560, 200], A), SIZE)
    assert moved.born_xyxy is not None
    np.testing.assert_array_equal(moved.born_xyxy, [B, [np.nan] * 4])
    np.testing.assert_array_equal(moved.select([1]).born_xyxy, [[np.nan] * 4])
    assert tracker.update(found(A, [540, 100, 580, 200]), SIZE).born_xyxy is None


def test_numbers_have_no_holes_for_what_was_seen_only_once() -> None:
    tracker = make()
    ids(tracker, NOTHING)
    for _ in range(3):
        assert ids(tracker, found(A)) == []
        assert ids(tracker, NOTHING) == []
    ids(tracker, found(B))
    assert ids(tracker, found(B)) == [1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.9], [1]),
        ([0.9, 0.55], [1]),
        ([0.9, 0.2], [1]),
        ([0.9, 0.1], []),
        ([0.55, 0.9], []),
        ([0.2, 0.9], []),
    ],
)
def test_strong_detections_start_tracks_and_weak_ones_continue_them(scores: list[float], expected: list[int]) -> None:
    tracker = make()
    tracker.update(found(A, scores=scores[:1]), SIZE)
    assert ids(tracker, found(A, scores=scores[1:])) == expected


def test_a_weak_detection_confirms_no_new_track() -> None:
    tracker = make()
    ids(tracker, NOTHING)
    ids(tracker, found(A))
    assert ids(tracker, found(A, scores=[0.3])) == []
    assert len(tracker) == 0


def test_a_lost_track_is_found_again_where_it_was_heading() -> None:
    tracker = make()
    for step in range(10):
        tracker.update(found([100 + 8 * step, 100, 140 + 8 * step, 200]), SIZE)
    for _ in range(8):
        assert ids(tracker, NOTHING) == []
    assert ids(tracker, found([240, 100, 280, 200])) == [1]


@pytest.mark.parametrize(
    ("options", "kept_frames"),
    [({}, 30), ({"frame_rate": 10}, 10), ({"track_buffer": 5}, 5), ({"frame_rate": 25, "track_buffer": 20}, 16)],
)
def test_a_track_is_dropped_after_its_buffer(options: dict[str, Any], kept_frames: int) -> None:
    tracker = make(**options)
    tracker.update(found(A), SIZE)
    for _ in range(kept_frames):
        tracker.update(NOTHING, SIZE)
    assert len(tracker) == 1
    tracker.update(NOTHING, SIZE)
    assert len(tracker) == 0


def test_memory_is_bounded_by_what_recent_frames_showed() -> None:
    tracker = make(track_buffer=5)
    random = np.random.default_rng(5)
    for _ in range(500):
        corners = random.uniform(0, 5000, (4, 2))
        tracker.update(found(*np.hstack((corners, corners + np.array([40, 100]))).tolist()), (5000, 5000))
        assert len(tracker) <= 4 * 7


def test_somebody_who_starts_to_run_keeps_the_number() -> None:
    tracker = make()
    for _ in range(20):
        tracker.update(found(A), SIZE)
    assert ids(tracker, found([142, 100, 182, 200])) == [1]
    assert ids(tracker, found([184, 100, 224, 200])) == [1]


def test_two_people_who_pass_each_other_keep_their_numbers() -> None:
    tracker = make()
    for step in range(40):
        right, left = 100 + 10 * step, 500 - 10 * step
        tracked = tracker.update(found([right, 100, right + 40, 200], [left, 110, left + 40, 215]), SIZE)
        assert tracked.track_ids.tolist() == [1, 2]


@pytest.mark.parametrize(("agnostic", "expected_ids", "expected_classes"), [(True, [1], [2]), (False, [], [])])
def test_a_track_keeps_the_class_it_began_with(
    agnostic: bool, expected_ids: list[int], expected_classes: list[int]
) -> None:
    tracker = make(agnostic=agnostic)
    tracker.update(found(A, classes=[2]), SIZE)
    tracked = tracker.update(found(A, classes=[7]), SIZE)
    assert tracked.track_ids.tolist() == expected_ids
    assert tracked.class_ids.tolist() == expected_classes


@pytest.mark.parametrize(
    ("correct_box", "expected"), [(True, [0, 100, 41, 200]), (False, [-10.25, 100.25, 40.75, 200.25])]
)
def test_boxes_are_rounded_and_clipped_when_asked(correct_box: bool, expected: list[float]) -> None:
    tracker = make(correct_box=correct_box)
    tracked = tracker.update(found([-10.25, 100.25, 40.75, 200.25]), SIZE)
    assert tracked.boxes_xyxy.tolist() == [expected]


@pytest.mark.parametrize(("min_box_area", "expected"), [(10, [1, 2]), (200, [2]), (1e6, [])])
def test_small_boxes_are_not_output(min_box_area: float, expected: list[int]) -> None:
    tracker = make(min_box_area=min_box_area)
    assert ids(tracker, found([0, 0, 10, 20], [100, 100, 120, 140])) == expected


def test_of_two_tracks_of_one_object_the_older_goes_on() -> None:
    tracker = make(agnostic=False)
    for _ in range(5):
        tracker.update(found(A, classes=[2]), SIZE)
    tracker.update(found(A, classes=[7]), SIZE)
    tracked = tracker.update(found(A, classes=[7]), SIZE)
    assert tracked.track_ids.tolist() == [1]
    assert tracked.class_ids.tolist() == [2]
    assert len(tracker) == 1


@pytest.mark.parametrize(("growth", "expected"), [(0.5, [[1], [], []]), (2.0, [[1], [1], [1]])])
def test_small_things_that_move_by_twice_their_size_keep_their_number_where_boxes_grow_more(
    growth: float, expected: list[list[int]]
) -> None:
    tracker = make(growth=growth)
    assert [ids(tracker, found([100, y, 190, y + 30])) for y in (100, 160, 220)] == expected


def test_corners_stay_with_their_boxes() -> None:
    boxes = np.array([A, B], dtype=np.float32)
    corners = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    tracker = make()
    for order in ([0, 1], [1, 0]):
        tracked = tracker.update(
            Detections.from_arrays(boxes[order], [0.9, 0.9], [0, 0], corners_xy=corners[order]), SIZE
        )
        assert tracked.corners_xy is not None
        np.testing.assert_array_equal(tracked.corners_xy, corners[order])
    assert tracker.update(found(A), SIZE).corners_xy is None


def test_no_detections_at_all_are_fine_and_well_formed() -> None:
    tracker = make()
    for _ in range(3):
        tracked = tracker.update(NOTHING, SIZE)
        assert tracked.boxes_xyxy.shape == (0, 4)
        assert tracked.track_ids.dtype == np.int64


@pytest.mark.parametrize("interval", [1, 2, 3, 4])
def test_six_people_of_a_real_clip_are_six_tracks(interval: int) -> None:
    tracker = make(track_thresh=0.5, high_thresh=0.5)
    frames = one_by_one(interval=interval, min_score=0.25)
    seen = [tracker.update(detections, SIZE_ONE_BY_ONE).track_ids for _, detections in frames]
    assert set(np.concatenate(seen).tolist()) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("crowd", [0.05, 0.2, 0.6, 1.0])
def test_where_nobody_has_a_choice_the_pairs_are_those_of_the_solver(crowd: float) -> None:
    random = np.random.default_rng(5)
    for _ in range(300):
        shape = random.integers(1, 9, 2)
        distance = np.where(random.random(shape) < crowd, random.random(shape), 1.0)
        distance.flat[0] = random.choice([0.7, distance.flat[0]])
        _, partner, _ = lap.lapjv(distance, extend_cost=True, cost_limit=0.7)
        expected = [(row, column) for row, column in enumerate(partner.tolist()) if column >= 0]
        assert list(zip(*_match(distance, cost_limit=0.7).tolist(), strict=True)) == expected
