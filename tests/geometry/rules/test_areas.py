from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.rule import Conditions, RuleKind, RuleSpec
from streamserver.geometry.rules.weekly import WeeklySchedule, WeeklyWindow
from tests.geometry.rules.rule_frames import FPS, BoxXyxy, person, polygon, rule_frame

DOOR = polygon((300, 200), (500, 200), (500, 400), (300, 400))
MAT = polygon((550, 200), (700, 200), (700, 400), (550, 400))
OUT_AT, IN_AT = person(100, 300), person(400, 300)
O, I, M = OUT_AT, IN_AT, None  # outside, inside, missed  # noqa: E741
ENTER_LEAVE = frozenset({Kind.ENTER, Kind.LEAVE})
STEPS = 10**6

Path = Sequence[BoxXyxy | None]


def area(events: frozenset[Kind] | set[Kind], **options: Any) -> AreaRule:
    spec = RuleSpec(kind=RuleKind.AREA, include=(DOOR,), events=frozenset(events))
    return AreaRule(replace(spec, **options))


def watch(rule: AreaRule, path: Path, *, start: int = 0, identity: int = 7) -> list[tuple[int, RuleEvent]]:
    """What the rule tells of one object on its way, each with its frame, counted from ``start``."""
    told = []
    for step, box in enumerate(path, start):
        told += [(step, event) for event in rule.update(rule_frame(step, {} if box is None else {identity: box}))]
    return told


def kinds(told: list[tuple[int, RuleEvent]]) -> list[tuple[int, str]]:
    return [(step, event.kind.value) for step, event in told]


def test_coming_in_and_going_out_are_told_with_all_that_a_report_needs() -> None:
    (at_enter, enter), (at_leave, leave) = watch(area(ENTER_LEAVE), [O, O, *[I] * 10, O, O])
    assert (at_enter, at_leave) == (2, 12)
    box = (390, 250, 410, 300)
    here = {"track_id": 7, "row": 0, "class_id": 0, "score": pytest.approx(0.9), "box_xyxy": box}
    assert enter == RuleEvent(kind=Kind.ENTER, direction="in", count=1, **here)
    times = {"stay_s": pytest.approx(0.9), "leave_s": pytest.approx(0.1)}
    assert leave == RuleEvent(kind=Kind.LEAVE, direction="out", count=0, **here, **times)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([I, I, O], [(2, "leave")]),
        ([O, I, I], [(1, "enter")]),
        ([M, I, I, O], [(1, "enter"), (3, "leave")]),
        ([O, I, M, M, I, O], [(1, "enter"), (5, "leave")]),
        ([O, I, *[M] * 49, I], [(1, "enter")]),
        ([O, I, *[M] * 50, I], [(1, "enter"), (51, "leave"), (52, "enter")]),
        ([O, I, O, *[M] * 60, I], [(1, "enter"), (2, "leave"), (63, "enter")]),
        ([O, I, O, I, O], [(1, "enter"), (2, "leave"), (3, "enter"), (4, "leave")]),
        ([O, O, O], []),
    ],
    ids=[
        "who is there in the first frame only leaves",
        "from outside",
        "first seen inside",
        "missed for a moment",
        "unseen, but not long enough",
        "unseen for so long that it is gone",
        "gone after it left",
        "twice",
        "never",
    ],
)
def test_entries_and_exits(path: Path, expected: list[tuple[int, str]]) -> None:
    assert kinds(watch(area(ENTER_LEAVE), path)) == expected


def test_who_is_gone_is_told_where_it_was_last_inside() -> None:
    (_, leave), *rest = watch(area({Kind.LEAVE}), [O, I, person(420, 310), *[M] * 60])
    assert not rest
    assert (leave.row, leave.box_xyxy, leave.track_id) == (-1, (410, 260, 430, 310), 7)
    assert leave.stay_s == pytest.approx(0.1)
    assert leave.leave_s == pytest.approx(5.0)


