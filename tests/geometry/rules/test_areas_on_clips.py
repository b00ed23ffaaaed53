from __future__ import annotations

from collections import Counter

import pytest

from streamserver.core.events import Kind
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.rule import Polygon, RuleKind, RuleSpec
from tests.geometry.rules.rule_frames import polygon
from tests.geometry.walks import six_people

TABLE = polygon((250, 0), (512, 0), (512, 432), (250, 432))
RIGHT_THIRD = polygon((512, 0), (768, 0), (768, 432), (512, 432))
EVENTS = frozenset({Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL, Kind.OCCUPANCY})


def told(include: Polygon, *, interval: int, reverse: bool = False, anchor: str = "foot") -> Counter[Kind]:
    spec = RuleSpec(
        kind=RuleKind.AREA, include=(include,), anchor=anchor, events=EVENTS, dwell_s=3.0, occupancy_above=1
    )
    rule = AreaRule(spec)
    return Counter(event.kind for frame in six_people(interval, reverse=reverse) for event in rule.update(frame))


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("interval", [1, 3, 5])
def test_each_of_six_people_comes_to_the_table_stays_and_goes_once(interval: int, reverse: bool) -> None:
    counts = told(TABLE, interval=interval, reverse=reverse)
    assert counts == {Kind.ENTER: 6, Kind.LEAVE: 6, Kind.INSIDE: 6, Kind.DWELL: 6}


@pytest.mark.parametrize("anchor", ["foot", "center", "share"])
def test_each_of_them_comes_into_the_right_third_once(anchor: str) -> None:
    counts = told(RIGHT_THIRD, interval=3, anchor=anchor)
    assert (counts[Kind.ENTER], counts[Kind.DWELL]) == (6, 0)
    assert counts[Kind.LEAVE] == 5, "the last has not been gone for the rearm time when the clip ends"
