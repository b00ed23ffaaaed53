"""What a task's ``Extend`` may say to rules, and what its sender is told of what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from streamserver.core.errors import BadRequestError
from streamserver.core.rule_options import RuleOptions, condition_options, rule_options

_CORNERS = [{"X": 0, "Y": 0}, {"X": 50, "Y": 0}, {"X": 50, "Y": 50}]
_NIGHT = {"From": "22:00", "To": "06:00"}


def _parsed(extend: Any) -> RuleOptions:
    return rule_options({"Extend": extend})


@pytest.mark.parametrize("extend", [None, "text", [1], {}, {"Mine": 1}, {"Mode": None, "Schedule": None}])
def test_what_says_nothing_leaves_every_default(extend: Any) -> None:
    options = _parsed(extend)
    assert (options.direction, options.anchor, options.picture, options.wanted_events) == (
        "arrow",
        "foot",
        "event",
        ["inside"],
    )
    assert (options.rearm_s, options.cooldown_s, options.schedule, options.detect_roi) == (5.0, 0.0, None, False)


@pytest.mark.parametrize(
    ("extend", "events"),
    [
        ({"Events": ["leave", "enter", "leave"]}, ["leave", "enter"]),
        ({"DwellTime": 30}, ["dwell"]),
        ({"OccupancyAbove": 0}, ["occupancy"]),
        ({"DwellTime": 30, "OccupancyAbove": 5}, ["dwell", "occupancy"]),
        ({"Events": ["inside"], "OccupancyAbove": 5}, ["inside", "occupancy"]),
        ({"Events": ["dwell"]}, ["dwell"]),
        ({"Events": ["dwell"], "DwellTime": None}, ["dwell"]),
    ],
    ids=str,
)
def test_a_key_that_only_one_event_needs_asks_for_it(extend: dict[str, Any], events: list[str]) -> None:
    assert _parsed(extend).wanted_events == events
    assert _parsed({"Events": ["dwell"]}).dwell_s == 10.0


@pytest.mark.parametrize("anchor", ["foot", "center", "box", 0.3, 1])
def test_an_anchor_is_a_point_or_a_share(anchor: str | float) -> None:
    assert _parsed({"Anchor": anchor}).anchor == anchor


def test_a_schedule_becomes_minutes_of_weekdays() -> None:
    windows = [{"Days": ["Sun", "Mon"], **_NIGHT}, {"Days": ["Wed"], "From": "00:00", "To": "24:00"}]
    schedule = _parsed({"Schedule": {"TimeZone": "Europe/Berlin", "Windows": windows}}).schedule
    assert schedule is not None and schedule.to_filter() == {
        "zone": "Europe/Berlin",
        "windows": [
            {"day": 6, "start": 1320, "end": 360},
            {"day": 0, "start": 1320, "end": 360},
            {"day": 2, "start": 0, "end": 1440},
        ],
    }


def test_a_window_without_days_is_on_every_day_and_may_end_at_midnight() -> None:
    window = {"From": "18:30", "To": "00:00"}
    schedule = _parsed({"Schedule": {"TimeZone": "UTC", "Windows": [window]}}).schedule
    assert schedule is not None
    assert schedule.to_filter()["windows"] == [{"day": day, "start": 1110, "end": 1440} for day in range(7)]


def test_a_line_loses_points_that_repeat_and_keeps_its_arrow() -> None:
    points = [{"X": 1, "Y": 2}, {"X": 1, "Y": 2}, {"X": 5, "Y": 2}, {"X": 1, "Y": 2}]
    arrow = {"DirectStart": {"X": 3, "Y": 3}, "DirectEnd": {"X": 3, "Y": -4}}
    (line,) = _parsed({"Lines": [{"Points": points, **arrow}]}).lines
    assert line.path_xy == [(1, 2), (5, 2), (1, 2)]
    assert line.arrow_xy == (0, -7)


def _schedule(**changes: Any) -> dict[str, Any]:
    return {"Schedule": {"TimeZone": "Europe/Berlin", "Windows": [_NIGHT]} | changes}


_WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("Mode", {"Mode": "crossing"}, 'unknown value, got "crossing"; use cross or touch'),
    ("Direction", {"Direction": "left"}, "use arrow or both"),
    ("Picture", {"Picture": "all"}, "use event or best"),
    ("Anchor", {"Anchor": 0}, "no anchor, got 0; use foot, center, box, or the share"),
    ("Anchor", {"Anchor": 1.01}, "no anchor, got 1.01"),
    ("Anchor", {"Anchor": True}, "no anchor, got true"),
    ("Events", {"Events": []}, "expected a list of events"),
    ("Events", {"Events": "enter"}, "expected a list of events"),
    ("Events", {"Events": ["enter", "exit"]}, '"exit" is no event; use enter, leave, inside, dwell, occupancy'),
    ("Events", {"Events": ["occupancy"]}, "occupancy is told above a number; add"),
    ("DwellTime", {"DwellTime": 0}, "expected a number above 0 and at most 604800, got 0"),
    ("DwellTime", {"DwellTime": "10"}, 'got "10"'),
    ("OccupancyAbove", {"OccupancyAbove": -1}, "expected an integer from 0 to 1000000, got -1"),
    ("OccupancyAbove", {"OccupancyAbove": 2.5}, "got 2.5"),
    ("Cooldown", {"Cooldown": -0.1}, "expected a number from 0 to 604800, got -0.1"),
    ("RearmTime", {"RearmTime": 3601}, "from 0 to 3600"),
    ("DetectRoi", {"DetectRoi": 1}, "expected true or false, got 1"),
    ("ExcludeAreas", {"ExcludeAreas": {}}, "expected a list of 0 to 64"),
    ("ExcludeAreas[0]", {"ExcludeAreas": [[]]}, "the area has no corners"),
    ("ExcludeAreas[1]", {"ExcludeAreas": [_CORNERS, _CORNERS[:2]]}, "2 different points make no area"),
    ("ExcludeAreas[0][0].X", {"ExcludeAreas": [[{"X": -500, "Y": 0}, *_CORNERS]]}, "from -100 to 100000, got -500"),
    ("ExcludeAreas", {"ExcludeAreas": [_CORNERS * 200, _CORNERS * 200]}, "1200 corners together; at most 1000"),
    ("Lines[0]", {"Lines": [{"Points": [{"X": 1, "Y": 1}] * 3}]}, "the line has no length"),
    ("Lines[0].Points", {"Lines": [{}]}, "is missing"),
    ("Lines[0]", {"Lines": [{"Points": _CORNERS, "DirectStrat": {}}]}, "did you mean DirectStart?"),
    ("Thresholds", {"Thresholds": {"persn": 60}}, '"persn" is no class; use numbers from 0 or the names in'),
    ("Thresholds", {"Thresholds": {"person": 0}}, "person: expected a number above 0 and at most 100, got 0"),
    ("Thresholds", {"Thresholds": {"person": True}}, "got true"),
    ("Thresholds", {"Thresholds": {"person": 60, "0": 50}}, "a class is there twice"),
    ("Thresholds", {"Thresholds": [60]}, "expected an object"),
    ("Schedule.TimeZone", _schedule(TimeZone="Europe/Berln"), 'unknown time zone, got "Europe/Berln"; use a name'),
    ("Schedule.TimeZone", _schedule(TimeZone="Europe"), "unknown time zone"),
    ("Schedule.TimeZone", _schedule(TimeZone="../../etc/passwd"), "unknown time zone"),
    ("Schedule.TimeZone", _schedule(TimeZone=""), "unknown time zone"),
    ("Schedule.TimeZone", {"Schedule": {"Windows": [_NIGHT]}}, 'is missing; add "TimeZone": "Europe/Berlin"'),
    ("Schedule.Windows", _schedule(Windows=[]), "expected a list of 1 to 64"),
    ("Schedule.Windows[0].From", _schedule(Windows=[{"From": "7:00", "To": "08:00"}]), "a time of day as HH:MM"),
    ("Schedule.Windows[0].From", _schedule(Windows=[{"To": "08:00"}]), 'is missing; add "From": "22:00"'),
    ("Schedule.Windows[0].To", _schedule(Windows=[{"From": "07:00", "To": "25:00"}]), "a time of day as HH:MM"),
    ("Schedule.Windows[0]", _schedule(Windows=[{"From": "07:00", "To": "07:00"}]), "00:00 to 24:00 is the whole day"),
    ("Schedule.Windows[0]", _schedule(Windows=[{"From": "24:00", "To": "07:00"}]), "is no time"),
    ("Schedule.Windows[0].Days", _schedule(Windows=[{**_NIGHT, "Days": ["Monday"]}]), '"Monday" is no day; use Mon'),
    ("Schedule.Windows[0].Days", _schedule(Windows=[{**_NIGHT, "Days": []}]), "expected a list of days"),
    (
        "Schedule.Windows[0]",
        _schedule(Windows=[{**_NIGHT, "Day": ["Mon"]}]),
        '"Day" is no key here; did you mean Days?',
    ),
]


@pytest.mark.parametrize(("key", "extend", "says"), _WRONG, ids=[f"{i}-{key}" for i, (key, _, _) in enumerate(_WRONG)])
def test_what_cannot_be_meant_is_refused_with_its_path_and_the_cure(
    key: str, extend: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        _parsed(extend)
    assert caught.value.path == f"$.Algorithm[].Extend.{key}"
    assert says in str(caught.value)
    assert str(caught.value).count("$.Algorithm") == 1


def test_an_algorithm_that_knows_no_rules_may_mean_something_else_by_their_keys() -> None:
    assert condition_options({"Extend": {"Mode": "fast", "Events": 7}}).exclude == []