def test_only_events_that_are_asked_for_are_told() -> None:
    path = [O, *[I] * 40, O]
    assert kinds(watch(area({Kind.ENTER}), path)) == [(1, "enter")]
    assert kinds(watch(area({Kind.LEAVE}), path)) == [(41, "leave")]
    assert kinds(watch(area(set()), path)) == []
    every = {Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL, Kind.OCCUPANCY}
    told = watch(area(every, dwell_s=2.0, first=2), path)
    assert kinds(told) == [(1, "enter"), (1, "occupancy"), (2, "inside"), (21, "dwell"), (41, "leave")]


@pytest.mark.parametrize(
    ("first", "every", "expected"),
    [(0, 0, [1]), (1, 0, [1]), (5, 0, [5]), (5, 10, [5, 15, 25]), (0, 1, list(range(1, 30)))],
)
def test_who_is_inside_is_told_after_some_frames_and_again(first: int, every: int, expected: list[int]) -> None:
    told = watch(area({Kind.INSIDE}, first=first, every=every), [O, *[I] * 29])
    assert [step for step, _ in told] == expected
    assert all(event.kind is Kind.INSIDE and event.count == 1 and event.direction == "" for _, event in told)
    assert [event.stay_s for _, event in told] == pytest.approx([(step - 1) / FPS for step in expected])


def test_frames_in_which_an_object_was_missed_only_delay_its_inside() -> None:
    assert kinds(watch(area({Kind.INSIDE}, first=5), [O, I, M, I, M, M, I, I, I, I])) == [(8, "inside")]
    assert kinds(watch(area({Kind.INSIDE}, first=5), [O, I, I, O, I, I, O, I, I, I, I, I])) == [(11, "inside")]


def test_inside_is_told_anew_when_the_object_was_gone_for_the_rearm_time() -> None:
    back = [I, I, *[O] * 30, I, *[O] * 55, I, I]
    assert kinds(watch(area({Kind.INSIDE}), back)) == [(0, "inside"), (88, "inside")]
    assert kinds(watch(area({Kind.INSIDE}, rearm_s=2.0), back)) == [(0, "inside"), (32, "inside"), (88, "inside")]


def test_a_cool_down_keeps_repeats_apart() -> None:
    assert [step for step, _ in watch(area({Kind.INSIDE}, every=1, cooldown_s=1.5), [I] * 40)] == [0, 15, 30]


def test_an_entry_in_the_cool_down_goes_without_its_exit() -> None:
    path = [O, I, O, I, O, *[O] * 10, I, O]
    rule = area(ENTER_LEAVE, cooldown_s=1.2)
    assert kinds(watch(rule, path)) == [(1, "enter"), (2, "leave"), (15, "enter"), (16, "leave")]
    assert kinds(watch(area({Kind.LEAVE}, cooldown_s=1.2), path)) == [(2, "leave"), (16, "leave")]
    assert kinds(watch(area({Kind.ENTER}, cooldown_s=1.2), path)) == [(1, "enter"), (15, "enter")]


def test_what_was_done_before_the_first_report_is_told_then_or_never() -> None:
    told = watch(area(ENTER_LEAVE, first=8), [O, O, I, I, O, person(110, 300), I, person(410, 300)])
    assert kinds(told) == [(7, "enter"), (7, "leave"), (7, "enter")]
    assert [event.row for _, event in told] == [0, 0, 0]
    assert told[1][1].stay_s == pytest.approx(0.1)
    assert [event.box_xyxy[0] for _, event in told] == [400, 390, 400]
    assert kinds(watch(area(ENTER_LEAVE, first=8), [O, O, I, I, I, *[M] * 100])) == []


def test_loitering_is_told_once_a_stay() -> None:
    path = [O, *[I] * 50, O, *[I] * 25, O]
    assert kinds(watch(area({Kind.DWELL}, dwell_s=2.0), path)) == [(21, "dwell"), (72, "dwell")]
    told = watch(area({Kind.DWELL}, dwell_s=2.0), [O, *[I] * 10, *[M] * 20, *[I] * 5])
    assert kinds(told) == [(31, "dwell")]
    assert told[0][1].stay_s == pytest.approx(3.0)
    assert kinds(watch(area({Kind.DWELL}, dwell_s=2.0, cooldown_s=6.0), path + [I] * 50)) == [
        (21, "dwell"),
        (98, "dwell"),
    ]


