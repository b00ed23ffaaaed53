"""``bottle-detection.mp4``, in which nobody is: 0 of everything."""

from __future__ import annotations

import numpy as np
import pytest

from streamserver.core.events import Kind
from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule import Rule, RuleKind, RuleSpec
from tests.geometry.counting import across
from tests.geometry.walks import arms

LINES: list[tuple[PointXy, PointXy]] = [((0, y), (640, y)) for y in (90, 180, 270)] + [
    ((x, 0), (x, 360)) for x in (120, 320)
]
CORNER = np.array([(0, 0), (400, 0), (400, 180), (0, 180)], dtype=np.float64)


def told(rule: Rule, interval: int) -> list[Kind]:
    return [event.kind for frame in arms(interval) for event in rule.update(frame)]


@pytest.mark.parametrize("interval", [1, 3, 5])
def test_arms_that_reach_in_cross_no_line_and_are_counted_nowhere(interval: int) -> None:
    for start, end in LINES:
        assert told(CrossingRule(across(start, end)), interval) == []
    for include in ((), (CORNER,)):
        assert told(FlowRule(RuleSpec(kind=RuleKind.FLOW, include=include)), interval) == []
