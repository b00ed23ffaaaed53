"""Whatever stands in an entry in the place of what belongs there is refused by its path, or does no harm."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from streamserver.geometry.rules.channel import ChannelRules
from streamserver.geometry.rules.entries import parse_entries
from streamserver.geometry.rules.reading import SpecError
from tests.geometry.rules.rule_frames import SIZE_WH, person, rule_frame

ODD: list[Any] = [None, True, "", [], {}, -1, 0, 1.5, 1e300, 10**400, float("nan"), [[]], [[0, 0]], {"a": 1}, 2**62]
ENTRY: dict[str, Any] = {
    "classes": [0],
    "rule": {
        "kind": "cross", "lines": [[[0, 0], [9, 9], [9, 20]]], "direction": [1, 0], "both_ways": True,
        "include": [[[0, 0], [9, 0], [9, 9]]], "anchor": "share", "share": 0.5, "dwell_s": 1, "occupancy_above": 0,
        "events": ["enter", "leave", "inside", "dwell", "occupancy"], "first": 1, "every": 2, "cooldown_s": 1,
        "rearm_s": 1, "report_every_s": 1, "best_picture": True, "max_lost": 9,
    },
    "conditions": {
        "classes": [0], "thresholds": {"0": 0.5}, "min_px": 1, "max_px": 90, "exclude": [[[0, 0], [9, 0], [9, 9]]],
        "schedule": {"zone": "Europe/Berlin", "windows": [{"day": 0, "start": 0, "end": 60}]},
    },
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from places(member, (*path, key))


def spoilt(kind: str) -> Iterator[dict[str, Any]]:
    sound = ENTRY | {"rule": ENTRY["rule"] | {"kind": kind}}
    for path in places(sound):
        for odd in ODD:
            entry = inner = copy.deepcopy(sound)
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = odd
            yield entry


@pytest.mark.parametrize("kind", ["cross", "area", "flow"])
def test_an_entry_with_something_odd_in_it_is_refused_or_works(kind: str) -> None:
    refused = 0
    for entry in spoilt(kind):
        try:
            rules = ChannelRules(parse_entries({"rules": [{"channel_id": 0, "filters": [entry]}]})[0])
        except SpecError as e:
            assert e.key.startswith("rules[0].filters[0]")
            refused += 1
            continue
        for step in range(3):
            frame = rule_frame(step, {1: person(5 + 4 * step, 9)})
            outcome = rules.update(frame.detections, step=step, clock_s=frame.clock_s, timestamp_us=1, size_wh=SIZE_WH)
            json.dumps([event.to_wire() for event in outcome.events or ()], allow_nan=False)
    assert refused > 500
