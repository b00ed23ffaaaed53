from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from streamserver.geometry.rules.conditions import FORGET_AFTER_S, Qualifier
from streamserver.geometry.rules.rule import Conditions
from streamserver.geometry.rules.weekly import WeeklySchedule, WeeklyWindow
from tests.geometry.rules.rule_frames import person, polygon, rule_frame

LEFT_HALF = polygon((0, 0), (400, 0), (400, 600), (0, 600))
BOX = person(100, 100)


def test_without_conditions_everything_qualifies_at_any_time() -> None:
    qualifier = Qualifier(Conditions())
    frame = rule_frame(0, {1: BOX, 0: person(300, 300)}, timestamp_us=1)
    assert qualifier.qualifying(frame).tolist() == [True, True]
    assert qualifier.on(frame)
    assert qualifier.qualifying(rule_frame(1, {})).shape == (0,)
    assert len(qualifier) == 0


def test_classes_are_those_named() -> None:
    frame = rule_frame(0, {1: BOX, 2: BOX, 3: BOX}, classes=[0, 2, 5])
    assert Qualifier(Conditions(classes=(0, 5))).qualifying(frame).tolist() == [True, False, True]
    assert Qualifier(Conditions(classes=())).qualifying(frame).tolist() == [False] * 3


@pytest.mark.parametrize(
    ("size_wh", "qualifies"),
    [
        ((10, 29), False),
        ((10, 30), True),
        ((30, 10), True),
        ((29, 29), False),
        ((250, 400), True),
        ((251, 400), False),
        ((400, 251), False),
        ((400, 250), True),
    ],
)
def test_sizes_go_by_the_longer_side_below_and_by_the_shorter_above(size_wh: tuple[int, int], qualifies: bool) -> None:
    width, height = size_wh
    qualifier = Qualifier(Conditions(min_px=30, max_px=250))
    frame = rule_frame(0, {1: (5, 5, 5 + width, 5 + height)})
    assert qualifier.qualifying(frame).tolist() == [qualifies]
    assert Qualifier(Conditions()).qualifying(frame).tolist() == [True]


def test_a_threshold_holds_for_its_class_and_is_reached_once_for_all() -> None:
    qualifier = Qualifier(Conditions(thresholds={0: 0.7, 2: 0.3}))

    def qualifies(step: int, score: float, class_id: int, identity: int = 1) -> bool:
        frame = rule_frame(step, {identity: BOX}, scores=[score], classes=[class_id])
        return bool(qualifier.qualifying(frame)[0])

    assert not qualifies(0, 0.69, 0)
    assert qualifies(1, 0.7, 0)
    assert qualifies(2, 0.1, 0)
    assert not qualifies(3, 0.1, 0, identity=2)
    assert qualifies(4, 0.31, 2, identity=2)
    assert qualifies(5, 0.01, 7, identity=3)
    assert qualifies(6, 0.9, 0, identity=0)
    assert not qualifies(7, 0.1, 0, identity=0)


def test_what_an_object_was_as_another_class_gives_it_no_confidence() -> None:
    qualifier = Qualifier(Conditions(classes=(0,), thresholds={0: 0.7}))
    for step, (score, class_id) in enumerate([(0.9, 2), (0.1, 0)]):
        frame = rule_frame(step, {1: BOX}, scores=[score], classes=[class_id])
        assert qualifier.qualifying(frame).tolist() == [False]


def test_confidence_is_forgotten_when_the_object_was_long_unseen_or_after_a_reset() -> None:
    qualifier = Qualifier(Conditions(thresholds={0: 0.7}))
    steps = iter(range(100))

    def qualifies(score: float, clock_s: float) -> bool:
        return bool(qualifier.qualifying(rule_frame(next(steps), {1: BOX}, clock_s=clock_s, scores=[score]))[0])

    assert qualifies(0.8, 0.0)
    assert qualifies(0.1, FORGET_AFTER_S)
    assert qualifies(0.1, 3 * FORGET_AFTER_S), "frames that are far apart forget nobody who is in each of them"
    qualifier.qualifying(rule_frame(next(steps), {}, clock_s=5 * FORGET_AFTER_S))
    assert len(qualifier) == 0
    assert not qualifies(0.1, 5 * FORGET_AFTER_S)
    assert qualifies(0.8, 5 * FORGET_AFTER_S)
    qualifier.reset()
    assert not qualifies(0.1, 5 * FORGET_AFTER_S)


@pytest.mark.parametrize(
    ("anchor", "box", "qualifies"),
    [
        ("foot", person(399, 300), False),
        ("foot", person(401, 300), True),
        ("center", person(399, 300), False),
        ("center", person(401, 300), True),
        ("box", person(389, 300), False),
        ("box", person(399, 300), True),
        ("share", person(402, 300), False),
        ("share", person(406, 300), True),
    ],
)
def test_an_object_whose_anchor_is_in_an_excluded_area_does_not_qualify(
    anchor: str, box: tuple[float, float, float, float], qualifies: bool
) -> None:
    conditions = Conditions(exclude=(LEFT_HALF,))
    assert Qualifier(conditions, anchor, 0.3).qualifying(rule_frame(0, {1: box})).tolist() == [qualifies]


def test_an_object_that_trembles_on_an_excluded_edge_stays_excluded_until_it_is_clearly_out() -> None:
    qualifier = Qualifier(Conditions(exclude=(LEFT_HALF,)))
    xs = [410, 401, 399, 402, 398, 403, 410, 403, 401]
    got = [bool(qualifier.qualifying(rule_frame(step, {1: person(x, 300)}))[0]) for step, x in enumerate(xs)]
    assert got == [True, True, False, False, False, False, True, True, True]
    anonymous = [bool(qualifier.qualifying(rule_frame(9 + i, {0: person(x, 300)}))[0]) for i, x in enumerate(xs)]
    assert anonymous == [x > 400 for x in xs]


def test_the_schedule_says_when() -> None:
    monday_noon_us = 1_780_315_200_000_000  # 1 June 2026, 12:00 UTC
    windows = (WeeklyWindow(0, 14 * 60, 15 * 60),)
    qualifier = Qualifier(Conditions(schedule=WeeklySchedule(ZoneInfo("Europe/Berlin"), windows)))
    assert qualifier.on(rule_frame(0, {}, timestamp_us=monday_noon_us))
    assert not qualifier.on(rule_frame(1, {}, timestamp_us=monday_noon_us - 1))
    assert qualifier.on(rule_frame(2, {}))
    assert qualifier.qualifying(rule_frame(3, {1: BOX}, timestamp_us=1)).all()


def test_a_hundred_thousand_tracks_of_one_frame_leave_no_memory() -> None:
    qualifier = Qualifier(Conditions(thresholds={0: 0.5}, exclude=(LEFT_HALF,)))
    for step in range(1000):
        boxes = {identity: person(100, 300) for identity in range(100 * step + 1, 100 * step + 101)}
        qualifier.qualifying(rule_frame(step, boxes, clock_s=float(step)))
    assert len(qualifier) <= 100 * (FORGET_AFTER_S + 1)
    qualifier.qualifying(rule_frame(1000, {}, clock_s=1000 + FORGET_AFTER_S))
    assert len(qualifier) == 0
