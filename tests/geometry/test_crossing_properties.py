"""What holds for any way that somebody goes: one event for each crossing, none for standing on the line."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections
from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule import Rule, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.tracking.linker import Linker
from streamserver.geometry.tripwire import band_px
from tests.geometry.counting import across
from tests.searching import SEARCHING, examples

SIZE_WH = (1000, 800)
MIDDLE = (500.0, 400.0)
HALF_LENGTH = 300.0
FPS = 10
MAX_LOST = 10

Feet = Sequence[PointXy | None]
"""Where a track's foot is in each frame; ``None`` where the track is not seen."""

ANGLES = st.floats(0, 2 * math.pi)
HEIGHTS = st.floats(20, 200)
TREMBLING = st.tuples(st.floats(-3, 3), st.floats(-3, 3))


def at(angle: float, along: float, off: float) -> PointXy:
    """A point seen from the line's middle: ``along`` it, and ``off`` to its right."""
    cos, sin = math.cos(angle), math.sin(angle)
    return MIDDLE[0] + along * cos - off * sin, MIDDLE[1] + along * sin + off * cos


def line(angle: float) -> RuleSpec:
    return across(at(angle, -HALF_LENGTH, 0), at(angle, HALF_LENGTH, 0))


def watched(rule: Rule, feet: Feet, *, height: float = 60) -> list[RuleEvent]:
    """The events of one track, with its identity from a linker."""
    linker, events = Linker(), []
    for step, foot in enumerate(feet):
        x, y = foot or (0, 0)
        boxes = [] if foot is None else [(x - height / 6, y - height, x + height / 6, y)]
        ids = np.ones(len(boxes), dtype=np.int64)
        found = Detections.from_arrays(boxes, np.ones(len(boxes)), np.zeros(len(boxes)), ids)
        events += rule.update(frame_of(found, step, linker))
    return events


def frame_of(found: Detections, step: int, linker: Linker, *, fps: float = FPS) -> RuleFrame:
    clock_s = step / fps
    identities = linker.update(clock_s, found.track_ids, found.boxes_xyxy, found.class_ids, SIZE_WH)
    return RuleFrame(
        step=step, clock_s=clock_s, timestamp_us=0, size_wh=SIZE_WH, detections=found, identities=identities
    )


def ways(events: Sequence[RuleEvent]) -> str:
    return "".join({"in": "I", "out": "O"}[event.direction] for event in events)


@st.composite
def walks(draw: st.DrawFn) -> tuple[float, list[PointXy], list[float]]:
    """A line's angle, feet of a walk to and fro through it, trembling, and how far off the line each is in truth."""
    angle = draw(ANGLES)
    stations = draw(st.lists(st.tuples(st.floats(60, 150), st.floats(-200, 200)), min_size=2, max_size=6))
    side = draw(st.sampled_from([1, -1]))
    turns = [(along, off * side * (-1) ** i) for i, (off, along) in enumerate(stations)]
    offs, feet = [], []
    for (along, off), (next_along, next_off) in itertools.pairwise(turns):
        steps = draw(st.integers(6, 25))
        for share in np.arange(steps) / steps:
            offs.append(off + share * (next_off - off))
            x, y = at(angle, along + share * (next_along - along), offs[-1])
            dx, dy = draw(TREMBLING)
            feet.append((x + dx, y + dy))
    along, off = turns[-1]
    return angle, [*feet, at(angle, along, off)], [*offs, off]


def sides(offs: Sequence[float], clear_px: float) -> str:
    """The sides on which a foot is clearly, one after another: I for the positive one, where a way in ends."""
    seen = ["I" if off > 0 else "O" for off in offs if abs(off) > clear_px]
    return "".join(side for side, _ in itertools.groupby(seen))


@given(angle=ANGLES, along=st.floats(-HALF_LENGTH, HALF_LENGTH), height=HEIGHTS, data=st.data())
@settings(max_examples=examples(20))
def test_trembling_by_3_px_on_the_line_is_no_crossing(
    angle: float, along: float, height: float, data: st.DataObject
) -> None:
    x, y = at(angle, along, 0)
    trembling = data.draw(st.lists(TREMBLING, min_size=1, max_size=40))
    assert watched(CrossingRule(line(angle)), [(x + dx, y + dy) for dx, dy in trembling], height=height) == []


@given(points=st.lists(st.tuples(st.integers(100, 900), st.integers(100, 700)), min_size=3, max_size=6), data=st.data())
@settings(max_examples=examples(20))
def test_trembling_on_a_polyline_with_corners_is_no_crossing(points: list[PointXy], data: st.DataObject) -> None:
    points = [point for point, _ in itertools.groupby(points)]
    if len(points) < 2:
        return
    (x, y), (next_x, next_y) = data.draw(st.sampled_from(list(itertools.pairwise(points))))
    share = data.draw(st.floats(0, 1))
    x, y = x + share * (next_x - x), y + share * (next_y - y)
    trembling = data.draw(st.lists(TREMBLING, min_size=1, max_size=40))
    assert watched(CrossingRule(across(*points)), [(x + dx, y + dy) for dx, dy in trembling]) == []


