"""Crossings of real clips, counted at several DetectIntervals, against the truth in the clips' README."""

from __future__ import annotations

import pytest

from streamserver.core.arrays import Detections
from streamserver.geometry.rules.crossing import CrossingRule
from tests import assets
from tests.geometry.counting import SIZES_WH, across, events_of, moving, people, pictures, ways
from tests.geometry.walks import six_people

CARS, BOTTLES = "car-detection.mp4", "bottle-detection.mp4"
RIGHTWARD = across((580, 0), (580, 431), direction_xy=(100, 0))


@pytest.fixture(scope="module")
def bottles() -> list[tuple[int, Detections]]:
    return list(people(pictures(assets.clip(BOTTLES), interval=20)))


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_six_people_go_out_to_the_right_along_the_arrow(interval: int) -> None:
    rule = CrossingRule(RIGHTWARD)
    events = [event for frame in six_people(interval) for event in rule.update(frame)]
    assert ways(events) == (6, 0)
    assert len({event.track_id for event in events}) == 6


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_backwards_the_six_come_against_the_arrow(interval: int) -> None:
    rule = CrossingRule(RIGHTWARD)
    events = [event for frame in six_people(interval, reverse=True) for event in rule.update(frame)]
    assert ways(events) == (0, 6)


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_two_cars_drive_up_and_two_down(interval: int) -> None:
    found = moving(pictures(assets.clip(CARS), interval=interval))
    rule = CrossingRule(across((0, 216), (768, 216), direction_xy=(0, -1)))
    events = events_of(rule, found, interval=interval, size_wh=SIZES_WH[CARS], fps=12.5)
    assert ways(events) == (2, 2)


@pytest.mark.parametrize("x", [160, 320, 480])
def test_bottles_and_the_arm_that_puts_them_down_cross_no_upright_line(
    bottles: list[tuple[int, Detections]], x: int
) -> None:
    width_height = SIZES_WH[BOTTLES]
    rule = CrossingRule(across((x, 0), (x, width_height[1])))
    assert events_of(rule, bottles, interval=20, size_wh=width_height, fps=30) == []
