from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.arrays import Detections
from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule import Conditions, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.rules.weekly import WeeklySchedule
from tests.geometry.counting import ways as counted
from tests.geometry.walks import six_people
from tests.searching import examples

SIZE = (640, 360)
WIDE, TALL = 40.0, 100.0
DOOR = ((400, 0), (640, 0), (640, 360), (400, 360))
THIRD = ((512, 0), (768, 0), (768, 432), (512, 432))
WHOLE = ((0, 0), (640, 0), (640, 360), (0, 360))
FEW = settings(max_examples=examples(25))

Seen = dict[int, float | tuple[float, float]]
"""Who is seen in a frame, and where the foot is: x, or x and y."""


def rule(*areas: Sequence[tuple[float, float]], **spec: Any) -> FlowRule:
    include = tuple(np.array(area, dtype=np.float64) for area in areas)
    return FlowRule(RuleSpec(kind=RuleKind.FLOW, include=include, **spec))


def frame(step: int, seen: Seen, *, every_s: float = 0.1, timestamp_us: int = 0, **more: Any) -> RuleFrame:
    feet = [(foot, 300.0) if isinstance(foot, float | int) else foot for foot in seen.values()]
    boxes = np.array([(x - WIDE / 2, y - TALL, x + WIDE / 2, y) for x, y in feet], np.float32).reshape(-1, 4)
    ids = np.array(list(seen), dtype=np.int64)
    found = Detections.from_arrays(boxes, np.full(len(ids), 0.8), np.zeros(len(ids)), ids)
    return RuleFrame(
        step=step,
        clock_s=step * every_s,
        timestamp_us=timestamp_us,
        size_wh=SIZE,
        detections=replace(found, **more),
        identities=ids,
    )


def play(one: FlowRule, frames: Iterable[Seen], **more: Any) -> list[RuleEvent]:
    return [event for step, seen in enumerate(frames) for event in one.update(frame(step, seen, **more))]


def ways(events: Iterable[RuleEvent]) -> list[str]:
    return [event.direction for event in events if event.kind is Kind.FLOW]


def walk(*xs: float, frames: int = 20, who: int = 1) -> list[Seen]:
    """Somebody goes from place to place, ``frames`` frames each way."""
    legs = [np.linspace(start, end, frames, endpoint=False) for start, end in itertools.pairwise(xs)]
    return [{who: float(x)} for x in (*itertools.chain(*legs), xs[-1])]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        pytest.param((200, 550), ["in"], id="comes in"),
        pytest.param((550, 200), ["out"], id="was there and goes out"),
        pytest.param((200, 550, 200), ["in", "out"], id="in and out"),
        pytest.param((200, 550, 200, 550), ["in", "out", "in"], id="in, out and in"),
        pytest.param((620, 500), [], id="appears at the border inside"),
        pytest.param((500, 620), [], id="vanishes inside"),
        pytest.param((100, 380), [], id="stays outside"),
        pytest.param((200, 404, 200), [], id="touches the edge"),
        pytest.param((405, 560), ["in"], id="is first seen right behind the edge and walks in"),
        pytest.param((405, 380, 405, 380), ["out"], id="is first seen right behind the edge and walks out"),
        pytest.param((408, 408), [], id="stands right behind the edge"),
        pytest.param((395, 560), ["in"], id="is first seen right before the edge"),
    ],
)
def test_who_comes_into_an_area_and_goes_out_counts(way: tuple[float, ...], expected: list[str]) -> None:
    one = rule(DOOR)
    assert ways(play(one, walk(*way))) == expected
    assert (one.current, one.present) == ((1, {1}) if way[-1] > 405 else (0, frozenset()))


@pytest.mark.parametrize("anchor", ["foot", "center", "box", "share"])
def test_any_anchor_counts(anchor: str) -> None:
    assert ways(play(rule(DOOR, anchor=anchor), walk(200, 550, 200))) == ["in", "out"]


def test_an_event_tells_who_where_and_how_many_are_there() -> None:
    frames = [{**first, **second} for first, second in zip(walk(500, 520), walk(200, 550, who=7), strict=True)]
    one = rule(((400, 0), (500, 0), (500, 100)), DOOR)
    [came] = play(one, frames)
    assert (came.kind, came.track_id, came.direction, came.place, came.count) == (Kind.FLOW, 7, "in", 1, 2)
    assert (came.row, came.class_id, came.stay_s) == (1, 0, None) and came.box_xyxy[3] == 300
    assert came.score == pytest.approx(0.8)


