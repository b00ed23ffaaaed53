"""What passenger_flow asks the engine for, counts and reports (totals over restarts: tests/business)."""

from __future__ import annotations

from typing import Any

import pytest

from samples.passenger_flow.config_logic import FlowTotals, new_state
from samples.passenger_flow.passenger_flow import (
    passenger_flow_build_config,
    passenger_flow_logic,
    passenger_flow_trans_json,
)
from streamserver.core.errors import BadRequestError
from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule_json import make_rule, parse_rule
from tests.samples import frames

BOX = (100, 60, 180, 200)


def built(**algorithm: Any) -> list[Any]:
    body = frames.bodies(99)["new"]
    body["Algorithm"][0] |= algorithm
    overrides = passenger_flow_build_config("passenger_flow", "", frames.task(body), 10001, 0)
    return [parse_rule(entry, "filters[0]") for entry in overrides.filters]


def flow(direction: str, track_id: int = 7, count: int = 1) -> RuleEvent:
    return RuleEvent(kind=Kind.FLOW, track_id=track_id, direction=direction, count=count, class_id=0, box_xyxy=BOX)


def report(state: FlowTotals, *events: RuleEvent) -> list[dict[str, Any]]:
    """What is reported of one frame; empty for nothing."""
    message = frames.with_events(frames.frame(0, {7: BOX}, picture=True), *events)
    up_list: list[str] = []
    passenger_flow_logic(message, up_list, [], state)
    reported: list[dict[str, Any]] = []
    if up_list:
        reported = passenger_flow_trans_json(message, "t1", 7, up_list)["AnalyzeEvents"]
    return reported


def test_areas_make_one_rule_and_lines_one_each() -> None:
    area = [{"X": 0, "Y": 0}, {"X": 100, "Y": 0}, {"X": 100, "Y": 200}]
    line = {"Points": [{"X": 10, "Y": 10}, {"X": 90, "Y": 10}]}
    info = {"TripWire": None, "HotArea": area}
    [spec] = built(DetectInfos=[info, info], Extend={"ReportInterval": 60})
    assert (len(spec.include), spec.lines, spec.report_every_s) == (2, (), 60)
    assert spec.conditions.classes == (0,) and isinstance(make_rule(spec), FlowRule)
    specs = built(DetectInfos=[info], Extend={"Lines": [line, line]})
    assert [(spec.kind, len(spec.lines), spec.both_ways) for spec in specs] == [("flow", 1, True)] * 2


def test_a_mode_that_counts_nobody_is_refused() -> None:
    with pytest.raises(BadRequestError, match="Mode"):
        built(Extend={"Mode": "touch"})


def test_each_who_comes_or_goes_is_reported_with_the_totals() -> None:
    state = new_state({})
    assert len(report(state, flow("in"), flow("in", 8, 2))) == 2
    [event] = report(state, flow("out", count=1))
    assert event["Box"] == {"LeftTopX": 100, "LeftTopY": 60, "RightBtmX": 180, "RightBtmY": 200}
    told = {"Event": "flow", "Direction": "out", "TrackId": 7, "Class": "person"}
    assert event["Extend"] == {**told, "Confidence": 0.0, "In": 2, "Out": 1, "Current": 1, "ObjectCount": 2}


def test_the_count_is_reported_once_for_all_lines_and_alone_if_asked() -> None:
    counts = [RuleEvent(kind=Kind.COUNT, rule=rule, count=3) for rule in (0, 1)]
    [event] = report(new_state({}), *counts)
    assert event["Box"] == {"LeftTopX": 0, "LeftTopY": 0, "RightBtmX": 320, "RightBtmY": 240}
    assert event["Extend"] == {"Event": "count", "In": 0, "Out": 0, "Current": 3, "ObjectCount": 0}
    quiet = new_state({"Extend": {"ReportEvents": False}})
    assert report(quiet, flow("in")) == []
    [event] = report(quiet, flow("in"), counts[0])
    assert event["Extend"]["In"] == 2 and event["Extend"]["Event"] == "count"


def test_totals_are_recalled_and_who_is_there_has_to_be_seen_again() -> None:
    state, again = new_state({}), new_state({})
    report(state, flow("in"), flow("in", 8, 2), flow("out", 9, 2))
    again.recall(state.memory())
    assert again.memory() == {"In": 2, "Out": 1, "Current": 0}


def test_with_an_engine_that_knows_no_rules_each_track_counts_once() -> None:
    state = new_state({"TrackInterval": 2})
    found = []
    for sequence in range(10):
        message = frames.frame(sequence, {7: BOX, 8: BOX}, picture=True)
        up_list: list[str] = []
        passenger_flow_logic(message, up_list, [], state)
        found += up_list
    assert found == ["7", "8"] and state.memory() == {"In": 2, "Out": 0, "Current": 2}
