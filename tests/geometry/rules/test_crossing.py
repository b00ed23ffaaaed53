"""The rule of kind ``cross``: which crossings it tells, when, and what of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.rule import Conditions, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.rules.weekly import WeeklySchedule, WeeklyWindow
from streamserver.geometry.tracking.linker import Linker
from tests.geometry.rules.rule_frames import SIZE_WH, person, polygon, rule_frame

UPRIGHT = polygon((400, 200), (400, 500))
CORNER = polygon((200, 300), (400, 300), (400, 500))
PointXy = tuple[float, float]


def spec(*lines: np.ndarray, **keys: object) -> RuleSpec:
    return replace(RuleSpec(kind=RuleKind.CROSS, lines=lines or (UPRIGHT,), both_ways=True, every=1), **keys)  # type: ignore[arg-type]


def walk(
    rule: CrossingRule, feet: Sequence[PointXy | None], *, start: int = 0, fps: float = 10, **keys: float
) -> list[RuleEvent]:
    """The events of identity 7."""
    events = []
    for step, foot in enumerate(feet, start):
        seen = {} if foot is None else {7: person(*foot, **keys)}
        events += rule.update(rule_frame(step, seen, clock_s=step / fps))
    return events


def path(*xs: float, y: float = 350) -> list[PointXy]:
    return [(x, y) for x in xs]


def ways(events: Sequence[RuleEvent]) -> list[str]:
    return [event.direction for event in events]


def test_an_event_tells_all_of_it() -> None:
    rule = CrossingRule(spec(polygon((0, 10), (50, 10)), UPRIGHT))
    rule.update(rule_frame(0, {3: person(100, 350), 7: person(380, 350)}))
    (event,) = rule.update(
        rule_frame(1, {3: person(110, 350), 7: person(420.4, 351)}, scores=[0.5, 0.75], classes=[0, 2])
    )
    assert event == RuleEvent(
        kind=Kind.CROSS,
        place=1,
        track_id=7,
        row=1,
        class_id=2,
        score=0.75,
        box_xyxy=(410, 301, 430, 351),
        direction="out",
    )


@pytest.mark.parametrize(
    ("arrow", "both_ways", "told"),
    [
        ((0, 0), True, ["out", "in"]),
        ((0, 0), False, ["out", "in"]),
        ((10, 0), True, ["in", "out"]),
        ((10, 3), False, ["in"]),
        ((-10, 0), True, ["out", "in"]),
        ((-10, 0), False, ["in"]),
        ((0, 5), False, ["out", "in"]),
    ],
)
def test_in_is_along_the_arrow_and_without_one_from_left_to_right(
    arrow: PointXy, both_ways: bool, told: list[str]
) -> None:
    rule = CrossingRule(spec(direction_xy=arrow, both_ways=both_ways))
    assert ways(walk(rule, path(360, 440, 360))) == told


@pytest.mark.parametrize(
    ("feet", "told"),
    [
        ([(300, 250), (300, 350)], ["in"]),
        ([(440, 400), (360, 400)], ["in"]),
        ([(440, 260), (360, 340)], ["in"]),
        ([(360, 340), (400, 300), (440, 260)], ["out"]),
        ([(300, 250), (500, 250), (500, 400)], []),
        ([(300, 250), (397, 303), (403, 297), (440, 250)], []),
        ([(300, 250), (300, 350), (440, 400)], ["in", "out"]),
    ],
)
def test_a_polyline_is_crossed_at_any_part_and_at_a_corner_once(feet: list[PointXy], told: list[str]) -> None:
    assert ways(walk(CrossingRule(spec(CORNER)), feet)) == told


def test_the_arrow_is_judged_against_the_part_that_was_crossed() -> None:
    rule = CrossingRule(spec(CORNER, direction_xy=(10, 10), both_ways=False))
    assert ways(walk(rule, [(300, 250), (300, 350)])) == ["in"]
    rule.reset()
    assert ways(walk(rule, [(360, 400), (440, 400)])) == ["in"]


def test_each_line_is_a_place_of_its_own() -> None:
    rule = CrossingRule(spec(UPRIGHT, polygon((450, 500), (450, 200)), polygon((600, 0), (600, 100))))
    events = walk(rule, path(360, 500, 420, 700))
    assert [(event.place, event.direction) for event in events] == [
        (0, "out"), (1, "in"), (1, "out"), (1, "in"),
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "told_at"), [(0, [1]), (2, [1]), (5, [4]), (8, [])])
def test_a_crossing_waits_until_the_object_was_seen_often_enough(first: int, told_at: list[int]) -> None:
    rule = CrossingRule(spec(first=first))
    boxes = [person(x, 350) for x in (360, 440, 450, 460, 470, 480)]
    assert [step for step, box in enumerate(boxes) if rule.update(rule_frame(step, {7: box}))] == told_at


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"every": 1}, ["out", "in", "out", "in"]),
        ({"every": 0}, ["out", "in"]),
        ({"every": 300}, ["out", "in"]),
        ({"every": 2}, ["out", "in", "out", "in"]),
        ({"every": 1, "cooldown_s": 0.25}, ["out", "in"]),
    ],
)
def test_the_way_back_is_no_repeat_of_the_way_forth(keys: dict[str, float], told: list[str]) -> None:
    assert ways(walk(CrossingRule(spec(**keys)), path(360, 440, 360, 440, 360))) == told


def test_who_was_gone_for_long_enough_is_told_again() -> None:
    rule = CrossingRule(spec(every=0, rearm_s=1.0))
    assert ways(walk(rule, path(360, 440))) == ["out"]
    gone = [None] * 5
    assert ways(walk(rule, [*gone, *path(360, 440)], start=2)) == ["in"]
    assert ways(walk(rule, [*gone, *gone, *gone, *path(360, 440)], start=9)) == ["in", "out"]


def test_outside_the_schedule_crossings_are_followed_but_not_told() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    schedule = WeeklySchedule(berlin, (WeeklyWindow(0, 8 * 60, 9 * 60),))
    rule = CrossingRule(spec(conditions=Conditions(schedule=schedule), first=4))
    monday_us = int(datetime(2026, 11, 16, 7, 59, 59, tzinfo=berlin).timestamp() * 1e6)
    steps = zip((360, 440, 360, 360, 440), (0, 0, 2, 3, 4), strict=True)
    told = [
        event.direction
        for step, (x, second) in enumerate(steps)
        for event in rule.update(rule_frame(step, {7: person(x, 350)}, timestamp_us=monday_us + second * 1_000_000))
    ]
    assert told == ["in", "out"]


def test_who_does_not_qualify_is_not_told() -> None:
    conditions = Conditions(
        classes=(0,), thresholds={0: 0.6}, exclude=(polygon((0, 0), (800, 0), (800, 300), (0, 300)),)
    )
    for score, class_id, y, count in ((0.7, 0, 350, 1), (0.5, 0, 350, 0), (0.7, 2, 350, 0), (0.7, 0, 250, 0)):
        rule = CrossingRule(spec(conditions=conditions))
        frames = [
            rule_frame(i, {7: person(x, y)}, scores=[score], classes=[class_id]) for i, x in enumerate((360, 440))
        ]
        assert sum(len(rule.update(frame)) for frame in frames) == count


@pytest.mark.parametrize(
    ("feet", "told"),
    [
        (path(397, 404, 411), ["out"]),
        (path(403, 396, 389), ["in"]),
        (path(403, 410, 417), []),
        (path(397, 390, 383), []),
        (path(400, 420), []),
        (path(400, 398, 420), ["out"]),
        (path(397, 402, 397, 390), []),
    ],
)
def test_who_is_first_seen_on_the_line_comes_from_the_side_of_its_foot(feet: list[PointXy], told: list[str]) -> None:
    assert ways(walk(CrossingRule(spec()), feet)) == told


@pytest.mark.parametrize(
    ("feet", "told"),
    [
        (path(385, 355, 325), ["in"]),
        (path(385, 380, 375, 300), []),
        (path(385, 377, 355, 300), []),
        (path(340, 310, 280), []),
        (path(385, 385, 355, 300), []),
        (path(385, 415, 445), ["out"]),
        ([(385, 550), (355, 550)], []),
    ],
)
def test_who_is_first_seen_with_its_box_on_the_line_and_moves_on_quickly_comes_from_there(
    feet: list[PointXy], told: list[str]
) -> None:
    assert ways(walk(CrossingRule(spec()), feet, width=40, fps=2)) == told


@pytest.mark.parametrize(("after", "told"), [([], []), ([(0, 390)], []), ([(90, 390)], ["in"])])
def test_an_arm_that_reaches_in_crosses_nothing_before_it_is_more(
    after: list[tuple[float, float]], told: list[str]
) -> None:
    rule = CrossingRule(spec(polygon((100, 300), (700, 300)), direction_xy=(0, 1)))
    edges = [(0, 200), (0, 250), (0, 350), (0, 250), (0, 350), (0, 390), *after]
    frames = [rule_frame(step, {7: (380, top, 480, bottom)}) for step, (top, bottom) in enumerate(edges)]
    assert ways([event for frame in frames for event in rule.update(frame)]) == told


def test_nobody_comes_from_farther_than_it_can_have_run() -> None:
    assert walk(CrossingRule(spec()), path(385, 355, 325), width=40, fps=10) == []


LEVEL = polygon((100, 300), (700, 300))


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ([(220, 320), (220, 320), (221, 270), (220, 265), (219, 320)], []),
        ([(220, 320), (220, 320), (221, 270), (212, 270), (180, 280)], ["out"]),
        ([(220, 320), (220, 320), (170, 270), (170, 270)], ["out"]),
        ([(220, 320), (220, 320), (220, 270)] + 30 * [(220, 270)], ["out"]),
        ([(190, 290), (190, 290), (250, 320)], ["in"]),
        ([(0, 320), (0, 320), (0, 250), (0, 250), (30, 250)], ["out"]),
    ],
    ids=["hidden and back", "hidden on the way", "walks", "hidden for good", "bends down", "cut off above"],
)
def test_feet_that_are_hidden_are_where_they_would_be(edges: list[tuple[float, float]], told: list[str]) -> None:
    rule = CrossingRule(spec(LEVEL, direction_xy=(0, 1)))
    events = [
        event
        for step, (top, bottom) in enumerate(edges)
        for event in rule.update(rule_frame(step, {7: (380, top, 420, bottom)}))
    ]
    assert ways(events) == told


def test_a_track_comes_from_where_the_tracker_first_saw_it() -> None:
    def told(born: list[list[float]] | None) -> list[str]:
        found = Detections.from_arrays([person(430, 350)], [0.9], [0], [7])
        births = None if born is None else np.array(born, dtype=np.float32)
        frame = RuleFrame(
            step=5, clock_s=0.5, timestamp_us=0, size_wh=SIZE_WH,
            detections=replace(found, born_xyxy=births), identities=np.array([7]),
        )  # fmt: skip
        return ways(CrossingRule(spec()).update(frame))

    assert told([list(person(340, 350))]) == ["out"]
    assert told([list(person(425, 350))]) == told([[np.nan] * 4]) == told(None) == []


def test_one_that_was_lost_and_is_found_under_another_number_counts_once() -> None:
    rule, linker = CrossingRule(spec()), Linker()
    tracks = [(1, 340), (1, 355), (1, 370), (1, 385), None, None, (2, 430), (2, 445), None, (3, 475), (3, 490)]
    events = []
    for step, track in enumerate(tracks):
        boxes = [] if track is None else [person(track[1], 350)]
        ids = np.array([] if track is None else [track[0]], dtype=np.int64)
        identities = linker.update(step / 10, ids, boxes, np.zeros(len(ids), np.int64), SIZE_WH)
        events += rule.update(rule_frame(step, dict(zip(identities.tolist(), boxes, strict=True))))
    assert [(event.track_id, event.direction) for event in events] == [(1, "out")]


def test_a_reset_forgets_everybody() -> None:
    rule = CrossingRule(spec())
    walk(rule, path(360, 380))
    assert len(rule) == 1
    rule.reset()
    assert len(rule) == 0
    assert walk(rule, path(440), start=2) == []


def test_points_that_make_no_line_are_refused() -> None:
    with pytest.raises(ValueError, match="two different points"):
        CrossingRule(spec(polygon((5, 5), (5, 5))))