def test_who_goes_out_tells_how_long_it_stayed() -> None:
    frames = walk(200, 550) + [{1: 550.0}] * 100 + walk(550, 200)
    came, gone = play(rule(DOOR), frames)
    assert (came.direction, gone.direction, gone.count) == ("in", "out", 0)
    assert gone.stay_s == pytest.approx(12.0, abs=1.0)


def test_who_vanishes_inside_is_not_there_any_more_but_a_missed_frame_does_not_matter() -> None:
    one = rule(DOOR, first=0)
    play(one, [*walk(200, 550), *([{}] * 5)])
    assert one.current == 1
    play(one, [*walk(200, 550), *([{}] * 30)])
    assert one.current == 0


@pytest.mark.parametrize("areas", [(), (WHOLE,), (WHOLE, DOOR)], ids=["none", "the whole picture", "and one in it"])
def test_without_an_area_each_person_that_passes_the_view_counts_once(areas: Any) -> None:
    one = rule(*areas)
    frames = walk(50, 600) + [{}] * 60
    events = play(one, [*frames[:9], {}, {}, *frames[11:]])
    assert ways(events) == ["in", "out"]
    assert [event.count for event in events] == [1, 0]
    assert events[1].row == -1 and events[1].stay_s == pytest.approx(2.0, abs=0.2)
    assert len(one) == 0


def test_an_arm_that_reaches_into_the_picture_is_nobody() -> None:
    arm: list[Seen] = [{1: (100.0 + step % 19, TALL + step % 5)} for step in range(60)]
    assert play(rule(), arm) == []
    assert ways(play(rule(), [*arm, {1: (100.0, TALL + 20)}])) == ["in"]


def test_somebody_whose_head_is_never_seen_counts_for_walking() -> None:
    assert ways(play(rule(), [{1: (100.0 + 4 * step, TALL)} for step in range(20)])) == ["in"]


@pytest.mark.parametrize("first", [0, 1, 2, 20])
def test_short_false_detections_count_nowhere(first: int) -> None:
    flashes: list[Seen] = [{step: 50.0 + step} if step % 3 == 0 else {} for step in range(300)]
    assert play(rule(first=first), flashes) == []


@pytest.mark.parametrize("first", [0, 20])
def test_who_is_there_for_a_second_counts_however_many_frames_were_looked_at(first: int) -> None:
    assert ways(play(rule(first=first), walk(50, 100, frames=4), every_s=0.5)) == ["in"]
    assert ways(play(rule(first=first), walk(50, 100, frames=4), every_s=0.1)) == []


@pytest.mark.parametrize("first", [0, 20])
def test_who_crosses_a_line_counts_after_a_second_too(first: int) -> None:
    line = np.array([(400, 0), (400, 360)], dtype=np.float64)
    one = rule(lines=(line,), first=first)
    told = [ways(one.update(frame(step, {1: 340.0 + 20 * step}))) for step in range(12)]
    assert told == [[]] * 10 + [["out"], []]
    assert play(rule(lines=(line,), first=first), walk(340, 460, frames=8)) == []


def test_an_area_beside_the_picture_is_not_all_of_it() -> None:
    beside = ((700, 0), (900, 0), (900, 360), (700, 360))
    one = rule(beside)
    assert play(one, walk(50, 600)) == [] and one.current == 0


def test_at_the_end_those_went_out_who_had_gone_by_then() -> None:
    one = rule()
    frames: list[Seen] = [{1: 100.0 + step, 2: 400.0 + step} for step in range(20)]
    frames += [{1: 130.0 + step} for step in range(20)]
    assert ways(play(one, frames)) == ["in", "in"]
    [gone] = one.end(frame(40, {}))
    assert (gone.track_id, gone.direction, gone.row, gone.stay_s, gone.count) == (2, "out", -1, pytest.approx(1.9), 1)
    assert rule(DOOR).end(frame(0, {})) == []


def test_where_the_tracker_first_saw_somebody_is_where_it_came_from() -> None:
    one = rule(DOOR)
    born = np.array([(430, 200, 470, 300)], np.float32)
    assert one.update(frame(0, {1: 350.0}, born_xyxy=born)) == []
    assert ways(event for step in range(1, 11) for event in one.update(frame(step, {1: 340.0}))) == ["out"]