def test_the_time_of_a_stay_is_the_sources_own() -> None:
    rule, told = area({Kind.DWELL}, dwell_s=60.0), []
    for step in range(10):
        told += [step for _ in rule.update(rule_frame(step, {7: IN_AT}, clock_s=20.0 * step))]
    assert told == [3]


def crowd(n: int, *, x: float = 320) -> dict[int, BoxXyxy]:
    return {i + 1: person(x + 20 * i, 300) for i in range(n)}


def test_too_many_are_told_once_and_again_while_it_lasts() -> None:
    rule = area({Kind.OCCUPANCY}, occupancy_above=2, every=10)
    counts = [0, 2, 3, *[4] * 24, 2, 2, 2]
    told = [(step, event) for step, n in enumerate(counts) for event in rule.update(rule_frame(step, crowd(n)))]
    assert [step for step, _ in told] == [2, 12, 22]
    first = told[0][1]
    assert first == RuleEvent(kind=Kind.OCCUPANCY, box_xyxy=(310, 250, 370, 300), count=3)
    assert told[1][1].count == 4


def test_too_many_are_told_anew_when_it_was_over_for_the_rearm_time() -> None:
    rule = area({Kind.OCCUPANCY}, occupancy_above=2, rearm_s=1.0)
    outside = {3: OUT_AT}
    told = []
    for step, many in enumerate([1, 1, 0, 1, 1, *[0] * 8, 1, *[0] * 11, 1]):
        boxes = crowd(3) if many else crowd(2) | outside
        told += [step for _ in rule.update(rule_frame(step, boxes))]
    assert told == [0, 25]


def test_a_detector_that_blinks_makes_no_new_crowd_and_a_track_of_few_frames_none() -> None:
    rule = area({Kind.OCCUPANCY}, occupancy_above=2, rearm_s=0.0, first=3)
    told = []
    for step in range(60):
        boxes = crowd(3 if step % 3 else 2) | {100 + step: person(400, 250)}
        told += [event.count for event in rule.update(rule_frame(step, boxes))]
    assert told == [3]


def test_everybody_inside_is_counted_in_each_event() -> None:
    rule = area({Kind.ENTER, Kind.INSIDE})
    rule.update(rule_frame(0, {}))
    events = rule.update(rule_frame(1, crowd(4) | {9: OUT_AT}))
    assert [(event.kind, event.track_id, event.row, event.count) for event in events] == [
        (kind, i + 1, i, 4) for i in range(4) for kind in (Kind.ENTER, Kind.INSIDE)
    ]


@pytest.mark.parametrize(
    ("frame_s", "missed", "count"), [(0.1, 10, 2), (0.1, 11, 1), (30.0, 2, 2), (30.0, 3, 1)], ids=str
)
def test_who_is_missed_for_a_moment_is_still_counted(frame_s: float, missed: int, count: int) -> None:
    rule = area({Kind.INSIDE}, every=1, rearm_s=1000.0)
    rule.update(rule_frame(0, crowd(2), clock_s=0.0))
    for step in range(1, missed + 1):
        events = rule.update(rule_frame(step, crowd(1), clock_s=step * frame_s))
    assert [event.count for event in events] == [count]


def at(hour: int, minute: int, tenth: int) -> int:
    monday_us = 1_780_272_000_000_000  # 1 June 2026, 00:00 UTC
    return monday_us + (hour * 3600 + minute * 60) * 1_000_000 + tenth * 100_000


def test_outside_the_schedule_all_are_followed_and_nothing_is_told() -> None:
    schedule = WeeklySchedule(ZoneInfo("UTC"), (WeeklyWindow(0, 540, 600),))
    events = {Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL, Kind.OCCUPANCY}
    rule = area(events, dwell_s=2.0, conditions=Conditions(schedule=schedule))
    told = []
    for step in range(100):
        boxes = {
            1: OUT_AT if step < 10 else IN_AT,
            2: IN_AT if step < 30 else OUT_AT,
            3: IN_AT if step < 60 else OUT_AT,
        }
        stamp = at(8, 59, 550 + step)  # the schedule opens with frame 50
        told += [(step, e.kind.value, e.track_id) for e in rule.update(rule_frame(step, boxes, timestamp_us=stamp))]
    assert told == [
        (50, "inside", 1),
        (50, "dwell", 1),
        (50, "inside", 3),
        (50, "dwell", 3),
        (50, "occupancy", 0),
        (60, "leave", 3),
    ]


