from __future__ import annotations

import json
from typing import Any

import pytest

from streamserver.geometry.rules.entries import parse_entries
from streamserver.geometry.rules.reading import SpecError
from streamserver.geometry.rules.schedule import DailyWindow
from streamserver.geometry.rules.spec import FilterSpec
from tests.assets import graphs_dir

LINE = [{"top": 0, "left": 580}, {"top": 431, "left": 580}]
ALL_DAY = [{"time_start": "00 00 00", "time_end": "23 59 59"}]


def rules_with(**changes: Any) -> dict[str, Any]:
    entry = {"areas": [LINE], "classes": [0], "times": ALL_DAY, "type": 1} | changes
    entry = {key: value for key, value in entry.items() if value is not ...}
    return {"rules": [{"channel_id": 0, "filters": [entry]}]}


def test_the_defaults_are_those_of_the_contract() -> None:
    spec = filter_with()
    assert [a.tolist() for a in spec.areas] == [[[580, 0], [580, 431]]]
    assert (spec.classes, spec.kind, spec.first, spec.every, spec.direction_xy, spec.interval) == (
        (0,), 1, 0, 1, (0, 0), 5,
    )  # fmt: skip
    assert spec.windows == (DailyWindow(0, 86_399),)
    assert (spec.crossing, spec.by_foot, spec.max_lost) == (False, False, 100)


def filter_with(**changes: Any) -> FilterSpec:
    (entry,) = parse_entries(rules_with(**changes))[0]
    assert isinstance(entry.spec, FilterSpec)
    return entry.spec


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"alert_first_frame": 7}, "first", 7),
        ({"alert_first_frames": 7}, "first", 7),
        ({"alert_first_frame": 3, "alert_first_frames": 7}, "first", 3),
        ({"alert_first_frame": -1}, "first", 0),
        ({"alert_frame_skip_nums": 0}, "every", 1),
        ({"alert_frame_skip_nums": 300.0}, "every", 300),
        ({"trajectory_interval": 0}, "interval", 1),
        ({"direction": [3, -4]}, "direction_xy", (3, -4)),
        ({"mode": "cross"}, "crossing", True),
        ({"anchor": "foot"}, "by_foot", True),
        ({"type": 7}, "kind", 7),
        ({"classes": []}, "lacks", "classes"),
        ({"areas": []}, "lacks", "areas"),
        ({"times": []}, "lacks", "times"),
        ({"areas": [[]]}, "lacks", ""),
    ],
)
def test_keys_become_what_they_mean(changes: dict[str, Any], name: str, expected: Any) -> None:
    assert getattr(filter_with(**changes), name) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"areas": ...}, r"rules\[0\].filters\[0\].areas: is missing"),
        ({"classes": ...}, r"classes: is missing"),
        ({"times": ...}, r"times: is missing"),
        ({"type": ...}, r"type: is missing"),
        ({"type": "1"}, r"type: expected a number, got '1'"),
        ({"type": True}, r"type: expected a number, got True"),
        ({"classes": "0"}, r"classes: expected a list, got '0'"),
        ({"classes": [0, 1.5]}, r"classes\[1\]: expected a whole number, got 1.5"),
        ({"areas": [5]}, r"areas\[0\]: expected a list of points, got 5"),
        ({"areas": [[{"top": 1}]]}, r"areas\[0\]\[0\].left: expected a number, got None"),
        ({"areas": [[[1, 2]]]}, r"areas\[0\]\[0\]: expected an object"),
        ({"areas": [[{"top": 1, "left": float("nan")}]]}, r"left: expected a number, got nan"),
        ({"times": [{"time_start": "00 00 00", "time_end": "25 00 00"}]}, r"times\[0\].time_end: .*got '25 00 00'"),
        ({"times": [{"time_start": "00 00 00"}]}, r"time_end: expected a time of day"),
        ({"direction": [1]}, r"direction: expected two numbers \[dx, dy\], got \[1\]"),
        ({"mode": "jump"}, r"mode: expected one of touch, cross, got 'jump'"),
        ({"anchor": 1}, r"anchor: expected one of box, foot, got 1"),
        ({"areas": [[{"top": 1, "left": 10**400}]]}, r"left: expected a number, got 1000"),
        ({"mode": "cross", "type": 2}, r"type: mode 'cross' follows tracks, got type 2"),
        ({"mode": "cross", "areas": [LINE, [*LINE, LINE[0]]]}, r"areas\[1\]: mode 'cross' needs a line"),
        ({"mode": "cross", "areas": [[LINE[0], LINE[0]]]}, r"areas\[0\]: mode 'cross' needs a line"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_entries(rules_with(**changes))


@pytest.mark.parametrize(
    ("configure", "message"),
    [
        ({}, "rules: is missing"),
        ({"rules": 3}, "rules: expected a list, got 3"),
        ({"rules": [3]}, r"rules\[0\]: expected an object, got 3"),
        ({"rules": [{"filters": []}]}, r"rules\[0\].channel_id: is missing"),
        ({"rules": [{"channel_id": 0}]}, r"rules\[0\].filters: is missing"),
    ],
)
def test_a_broken_frame_of_rules_is_named(configure: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_entries(configure)


def test_of_two_rules_for_one_channel_the_last_holds() -> None:
    configure = {"rules": rules_with(type=1)["rules"] + rules_with(type=2)["rules"]}
    assert [entry.written["type"] for entry in parse_entries(configure)[0]] == [2]


def test_the_filters_of_sophon_stream_are_read() -> None:
    files = sorted(graphs_dir().glob("*/config/*filter*.json"))
    assert files
    for file in files:
        entries = parse_entries(json.loads(file.read_text())["configure"])
        spec = entries[0][0].spec
        assert isinstance(spec, FilterSpec)
        assert spec.lacks == "", file