def test_a_line_counts_in_along_its_arrow_and_out_against_it_again_and_again() -> None:
    line = np.array([(400, 0), (400, 360)], dtype=np.float64)
    one = rule(DOOR, lines=(line,), direction_xy=(-50.0, 0.0), every=0, cooldown_s=100.0)
    events = play(one, walk(200, 550, 200, 550))
    assert ways(events) == ["out", "in", "out"] and {event.kind for event in events} == {Kind.FLOW}
    assert [event.count for event in events] == [1, 1, 1]


def test_the_count_comes_at_regular_times_of_the_source_and_goes_on_over_a_reset() -> None:
    one = rule(report_every_s=3.0)
    events = play(one, [{1: 100.0}] * 70)
    assert [event.count for event in events if event.kind is Kind.COUNT] == [1, 1]
    one.reset()
    assert [event.kind for event in play(one, [{}] * 25)] == [Kind.COUNT]
    assert len(play(rule(), [{}] * 100)) == 0


def test_outside_the_schedule_people_are_followed_and_nothing_is_told() -> None:
    never = Conditions(schedule=WeeklySchedule(ZoneInfo("UTC"), ()))
    one = rule(DOOR, conditions=never, report_every_s=1.0)
    assert play(one, walk(200, 550, 200, 550), timestamp_us=1) == []
    assert one.current == 1


def test_who_does_not_qualify_does_not_count() -> None:
    for conditions in (Conditions(classes=(2,)), Conditions(min_px=200), Conditions(thresholds={0: 0.9})):
        one = rule(DOOR, conditions=conditions)
        assert play(one, walk(200, 550)) == [] and one.current == 0


@FEW
@given(st.lists(st.floats(-3, 3), min_size=5, max_size=60), st.sampled_from([396.0, 400.0, 404.0]))
def test_trembling_on_the_edge_counts_at_most_once(noise: list[float], x: float) -> None:
    frames: list[Seen] = [{1: x + move} for move in noise]
    assert play(rule(DOOR), frames) == []


@FEW
@given(st.lists(st.sampled_from([150.0, 300.0, 470.0, 600.0]), min_size=2, max_size=8), st.data())
def test_each_way_over_the_edge_counts_once_whatever_frames_are_dropped(stops: list[float], data: Any) -> None:
    frames: list[Seen] = walk(*stops)
    kept: list[Seen] = [{} if data.draw(st.integers(0, 9)) < 3 else seen for seen in frames[1:-1]]
    sides = [x > 400 for x in stops]
    expected = ["in" if after else "out" for before, after in itertools.pairwise(sides) if before != after]
    assert ways(play(rule(DOOR), [frames[0], *kept, frames[-1], frames[-1]])) == expected


@FEW
@given(st.lists(st.floats(30, 610), min_size=2, max_size=6))
def test_what_is_counted_in_less_what_is_counted_out_is_who_is_there(stops: list[float]) -> None:
    one = rule(DOOR)
    frames: list[Seen] = [{1: 100.0}, *walk(100.0, *stops)]
    events = play(one, frames)
    assert len(set(ways(events))) < 2 or all(a != b for a, b in itertools.pairwise(ways(events)))
    assert ways(events).count("in") - ways(events).count("out") == one.current


@pytest.mark.parametrize("areas", [(), (DOOR,)], ids=["view", "area"])
def test_many_short_tracks_leave_no_memory(areas: Any) -> None:
    one = rule(*areas)
    for step in range(200):
        one.update(frame(step, {20 * step + i: 30.0 * i for i in range(1, 21)}))
    assert len(one) <= 20 * 110
    for step in range(200, 400):
        one.update(frame(step, {}))
    assert len(one) == 0 and one.current == 0


def clip_flow(*areas: Any, interval: int, back: bool = False, first: int = 0) -> tuple[int, int]:
    """In and out of the clip with six people, from what yolox_nano finds in it."""
    one = rule(*areas, first=first)
    return counted(event for frame in six_people(interval, reverse=back) for event in one.update(frame))


@pytest.mark.parametrize("interval", [3, 5])
def test_six_people_go_into_the_right_third_and_backwards_they_come_out_of_it(interval: int) -> None:
    assert clip_flow(THIRD, interval=interval, first=20) == (6, 0)
    assert clip_flow(THIRD, interval=interval, first=20, back=True) == (0, 6)


@pytest.mark.parametrize("interval", [3, 5])
def test_six_people_pass_the_view(interval: int) -> None:
    assert clip_flow(interval=interval)[0] == 6
    assert clip_flow(interval=interval, back=True) == (6, 6)