def test_an_entry_outside_the_schedule_has_its_exit_inside_also_after_one_that_was_withheld() -> None:
    schedule = WeeklySchedule(ZoneInfo("UTC"), (WeeklyWindow(0, 540, 600),))
    rule = area(ENTER_LEAVE, cooldown_s=60.0, conditions=Conditions(schedule=schedule))
    told = []
    for step, box in enumerate([O, I, O, I, O, I, I, O]):  # closed in frames 4 and 5
        stamp = at(8 if step in (4, 5) else 9, 30, step)
        told += [(step, e.kind.value) for e in rule.update(rule_frame(step, {1: box}, timestamp_us=stamp))]
    assert told == [(1, "enter"), (2, "leave"), (7, "leave")]


def test_areas_are_a_union_with_a_number_for_each() -> None:
    rule = area(ENTER_LEAVE, include=(DOOR, MAT, DOOR))
    path = [O, *(person(x, 300) for x in (400, 499, 503, 530, 600, 610)), O]
    told = watch(rule, path)
    assert [(step, event.kind.value, event.place) for step, event in told] == [
        (1, "enter", 0),
        (4, "leave", 0),
        (5, "enter", 1),
        (7, "leave", 1),
    ]


def test_without_areas_everywhere_is_inside_but_in_excluded_ones() -> None:
    rule = area({*ENTER_LEAVE, Kind.INSIDE}, include=(), conditions=Conditions(exclude=(MAT,)))
    told = watch(rule, [M, O, I, person(600, 300), person(600, 310), I, O])
    assert kinds(told) == [(1, "enter"), (1, "inside"), (3, "leave"), (5, "enter")]


def test_a_part_of_the_area_may_be_excluded() -> None:
    middle = polygon((380, 200), (420, 200), (420, 400), (380, 400))
    rule = area(ENTER_LEAVE, conditions=Conditions(exclude=(middle,)))
    path = [person(x, 300) for x in (100, 350, 400, 421, 450, 600)]
    assert kinds(watch(rule, path)) == [(1, "enter"), (2, "leave"), (4, "enter"), (5, "leave")]


def test_conditions_hold_and_a_frame_in_which_they_do_not_is_a_missed_one() -> None:
    rule = area({*ENTER_LEAVE, Kind.INSIDE}, conditions=Conditions(classes=(0,), thresholds={0: 0.6}, min_px=30))
    rows = [(O, 0.7, 0), (I, 0.2, 0), (I, 0.9, 2), (person(400, 300, height=20), 0.9, 0), (I, 0.7, 0), (O, 0.7, 0)]
    told = []
    for step, (box, score, class_id) in enumerate(rows):
        told += [
            (step, e.kind.value) for e in rule.update(rule_frame(step, {7: box}, scores=[score], classes=[class_id]))
        ]
    assert told == [(1, "enter"), (1, "inside"), (5, "leave")]


def test_objects_without_a_track_are_nobody() -> None:
    assert watch(area({Kind.INSIDE, Kind.OCCUPANCY, Kind.ENTER}), [O, I, I], identity=0) == []


def test_two_rows_of_one_identity_are_one_object() -> None:
    rule = area({Kind.ENTER})
    rule.update(rule_frame(0, {}))
    frame = rule_frame(1, {7: IN_AT, 8: OUT_AT})
    frame.identities[1] = 7
    assert [(event.row, event.count) for event in rule.update(frame)] == [(0, 1)]
    assert rule.update(frame) == []


def test_after_a_reset_who_is_there_was_there_before() -> None:
    rule = area({*ENTER_LEAVE, Kind.INSIDE, Kind.OCCUPANCY})
    assert kinds(watch(rule, [O, I])) == [(1, "enter"), (1, "inside"), (1, "occupancy")]
    rule.reset()
    assert len(rule) == 0
    assert kinds(watch(rule, [I, O], start=100)) == [(100, "inside"), (100, "occupancy"), (101, "leave")]