@given(walk=walks())
@settings(max_examples=examples(20))
def test_each_true_crossing_is_one_event_that_tells_its_way(
    walk: tuple[float, list[PointXy], list[float]],
) -> None:
    angle, feet, offs = walk
    assert ways(watched(CrossingRule(line(angle)), feet)) == sides(offs, 60 - 1e-6)[1:]


@given(walk=walks())
@settings(max_examples=examples(20))
def test_a_line_with_more_points_or_from_its_end_tells_the_same(
    walk: tuple[float, list[PointXy], list[float]],
) -> None:
    angle, feet, _ = walk
    plain = ways(watched(CrossingRule(line(angle)), feet))
    points = [at(angle, along, 0) for along in (-HALF_LENGTH, -77.5, 0, 0, 123, HALF_LENGTH)]
    assert ways(watched(CrossingRule(across(*points)), feet)) == plain
    assert ways(watched(CrossingRule(across(*points[::-1])), feet)) == plain.translate(str.maketrans("IO", "OI"))


@given(points=st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=2, max_size=30))
@settings(max_examples=examples(25))
def test_mirrored_ways_mirror_the_direction(points: list[tuple[int, int]]) -> None:
    feet = [(MIDDLE[0] + off, MIDDLE[1] + along) for off, along in points]
    mirrored = [(MIDDLE[0] - off, MIDDLE[1] + along) for off, along in points]
    upright = across((MIDDLE[0], 100.0), (MIDDLE[0], 700.0))
    events = ways(watched(CrossingRule(upright), feet))
    assert ways(watched(CrossingRule(upright), mirrored)) == events.translate(str.maketrans("IO", "OI"))
    arrow, back = replace(upright, direction_xy=(5.0, 1.0)), replace(upright, direction_xy=(-5.0, 1.0))
    assert ways(watched(CrossingRule(arrow), feet)) == ways(watched(CrossingRule(back), mirrored))
    one_way = ways(watched(CrossingRule(replace(arrow, both_ways=False)), feet))
    assert one_way == ways(watched(CrossingRule(arrow), feet)).replace("O", "")


@given(walk=walks(), data=st.data())
@settings(max_examples=examples(20))
def test_dropping_30_percent_of_the_frames_loses_no_crossing_that_is_seen_on_both_sides(
    walk: tuple[float, list[PointXy], list[float]], data: st.DataObject
) -> None:
    angle, feet, offs = walk
    dropped = data.draw(st.sets(st.integers(0, len(feet) - 1), max_size=int(0.3 * len(feet))))
    kept = [None if i in dropped else foot for i, foot in enumerate(feet)]
    clear_px = band_px(60, SIZE_WH[1]) + 3 * math.sqrt(2)
    seen = sides([off for i, off in enumerate(offs) if i not in dropped], clear_px)
    events = ways(watched(CrossingRule(line(angle)), kept))
    assert seen[1:] in events
    assert events in sides(offs, 60 - 1e-6)


AREA = np.array([(300, 200), (700, 200), (700, 600), (300, 600)], dtype=np.float64)
AREAS = RuleSpec(kind=RuleKind.AREA, include=(AREA,), events=frozenset({Kind.ENTER, Kind.LEAVE}), max_lost=MAX_LOST)
RULES: dict[str, Callable[[], Rule]] = {
    "cross": lambda: CrossingRule(replace(line(0.3), max_lost=MAX_LOST)),
    "area": lambda: AreaRule(AREAS),
    "flow area": lambda: FlowRule(replace(AREAS, kind=RuleKind.FLOW)),
    "flow line": lambda: FlowRule(replace(line(0.3), kind=RuleKind.FLOW, max_lost=MAX_LOST)),
}


@cache
def crowd(step: int, *, size: int, fps: float = 1) -> RuleFrame:
    """A frame full of tracks that are seen in no other."""
    corners = np.random.default_rng(step).uniform((0, 0), (970, 720), (size, 2))
    boxes = np.hstack((corners, corners + np.array((30, 80))))
    ids = np.arange(size, dtype=np.int64) + size * step + 1
    found = Detections.from_arrays(boxes, np.ones(size), np.zeros(size), ids)
    return RuleFrame(step=step, clock_s=step / fps, timestamp_us=0, size_wh=SIZE_WH, detections=found, identities=ids)


@pytest.mark.parametrize("name", RULES)
def test_thousands_of_tracks_of_one_frame_leave_nothing(name: str) -> None:
    """Four times as many frames as one that is lost is remembered for; ``PROPERTY_TESTS=search`` has 100,000 tracks."""
    rule, size = RULES[name](), 2000 if SEARCHING else 200
    for step in range(50):
        rule.update(crowd(step, size=size))
        assert len(rule) <= (MAX_LOST + 2) * size
    for step in range(50, 65):
        rule.update(crowd(step, size=0))
    assert len(rule) == 0
