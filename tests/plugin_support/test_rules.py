"""From tasks to rules: every entry is also read by the filter's own parser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest

from streamserver import plugin_api, plugins
from streamserver.core.errors import BadRequestError
from streamserver.core.events import Kind
from streamserver.core.rule_options import RULE_KEYS
from streamserver.core.settings import PROJECT_DIR
from streamserver.geometry.rules.rule import RuleKind, RuleSpec
from streamserver.geometry.rules.rule_json import parse_conditions, parse_rule
from streamserver.plugin_support.rules import RuleDefault
from tests.samples import frames
from tests.test_plugin_api import algorithm, area, wire

SQUARE = [{"X": 0, "Y": 0}, {"X": 50, "Y": 0}, {"X": 50, "Y": 50}, {"X": 0, "Y": 50}]
BENT = {"Points": [{"X": 0, "Y": 9}, {"X": 50, "Y": 20}, {"X": 90, "Y": 9}]}
LINE = wire((580, 0, 580, 431), (580, 215, 680, 215))
AREA = area((100, 100), (300, 100), (300, 200))


def entries(
    *infos: dict[str, Any], default: RuleDefault = "area", classes: tuple[int, ...] = (0,), **changes: Any
) -> list[dict[str, Any]]:
    return plugin_api.rule_filters(algorithm(DetectInfos=list(infos), **changes), classes, default=default)


def spec(entry: Mapping[str, Any]) -> RuleSpec:
    return parse_rule(entry, "filters[0]")


class TestLines:
    def test_are_a_rule_each_those_of_extend_last(self) -> None:
        first, second = entries(LINE, AREA, default="cross", Extend={"Lines": [BENT]})
        assert spec(first).kind is spec(second).kind is RuleKind.CROSS
        assert np.array_equal(spec(first).lines[0], [[580, 0], [580, 431]])
        assert (spec(first).direction_xy, spec(first).both_ways) == ((100, 0), False)
        assert np.array_equal(spec(second).lines[0], [[0, 9], [50, 20], [90, 9]])
        assert spec(second).direction_xy == (0, 0)

    def test_are_segments_for_a_sophon_stream_program(self) -> None:
        first, second = entries(LINE, default="cross", Extend={"Lines": [BENT]})
        assert (first["type"], first["mode"], first["direction"]) == (1, "cross", [100, 0])
        assert second["areas"] == [
            [{"left": 0, "top": 9}, {"left": 50, "top": 20}],
            [{"left": 50, "top": 20}, {"left": 90, "top": 9}],
        ]
        assert "direction" not in second

    def test_may_be_told_both_ways(self) -> None:
        (entry,) = entries(LINE, default="cross", Extend={"Direction": "both"})
        assert spec(entry).both_ways and spec(entry).direction_xy == (100, 0)

    def test_may_be_watched_by_an_algorithm_for_areas(self) -> None:
        assert spec(entries(LINE, AREA)[0]).kind is RuleKind.AREA
        assert spec(entries(LINE, AREA, Extend={"Mode": "cross"})[0]).kind is RuleKind.CROSS

    def test_of_passenger_flow_count_both_ways_and_one_tells_how_many(self) -> None:
        first, second = entries(LINE, default="flow", Extend={"Lines": [BENT], "ReportInterval": 60})
        assert spec(first).kind is spec(second).kind is RuleKind.FLOW
        assert spec(first).both_ways and spec(second).both_ways
        assert (spec(first).report_every_s, spec(second).report_every_s) == (60, 0)


class TestAreas:
    @pytest.mark.parametrize(("default", "kind"), [("area", "area"), ("cross", "area"), ("flow", "flow")])
    def test_are_one_rule(self, default: RuleDefault, kind: str) -> None:
        (entry,) = entries(AREA, area((0, 0), (9, 0), (9, 9)), default=default)
        assert spec(entry).kind == kind
        assert [len(polygon) for polygon in spec(entry).include] == [3, 3]
        assert spec(entry).lines == ()

    def test_are_everywhere_where_none_is_drawn(self) -> None:
        (entry,) = entries()
        assert spec(entry).include == () and entry["areas"] == [[]]

    @pytest.mark.parametrize(
        ("anchor", "expected"), [("center", ("center", 0.5)), ("box", ("box", 0.5)), (0.3, ("share", 0.3))]
    )
    def test_hold_what_the_anchor_says(self, anchor: Any, expected: tuple[str, float]) -> None:
        (entry,) = entries(AREA, Extend={"Anchor": anchor})
        assert (spec(entry).anchor, spec(entry).share) == expected
        assert entry["anchor"] == ("box" if anchor == "box" else "foot")

    def test_tell_the_events_that_are_asked_for(self) -> None:
        extend = {"Events": ["enter", "leave"], "DwellTime": 30, "OccupancyAbove": 4}
        (entry,) = entries(AREA, Extend=extend)
        assert spec(entry).events == {Kind.ENTER, Kind.LEAVE, Kind.DWELL, Kind.OCCUPANCY}
        assert (spec(entry).dwell_s, spec(entry).occupancy_above) == (30, 4)

    @pytest.mark.parametrize(("default", "type_"), [("area", 2), ("cross", 1), ("flow", 2)])
    def test_are_counted_by_the_filter_or_the_sample_where_no_rule_is_known(
        self, default: RuleDefault, type_: int
    ) -> None:
        assert entries(AREA, default=default)[0]["type"] == type_


def test_intervals_and_times_pace_a_rule() -> None:
    extend = {"Cooldown": 2, "RearmTime": 8, "Picture": "best"}
    (entry,) = entries(AREA, TrackInterval=4, AlarmInterval=0, Extend=extend)
    rule = spec(entry)
    assert (rule.first, rule.every, rule.cooldown_s, rule.rearm_s, rule.best_picture) == (4, 0, 2, 8, True)
    assert entry["alert_frame_skip_nums"] == 1, "a sophon-stream program divides by it"


class TestTouch:
    def test_has_no_rule_and_keeps_conditions(self) -> None:
        first, second = entries(LINE, default="cross", Extend={"Mode": "touch", "Lines": [BENT]})
        for entry in (first, second):
            assert (entry["mode"], entry["type"]) == ("touch", 1)
            assert "rule" not in entry and entry["conditions"]["min_px"] == 30
        assert first["direction"] == [100, 0] and len(second["areas"]) == 2

    def test_asks_for_whole_boxes_in_areas(self) -> None:
        (entry,) = entries(AREA, Extend={"Mode": "touch"})
        assert (entry["anchor"], entry["type"]) == ("box", 2) and "rule" not in entry


class TestConditions:
    def test_are_the_tasks(self) -> None:
        extend = {
            "ExcludeAreas": [SQUARE],
            "Thresholds": {"person": 60, "2": 0.3},
            "Schedule": {"TimeZone": "UTC", "Windows": [{"Days": ["Sat"], "From": "10:00", "To": "12:30"}]},
        }
        (entry,) = entries(AREA, classes=(0, 2, 7), TargetSize={"MinDetect": 30, "MaxDetect": 0}, Extend=extend)
        conditions = parse_conditions(entry, "filters[0]")
        assert dict(conditions.thresholds) == pytest.approx({0: 0.6, 2: 0.3, 7: 0.5})
        assert (conditions.min_px, conditions.max_px, len(conditions.exclude)) == (30, 0, 1)
        assert conditions.schedule is not None
        (window,) = conditions.schedule.windows
        assert (window.day, window.start, window.end) == (5, 600, 750)

    def test_are_left_out_where_there_are_none(self) -> None:
        (entry,) = entries(AREA, TargetSize={"MinDetect": 0, "MaxDetect": 0})
        assert "conditions" not in entry

    def test_hold_for_the_filters_of_samples_without_rules_too(self) -> None:
        asked = algorithm(DetectInfos=[LINE], Extend={"ExcludeAreas": [SQUARE]})
        for entry in (*plugin_api.line_filters(asked, [0]), *plugin_api.area_filters(asked, [0], type=2)):
            assert len(parse_conditions(entry, "filters[0]").exclude) == 1

    @pytest.mark.parametrize(("thresholds", "start"), [({"person": 30}, 0.3), ({"person": 80}, 0.5), ({}, 0.5)])
    def test_let_a_track_begin_with_the_least_that_counts(self, thresholds: dict[str, float], start: float) -> None:
        elements = plugin_api.tracking(algorithm(Extend={"Thresholds": thresholds}), [0, 2])
        assert elements["bytetrack"]["track_thresh"] == pytest.approx(start)

    def test_of_the_only_class_decide_alone(self) -> None:
        elements = plugin_api.tracking(algorithm(Extend={"Thresholds": {"0": 80}}), [0])
        assert elements["bytetrack"]["track_thresh"] == pytest.approx(0.8)
        assert elements["*detector"]["threshold_conf"] == pytest.approx(0.1)


_VAIN: list[tuple[RuleDefault, dict[str, Any], str, str]] = [
    ("cross", {"Events": ["enter"]}, "Events", "has a meaning for areas by rules only; leave it out"),
    ("cross", {"DwellTime": 5}, "DwellTime", "areas by rules only"),
    ("flow", {"OccupancyAbove": 5}, "OccupancyAbove", "areas by rules only"),
    ("area", {"Mode": "touch", "Events": ["enter"]}, "Events", "areas by rules only"),
    ("area", {"ReportInterval": 5}, "ReportInterval", "passenger flow only"),
    ("area", {"Direction": "both"}, "Direction", "has a meaning for tripwires by rules only"),
    ("flow", {"Direction": "both"}, "Direction", "tripwires by rules only"),
    ("cross", {"Mode": "touch", "Direction": "both"}, "Direction", "tripwires by rules only"),
    ("cross", {"Anchor": "box"}, "Anchor", "areas by rules only"),
    ("flow", {"Anchor": "box"}, "Anchor", "areas by rules only"),
    ("area", {"Mode": "touch", "Cooldown": 5}, "Cooldown", "has a meaning without Mode touch only"),
    ("cross", {"Mode": "touch", "Picture": "best"}, "Picture", "without Mode touch only"),
    ("cross", {"ReportEvents": False}, "ReportEvents", "passenger flow only"),
    ("area", {"Lines": [BENT]}, "Lines", 'this algorithm watches areas; add "Mode": "cross"'),
    ("flow", {"Mode": "touch"}, "Mode", "got 'touch', which counts nobody"),
    ("cross", {"Thresholds": {"car": 40}}, "Thresholds", "'car' is not looked for; name it in Classes as well"),
]


@pytest.mark.parametrize(("default", "extend", "key", "says"), _VAIN, ids=[f"{d}-{k}" for d, _, k, _ in _VAIN])
def test_what_would_be_asked_for_in_vain_is_refused(
    default: RuleDefault, extend: dict[str, Any], key: str, says: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        entries(LINE, default=default, Extend=extend)
    assert caught.value.path == f"$.Algorithm[].Extend.{key}" and says in str(caught.value)


@pytest.mark.parametrize("default", get_args(RuleDefault))
def test_mode_cross_needs_a_line(default: RuleDefault) -> None:
    with pytest.raises(BadRequestError, match=r"Extend\.Mode: got 'cross', but there is no line"):
        entries(AREA, default=default, Extend={"Mode": "cross"})


class TestDetectRoi:
    def roi(self, *infos: dict[str, Any], default: RuleDefault = "area", **extend: Any) -> dict[str, int]:
        body = frames.bodies(1)["new"]
        body["Algorithm"][0] |= {"DetectInfos": list(infos), "Extend": {"DetectRoi": True, **extend}}
        built = plugin_api.rule_graph(frames.task(body), 0, (0,), default=default)
        return dict(built.elements["*detector"]["roi"])

    def test_is_around_all_areas_with_a_margin(self) -> None:
        assert self.roi(AREA, area((400, 300), (500, 300), (500, 500))) == {
            "left": 0,
            "top": 0,
            "width": 600,
            "height": 600,
        }

    def test_is_around_the_lines_where_those_are_watched(self) -> None:
        everywhere = area((0, 0), (1920, 0), (1920, 1080), (0, 1080))
        line = wire((1000, 500, 1000, 700))
        assert self.roi(line, everywhere, default="cross") == {"left": 900, "top": 400, "width": 200, "height": 400}
        assert self.roi(line, everywhere)["width"] > 1920

    def test_leaves_the_thresholds_alone(self) -> None:
        elements = plugin_api.with_roi(
            algorithm(DetectInfos=[AREA], Extend={"DetectRoi": True}), {"*detector": {"threshold_conf": 0.1}}
        )
        assert elements["*detector"]["threshold_conf"] == 0.1 and "roi" in elements["*detector"]

    def test_needs_something_to_look_around(self) -> None:
        with pytest.raises(BadRequestError, match=r"Extend\.DetectRoi: there is no area or line"):
            self.roi()

    def test_is_everything_unless_asked_for(self) -> None:
        assert plugin_api.with_roi(algorithm(DetectInfos=[AREA]), {}) == {}


_MANUAL = (PROJECT_DIR / "docs" / "http_api.md").read_text("utf-8").partition("## What is reported and when")[2]
_EXAMPLES = [
    json.loads(text) for text in re.findall(r"^```json\n(\{\"Type\".*?)^```", _MANUAL, re.MULTILINE | re.DOTALL)
]


@pytest.mark.parametrize("example", _EXAMPLES, ids=range(len(_EXAMPLES)))
def test_the_examples_of_the_manual_are_tasks(example: dict[str, Any]) -> None:
    body = frames.bodies(99)["no DetectInfos"]
    body["Algorithm"] = [example]
    name = frames.KNOWN_TYPES[example["Type"]]
    built = plugins.build(name, stream_path="", data=frames.task(body), port=1, index=0)
    assert isinstance(built, plugin_api.GraphOverrides)
    kinds = {"tripwire": RuleKind.CROSS, "passenger_flow": RuleKind.FLOW}
    assert spec(built.filters[0]).kind is kinds.get(name, RuleKind.AREA)


def test_the_manual_has_examples() -> None:
    assert len(_EXAMPLES) >= 2


def test_an_error_of_the_second_algorithm_says_so() -> None:
    body = frames.bodies(6)["new"]
    second = {"Type": 6, "Extend": {"Schedule": {"TimeZone": "Mars", "Windows": []}}}
    body["Algorithm"].append(second)
    with pytest.raises(BadRequestError) as caught:
        plugins.build("area_intrusion", stream_path="", data=frames.task(body), port=1, index=1)
    assert caught.value.path == "$.Algorithm[1].Extend.Schedule.TimeZone"
    assert "$.Algorithm[]" not in str(caught.value)


_KINDS: tuple[Any, ...] = (
    True,
    -1,
    0,
    2**40,
    1.5,
    "",
    "x",
    "车",
    [],
    [[]],
    [None],
    [1],
    {},
    {"X": 1},
    {"a": None},
    [{}],
)


@pytest.mark.parametrize("key", RULE_KEYS)
def test_whatever_stands_in_a_key_gives_a_graph_or_one_of_our_errors(key: str) -> None:
    for default in get_args(RuleDefault):
        for value in _KINDS:
            try:
                built = entries(LINE, AREA, default=default, Extend={key: value})
            except BadRequestError as e:
                assert e.path.startswith(f"$.Algorithm[].Extend.{key}")
                continue
            for entry in built:
                assert parse_conditions(entry, "filters[0]") and ("rule" not in entry or spec(entry))
