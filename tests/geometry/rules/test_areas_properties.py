"""What holds of an area for whatever walks through it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.polygons import points_in_polygon, shares_in_polygons
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.rule import Polygon, RuleKind, RuleSpec
from streamserver.geometry.tripwire import band_px
from tests.geometry.rules.rule_frames import SIZE_WH, BoxXyxy, person, polygon, rule_frame
from tests.searching import SEARCHING, examples

WIDTH, HEIGHT = SIZE_WH
DOOR = polygon((300, 200), (500, 200), (500, 400), (300, 400))
HOOK = polygon((150, 100), (650, 100), (650, 250), (300, 250), (300, 500), (150, 500))
EVERYTHING = frozenset({Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL, Kind.OCCUPANCY})

points = st.tuples(st.integers(-20, WIDTH + 20), st.integers(-20, HEIGHT + 20))
paths = st.lists(st.one_of(st.none(), points), max_size=40)
anchors = st.sampled_from(["foot", "center", "box", "share"])
polygons = st.sampled_from([DOOR, HOOK])


def area(**options: Any) -> AreaRule:
    return AreaRule(replace(RuleSpec(kind=RuleKind.AREA, events=frozenset({Kind.ENTER, Kind.LEAVE})), **options))


def events_of(rule: AreaRule, path: list[tuple[int, int] | None], *, mirrored: bool = False) -> list[list[RuleEvent]]:
    """The events of each frame after an empty one."""
    rule.update(rule_frame(0, {}))
    told = []
    for step, foot in enumerate(path, 1):
        boxes: dict[int, BoxXyxy] = {}
        if foot is not None:
            boxes = {7: person(WIDTH - foot[0] if mirrored else foot[0], foot[1])}
        told.append(rule.update(rule_frame(step, boxes)))
    return told


def kinds(told: list[list[RuleEvent]]) -> list[list[Kind]]:
    return [[event.kind for event in events] for events in told]


@settings(max_examples=examples(35))
@given(path=paths, anchor=anchors, include=polygons, rearm_s=st.sampled_from([0.0, 0.5, 5.0]))
def test_entries_and_exits_alternate(
    path: list[tuple[int, int] | None], anchor: str, include: Polygon, rearm_s: float
) -> None:
    rule = area(include=(include,), anchor=anchor, rearm_s=rearm_s)
    told = [event for events in events_of(rule, path + [None] * 60) for event in events]
    assert [event.kind for event in told] == [Kind.ENTER, Kind.LEAVE] * (len(told) // 2)
    assert all(event.stay_s is not None and event.stay_s >= 0 for event in told[1::2])
    assert all(event.leave_s is not None and event.leave_s > 0 for event in told[1::2])
    assert all(event.count == int(event.kind is Kind.ENTER) for event in told)
    assert len(rule) == 0


@settings(max_examples=examples(35))
@given(path=st.lists(points, max_size=40), include=polygons)
def test_entries_and_exits_are_where_the_foot_goes_in_and_clearly_out(
    path: list[tuple[int, int]], include: Polygon
) -> None:
    """Against a reading of its own, with distances from many points on the edges."""

    def near(ring: Polygon, at: Any) -> bool:
        return float(np.min(np.hypot(*(ring - at).T))) <= band_px(50, HEIGHT)

    ring = np.concatenate([np.linspace(a, b, 2001) for a, b in zip(include, np.roll(include, -1, axis=0), strict=True)])
    expected, inside = [], False
    for x, y in path:
        at = np.clip((x, y), 0, SIZE_WH)
        held = bool(points_in_polygon([at], include)[0])
        before, inside = inside, held or (inside and near(ring, at))
        expected.append([Kind.ENTER if inside else Kind.LEAVE] if before != inside else [])
    assert kinds(events_of(area(include=(include,)), list(path))) == expected


@settings(max_examples=examples(35))
@given(
    jitter=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=60),
    edge=st.sampled_from([(300, 300), (500, 300), (400, 200), (400, 400)]),
    height=st.integers(10, 400),
)
def test_trembling_on_the_edge_is_at_most_one_entry(
    jitter: list[tuple[int, int]], edge: tuple[int, int], height: int
) -> None:
    rule = area(include=(DOOR,))
    told = []
    for step, (dx, dy) in enumerate([(-150, -150), *jitter]):
        told += rule.update(rule_frame(step, {7: person(edge[0] + dx, edge[1] + dy, height=height)}))
    assert [event.kind for event in told] in ([], [Kind.ENTER], [Kind.LEAVE])


@settings(max_examples=examples(35))
@given(path=paths, anchor=anchors, include=polygons)
def test_a_mirrored_walk_through_a_mirrored_area_tells_the_same(
    path: list[tuple[int, int] | None], anchor: str, include: Polygon
) -> None:
    mirrored = np.column_stack((WIDTH - include[:, 0], include[:, 1]))
    straight = events_of(area(include=(include,), anchor=anchor, events=EVERYTHING, dwell_s=0.5), path)
    other = events_of(area(include=(mirrored,), anchor=anchor, events=EVERYTHING, dwell_s=0.5), path, mirrored=True)
    assert kinds(straight) == kinds(other)


@settings(max_examples=examples(35))
@given(path=paths, anchor=anchors)
def test_areas_that_overlap_count_once(path: list[tuple[int, int] | None], anchor: str) -> None:
    halves = (
        polygon((300, 200), (450, 200), (450, 400), (300, 400)),
        polygon((350, 200), (500, 200), (500, 400), (350, 400)),
    )
    one = events_of(area(include=(DOOR,), anchor=anchor, events=EVERYTHING), path)
    union = events_of(area(include=halves, anchor=anchor, events=EVERYTHING), path)
    assert kinds(one) == kinds(union)


@settings(max_examples=examples(35))
@given(
    corners=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=7),
    others=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=5),
    box=st.tuples(st.integers(-20, 90), st.integers(-20, 90), st.integers(5, 60), st.integers(5, 60)),
)
def test_shares_agree_with_a_grid_of_points(
    corners: list[tuple[int, int]], others: list[tuple[int, int]], box: tuple[int, int, int, int]
) -> None:
    left, top, width, height = box
    grid = (np.arange(80) + 0.5) / 80
    x, y = np.meshgrid(left + grid * width, top + grid * height)
    cells = np.column_stack((x.ravel(), y.ravel()))
    hits = points_in_polygon(cells, corners) | points_in_polygon(cells, others)
    share = float(shares_in_polygons([(left, top, left + width, top + height)], [corners, others])[0])
    assert share == pytest.approx(hits.mean(), abs=0.12)  # each of twelve edges cuts at most 160 of the 6,400 cells


@settings(max_examples=examples(35))
@given(
    seen=st.lists(st.booleans(), min_size=30, max_size=60),
    first=st.integers(0, 10),
    every=st.integers(0, 10),
)
def test_inside_is_told_when_the_frames_inside_say_so(seen: list[bool], first: int, every: int) -> None:
    rule = area(include=(DOOR,), events=frozenset({Kind.INSIDE}), first=first, every=every, rearm_s=1000.0)
    told = events_of(rule, [(400, 300) if there else None for there in seen])
    expected, frames, last = [], 0, None
    for step, there in enumerate(seen):
        frames += there
        due = there and frames >= first and (last is None or 0 < every <= step - last)
        expected.append([Kind.INSIDE] if due else [])
        last = step if due else last
    assert kinds(told) == expected


def test_thousands_of_tracks_of_one_frame_leave_no_memory() -> None:
    """``PROPERTY_TESTS=search`` has 100,000."""
    rule = area(include=(DOOR,), events=EVERYTHING, rearm_s=0.5, cooldown_s=60.0, every=5)
    a_frame, frames = 100, 1000 if SEARCHING else 150
    for step in range(frames):
        boxes = {step * a_frame + i + 1: person(100 if i % 10 else 400, 300) for i in range(a_frame)}
        rule.update(rule_frame(step, boxes))
        assert len(rule) <= 7 * a_frame
    for step in range(frames, frames + 30):
        rule.update(rule_frame(step, {}))
    assert len(rule) == 0
