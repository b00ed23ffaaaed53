from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.geometry.rules.object_filter import ObjectFilter
from streamserver.geometry.rules.rule import RuleFrame
from streamserver.geometry.rules.spec import parse_filter

SIZE = (768, 432)
LINE = [[100, 0], [100, 431]]
SQUARE = [[50, 50], [200, 50], [200, 200], [50, 200]]
AT_NOON_US = 12 * 3600 * 1_000_000


def make(areas: list[list[list[int]]], **keys: Any) -> ObjectFilter:
    points = [[{"left": x, "top": y} for x, y in area] for area in areas]
    times = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
    entry = {"areas": points, "classes": [0], "times": times, "type": 2} | keys
    return ObjectFilter(parse_filter(entry, "filters[0]"))


def objects(*boxes: list[float], classes: list[int] | None = None, ids: list[int] | None = None) -> Detections:
    return Detections.from_arrays(boxes, np.ones(len(boxes)), classes or [0] * len(boxes), ids)


def passing(one: ObjectFilter, detections: Detections, step: int = 0, timestamp_us: int = 0) -> list[bool]:
    return one.passing(rule_frame(detections, step=step, timestamp_us=timestamp_us)).mask.tolist()


def rule_frame(detections: Detections, *, step: int, timestamp_us: int = 0) -> RuleFrame:
    return RuleFrame(
        step=step,
        clock_s=step / 10,
        timestamp_us=timestamp_us,
        size_wh=SIZE,
        detections=detections,
        identities=np.maximum(detections.track_ids, 0),
    )


@pytest.mark.parametrize(
    ("areas", "anchor", "expected"),
    [
        ([[]], "box", [True, True, True, True]),
        ([SQUARE], "box", [True, False, False, False]),
        ([SQUARE], "foot", [True, True, False, False]),
        ([LINE], "box", [True, False, False, True]),
        ([[[60, 60]]], "box", [True, False, False, False]),
        ([[[0, 0], [0, 0]]], "box", [False, False, False, True]),
        ([SQUARE, [[600, 0], [600, 431]]], "box", [True, False, True, False]),
        ([[[0, 0], [768, 0], [768, 432], [0, 432]]], "box", [True, True, True, True]),
    ],
)
def test_areas_are_everything_points_lines_and_polygons(areas: Any, anchor: str, expected: list[bool]) -> None:
    boxes = [60, 60, 110, 150], [120, 20, 140, 190], [590, 300, 620, 432], [0, 0, 100, 20]
    assert passing(make(areas, anchor=anchor), objects(*boxes)) == expected


def test_other_classes_are_removed_and_rows_keep_their_places() -> None:
    one = make([[]], classes=[0, 2])
    assert passing(one, objects([0, 0, 5, 5], [0, 0, 5, 5], [0, 0, 5, 5], classes=[1, 2, 0])) == [False, True, True]
    assert passing(one, objects()) == []


def test_outside_its_hours_a_filter_reports_nothing_and_counts_nothing() -> None:
    early = [{"time_start": "00:00:00", "time_end": "00:00:00"}]
    one = make([[]], times=early, type=1, alert_first_frame=1)
    standing = objects([0, 0, 5, 5], ids=[3])
    assert [passing(one, standing, step, AT_NOON_US) for step in range(3)] == [[False]] * 3
    assert [passing(one, standing, step, 0) for step in range(3, 5)] == [[False], [True]]


@pytest.mark.parametrize("kind", [0, 1])
def test_objects_are_counted_one_by_one(kind: int) -> None:
    one = make([[]], type=kind, alert_first_frame=1, alert_frame_skip_nums=2)
    both = objects([0, 0, 5, 5], [9, 9, 20, 20], ids=[3, 4])
    first = objects([0, 0, 5, 5], ids=[3])
    results = [passing(one, frame, step) for step, frame in enumerate([first, both, both, both, both])]
    assert results == [[False], [True, False], [False, True], [True, False], [False, True]]


def test_objects_without_a_track_are_counted_by_class() -> None:
    one = make([[]], type=1, alert_first_frame=1, alert_frame_skip_nums=100)
    pair = objects([0, 0, 5, 5], [9, 9, 20, 20])
    assert [passing(one, pair, step) for step in range(3)] == [[False] * 2, [True] * 2, [False] * 2]


def test_every_frame_passes_with_type_two() -> None:
    one = make([[]], type=2, alert_first_frame=50, alert_frame_skip_nums=50)
    assert [passing(one, objects([0, 0, 5, 5]), step) for step in range(3)] == [[True]] * 3


def test_touching_a_line_in_a_direction_judges_each_object() -> None:
    one = make([LINE], type=1, direction=[1, 0], trajectory_interval=1)
    there = objects([60, 0, 110, 100], [60, 0, 110, 100], ids=[1, 2])
    then = objects([70, 0, 120, 100], [50, 0, 100, 100], ids=[1, 2])
    assert passing(one, there, 0) == [False, False]
    assert passing(one, then, 1) == [True, False]


def test_crossings_of_any_line_are_reported_once() -> None:
    one = make([LINE, [[300, 0], [300, 431]]], type=1, mode="cross")
    frames = [objects([x - 10, 100, x + 10, 200], ids=[5]) for x in (50, 150, 250, 350, 450)]
    assert [passing(one, frame, step) for step, frame in enumerate(frames)] == [
        [False],
        [True],
        [False],
        [True],
        [False],
    ]


def test_a_crossing_outside_the_hours_is_followed_but_not_reported() -> None:
    early = [{"time_start": "00:00:00", "time_end": "00:00:00"}]
    one = make([LINE], type=1, mode="cross", times=early)
    frames = [objects([x - 10, 100, x + 10, 200], ids=[5]) for x in (50, 150, 50)]
    times = (AT_NOON_US, AT_NOON_US, 0)
    results = [passing(one, f, step, t) for step, (f, t) in enumerate(zip(frames, times, strict=True))]
    assert results == [[False], [False], [True]]


def test_a_reset_forgets_counts_directions_and_sides() -> None:
    crossing = make([LINE], type=1, mode="cross")
    touching = make([LINE], type=1, direction=[1, 0], trajectory_interval=1, alert_frame_skip_nums=9)
    left, right = (objects([x - 60, 100, x + 60, 200], ids=[5]) for x in (80, 120))
    for one in (crossing, touching):
        passing(one, left, 0)
        one.reset()
        assert passing(one, right, 1) == [False]
