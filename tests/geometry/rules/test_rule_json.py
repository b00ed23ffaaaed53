"""The keys ``rule`` and ``conditions`` of an entry, and what is said of those that cannot be used."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streamserver.core.events import Kind
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.reading import SpecError
from streamserver.geometry.rules.rule import Conditions, RuleKind, RuleSpec
from streamserver.geometry.rules.rule_json import make_rule, parse_conditions, parse_rule

LINE = [[580, 0], [580, 200], [600, 431]]
SQUARE = [[50, 50], [200, 50], [200, 200], [50, 200]]


def rule(**keys: Any) -> RuleSpec:
    return parse_rule({"rule": {"kind": "area"} | keys}, "filters[2]")


def conditions(**keys: Any) -> Conditions:
    return parse_conditions({"conditions": keys}, "filters[2]")


def test_what_is_not_written_is_as_the_spec_says() -> None:
    assert plain(rule()) == plain(RuleSpec(kind=RuleKind.AREA))
    assert plain(parse_conditions({}, "")) == plain(conditions()) == plain(Conditions())


def plain(spec: RuleSpec | Conditions) -> dict[str, Any]:
    return {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name != "conditions"}


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("kind", "flow", "kind", RuleKind.FLOW),
        ("direction", [3, -4], "direction_xy", (3, -4)),
        ("both_ways", True, "both_ways", True),
        ("anchor", "share", "anchor", "share"),
        ("share", 1, "share", 1),
        ("events", ["enter", "leave"], "events", {Kind.ENTER, Kind.LEAVE}),
        ("dwell_s", 2.5, "dwell_s", 2.5),
        ("occupancy_above", 4, "occupancy_above", 4),
        ("first", 20, "first", 20),
        ("every", 300, "every", 300),
        ("cooldown_s", 60, "cooldown_s", 60),
        ("rearm_s", 0, "rearm_s", 0),
        ("report_every_s", 60, "report_every_s", 60),
        ("best_picture", True, "best_picture", True),
        ("max_lost", 1, "max_lost", 1),
    ],
)
def test_keys_of_a_rule_become_what_they_mean(key: str, value: Any, name: str, expected: Any) -> None:
    assert getattr(rule(**{key: value}), name) == expected


def test_lines_and_areas_are_arrays_of_points() -> None:
    spec = rule(kind="cross", lines=[LINE, LINE[:2]], include=[SQUARE])
    assert [line.tolist() for line in spec.lines] == [LINE, LINE[:2]]
    assert [area.tolist() for area in spec.include] == [SQUARE]
    assert all(points.dtype == np.float64 for points in (*spec.lines, *spec.include))


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("classes", [0, 2.0], "classes", (0, 2)),
        ("classes", None, "classes", None),
        ("thresholds", {"0": 0.6, "12": 1}, "thresholds", {0: 0.6, 12: 1.0}),
        ("min_px", 30, "min_px", 30),
        ("max_px", 250.5, "max_px", 250.5),
        ("schedule", None, "schedule", None),
    ],
)
def test_keys_of_conditions_become_what_they_mean(key: str, value: Any, name: str, expected: Any) -> None:
    assert getattr(conditions(**{key: value}), name) == expected


def test_excluded_areas_are_arrays_of_points() -> None:
    (area,) = conditions(exclude=[SQUARE]).exclude
    assert area.tolist() == SQUARE


def test_a_schedule_holds_on_the_wall_clock_of_its_place() -> None:
    windows = [{"day": 5, "start": 1320, "end": 360}]
    schedule = conditions(schedule={"zone": "Asia/Shanghai", "windows": windows}).schedule
    assert schedule is not None
    shanghai = ZoneInfo("Asia/Shanghai")
    sunday = {hour: datetime(2026, 3, 1, hour, tzinfo=shanghai).timestamp() for hour in (0, 5, 6)}
    assert [schedule.is_on(int(second * 1e6)) for second in sunday.values()] == [True, True, False]


@pytest.mark.parametrize(
    ("own", "ruled", "expected"),
    [
        ([0], None, (0,)),
        ([0], [2], (2,)),
        (None, None, None),
    ],
    ids=["the entry's", "the conditions' win", "neither: all"],
)
def test_classes_of_a_rule(own: list[int] | None, ruled: list[int] | None, expected: tuple[int, ...] | None) -> None:
    entry: dict[str, Any] = {"rule": {"kind": "area"}, "conditions": {} if ruled is None else {"classes": ruled}}
    entry |= {} if own is None else {"classes": own}
    assert parse_rule(entry, "").conditions.classes == expected


def test_each_kind_has_its_rule() -> None:
    made = [make_rule(rule(kind=kind, lines=[LINE])) for kind in ("cross", "area", "flow")]
    assert [type(one) for one in made] == [CrossingRule, AreaRule, FlowRule]


@pytest.mark.parametrize(
    ("keys", "path", "problem"),
    [
        ({"kind": "jump"}, "kind", "expected one of cross, area, flow, got 'jump'"),
        ({"kind": "cross"}, "lines", "a rule of kind 'cross' needs a line"),
        ({"lines": 5}, "lines", "expected a list, got 5"),
        ({"lines": [5]}, "lines[0]", "expected a list of points [x, y], got 5"),
        ({"lines": [LINE, [[1, 1], [1, 1]]]}, "lines[1]", "expected two different points or more"),
        ({"lines": [[[1, 1], [1]]]}, "lines[0][1]", "expected a point [x, y], got [1]"),
        ({"lines": [[[1, 1], [1, "2"]]]}, "lines[0][1][1]", "expected a number, got '2'"),
        ({"include": [SQUARE, SQUARE[:2]]}, "include[1]", "expected three corners or more"),
        ({"include": [[[1, 1], [2, float("inf")], [3, 3]]]}, "include[0][1][1]", "expected a number, got inf"),
        ({"direction": [1]}, "direction", "expected two numbers [dx, dy], got [1]"),
        ({"both_ways": 1}, "both_ways", "expected true or false, got 1"),
        ({"anchor": "head"}, "anchor", "expected one of foot, center, box, share, got 'head'"),
        ({"share": 0}, "share", "expected a share above 0 and at most 1, got 0"),
        ({"share": 1.5}, "share", "expected a share above 0 and at most 1, got 1.5"),
        ({"events": ["enter", "cross"]}, "events[1]", "expected one of enter, leave, inside, dwell, occupancy"),
        ({"events": []}, "events", "expected one at least, got an empty list"),
        ({"dwel_s": 5}, "dwel_s", "is no key here"),
        ({"events": "enter"}, "events", "expected a list, got 'enter'"),
        ({"dwell_s": -1}, "dwell_s", "expected a number of at least 0, got -1"),
        ({"occupancy_above": -1}, "occupancy_above", "expected a number of at least 0, got -1"),
        ({"first": 1.5}, "first", "expected a whole number, got 1.5"),
        ({"first": -1}, "first", "expected a number of at least 0, got -1"),
        ({"every": "1"}, "every", "expected a number, got '1'"),
        ({"cooldown_s": True}, "cooldown_s", "expected a number, got True"),
        ({"rearm_s": None}, "rearm_s", "expected a number, got None"),
        ({"report_every_s": float("nan")}, "report_every_s", "expected a number, got nan"),
        ({"best_picture": "best"}, "best_picture", "expected true or false, got 'best'"),
        ({"max_lost": 0}, "max_lost", "expected a number of at least 1, got 0"),
    ],
)
def test_what_a_rule_cannot_use_is_named_with_its_path(keys: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        rule(**keys)
    assert caught.value.key == f"filters[2].rule.{path}"
    assert caught.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("entry", "key", "problem"),
    [
        ({"rule": "cross"}, "x.rule", "expected an object, got 'cross'"),
        ({"rule": {}}, "x.rule.kind", "is missing"),
        ({"rule": {"kind": "area"}, "classes": []}, "x.classes", "expected a list of class numbers, got []"),
        ({"rule": {"kind": "area"}, "classes": 0}, "x.classes", "expected a list of class numbers, got 0"),
        ({"rule": {"kind": "area"}, "conditions": []}, "x.conditions", "expected an object, got []"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named(entry: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_rule(entry, "x")
    assert (caught.value.key, caught.value.problem) == (key, problem)


WEEK = {"zone": "Europe/Berlin", "windows": [{"day": 0, "start": 0, "end": 60}]}


@pytest.mark.parametrize(
    ("keys", "path", "problem"),
    [
        ({"classes": ["person"]}, "classes[0]", "expected a number, got 'person'"),
        ({"classes": []}, "classes", "expected a list of class numbers, got []"),
        ({"threshold": {"0": 0.5}}, "threshold", "is no key here"),
        ({"schedule": WEEK | {"windows": []}}, "schedule.windows", "expected one at least, got an empty list"),
        ({"schedule": WEEK | {"window": []}}, "schedule.window", "is no key here"),
        (
            {"schedule": WEEK | {"windows": [{"days": 0, "start": 0, "end": 1}]}},
            "schedule.windows[0].days",
            "is no key",
        ),
        ({"classes": 3}, "classes", "expected a list of class numbers, got 3"),
        ({"thresholds": []}, "thresholds", "expected an object, got []"),
        ({"thresholds": {"person": 0.5}}, "thresholds.person", "expected a class number as key"),
        ({"thresholds": {"٣": 0.5}}, "thresholds.٣", "expected a class number as key"),
        ({"thresholds": {"0": 60}}, "thresholds.0", "expected a confidence from 0 to 1, got 60"),
        ({"min_px": -3}, "min_px", "expected a number of at least 0, got -3"),
        ({"max_px": "9"}, "max_px", "expected a number, got '9'"),
        ({"exclude": [SQUARE[:2]]}, "exclude[0]", "expected three corners or more"),
        ({"schedule": 5}, "schedule", "expected an object, got 5"),
        ({"schedule": WEEK | {"zone": "Europe/Bonn"}}, "schedule.zone", "there is no time zone 'Europe/Bonn'"),
        ({"schedule": WEEK | {"zone": ""}}, "schedule.zone", "there is no time zone ''"),
        ({"schedule": WEEK | {"zone": "../etc/passwd"}}, "schedule.zone", "there is no time zone '../etc/passwd'"),
        ({"schedule": WEEK | {"zone": "Europe"}}, "schedule.zone", "there is no time zone 'Europe'"),
        ({"schedule": {"zone": "UTC"}}, "schedule.windows", "is missing"),
        ({"schedule": WEEK | {"windows": [1]}}, "schedule.windows[0]", "expected an object, got 1"),
        (
            {"schedule": WEEK | {"windows": [{"day": 7, "start": 0, "end": 1}]}},
            "schedule.windows[0].day",
            "expected a number from 0 to 6, got 7",
        ),
        (
            {"schedule": WEEK | {"windows": [{"day": 0, "start": 1440, "end": 1}]}},
            "schedule.windows[0].start",
            "expected a number from 0 to 1439, got 1440",
        ),
        (
            {"schedule": WEEK | {"windows": [{"day": 0, "start": 0, "end": 0}]}},
            "schedule.windows[0].end",
            "expected a number from 1 to 1440, got 0",
        ),
        ({"schedule": WEEK | {"windows": [{"day": 0, "start": 0}]}}, "schedule.windows[0].end", "is missing"),
    ],
)
def test_what_conditions_cannot_use_is_named_with_its_path(keys: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        conditions(**keys)
    assert caught.value.key == f"filters[2].conditions.{path}"
    assert caught.value.problem.startswith(problem)
