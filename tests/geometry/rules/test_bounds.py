"""However long a task lets objects be remembered, what rules keep is bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamserver.core.events import Kind
from streamserver.geometry.rules.pacing import MOST_REMEMBERED
from streamserver.geometry.rules.rule import RuleKind, RuleSpec
from streamserver.geometry.rules.rule_json import make_rule
from tests.geometry.rules.rule_frames import person, polygon, rule_frame

A_WEEK_S = 604_800.0
AREA = RuleSpec(kind=RuleKind.AREA, include=(polygon((100, 100), (700, 100), (700, 500), (100, 500)),))


@pytest.mark.parametrize(
    "spec",
    [
        replace(AREA, events=frozenset({Kind.INSIDE, Kind.LEAVE})),
        replace(AREA, kind=RuleKind.FLOW),
        RuleSpec(kind=RuleKind.FLOW),
        RuleSpec(kind=RuleKind.CROSS, lines=(polygon((0, 300), (800, 300)),)),
    ],
    ids=["area", "flow into an area", "flow", "cross"],
)
def test_what_is_remembered_for_a_week_is_bounded(spec: RuleSpec) -> None:
    rule = make_rule(replace(spec, rearm_s=A_WEEK_S, max_lost=10))
    told = []
    for step in range(24):
        people = {1 + n + 1000 * (step // 2): person(110 + n % 500, 200 + n % 250) for n in range(1000)}
        told += rule.update(rule_frame(step, people))
    assert len(rule) <= MOST_REMEMBERED
    if spec.kind is RuleKind.AREA:
        assert {event.track_id for event in told if event.kind is Kind.LEAVE} == set(range(1, 2001)), "they have gone"
