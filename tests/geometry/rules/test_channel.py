"""All entries of one channel together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamserver.core.events import Kind
from streamserver.geometry.rules.channel import ChannelRules, Outcome
from streamserver.geometry.rules.entries import Entry, parse_entries
from tests.geometry.rules.rule_frames import SIZE_WH, person, rule_frame

ALL_DAY = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
EVERYTHING: dict[str, Any] = {"areas": [[]], "classes": [0], "times": ALL_DAY, "type": 2}
LINE: dict[str, Any] = {"rule": {"kind": "cross", "lines": [[[400, 0], [400, 600]]], "direction": [1, 0]}}
CORNER: dict[str, Any] = {
    "rule": {"kind": "area", "include": [[[500, 0], [800, 0], [800, 600], [500, 600]]], "events": ["enter"]}
}


def entries(*filters: dict[str, Any]) -> tuple[Entry, ...]:
    return parse_entries({"rules": [{"channel_id": 0, "filters": list(filters)}]})[0]


def rules(*filters: dict[str, Any]) -> ChannelRules:
    return ChannelRules(entries(*filters))


def look(one: ChannelRules, step: int, people: dict[int, float], **values: Any) -> Outcome:
    """What is made of people of these numbers with their feet at (x, 300); frames come ten a second."""
    frame = rule_frame(step, {number: person(x, 300) for number, x in people.items()}, **values)
    return one.update(
        frame.detections, step=step, clock_s=frame.clock_s, timestamp_us=frame.timestamp_us, size_wh=SIZE_WH
    )


def walk(one: ChannelRules, start: float, end: float, *, first_step: int = 0, number: int = 7) -> list[Outcome]:
    return [look(one, first_step + n, {number: x}) for n, x in enumerate(np.linspace(start, end, 21).tolist())]


def told(outcomes: list[Outcome]) -> list[tuple[int, Kind]]:
    return [(event.rule, event.kind) for outcome in outcomes for event in outcome.events or ()]


def test_without_rules_there_are_no_events_and_no_new_identities() -> None:
    outcome = look(rules(EVERYTHING), 0, {7: 100, 8: 200})
    assert outcome.events is None
    assert outcome.kept.tolist() == [True, True]
    assert outcome.identities.tolist() == [7, 8]


def test_each_rule_tells_its_events_under_its_number() -> None:
    assert told(walk(rules(CORNER, LINE, CORNER), 300, 700)) == [(1, Kind.CROSS), (0, Kind.ENTER), (2, Kind.ENTER)]


def test_the_objects_of_events_and_those_of_filters_are_kept() -> None:
    one = rules(
        LINE, EVERYTHING | {"areas": [[{"left": 0, "top": 0}, {"left": 60, "top": 0}, {"left": 0, "top": 600}]]}
    )
    outcomes = [look(one, n, {1: 700, 7: x, 2: 10}) for n, x in enumerate(np.linspace(300, 500, 11).tolist())]
    crossing = [outcome for outcome in outcomes if outcome.events]
    assert [outcome.kept.tolist() for outcome in crossing] == [[False, True, True]]
    assert [event.row for outcome in crossing for event in outcome.events or ()] == [1]
    assert all(outcome.kept.tolist() == [False, False, True] for outcome in outcomes if not outcome.events)


def test_an_event_of_somebody_who_is_gone_keeps_nobody() -> None:
    one = rules({"rule": {"kind": "area", "events": ["leave"], "rearm_s": 1}})
    look(one, 0, {})
    for step in range(1, 10):
        look(one, step, {7: 300})
    outcomes = [look(one, step, {8: 100}) for step in range(10, 40)]
    assert told(outcomes) == [(0, Kind.LEAVE)]
    assert not any(outcome.kept.any() for outcome in outcomes)


def test_frames_without_objects_are_seen_as_well() -> None:
    one = rules({"rule": {"kind": "flow", "report_every_s": 1}})
    kinds = [kind for _, kind in told([look(one, step, {}) for step in range(35)])]
    assert kinds.count(Kind.COUNT) >= 3
    assert set(kinds) == {Kind.COUNT}


def test_the_places_of_events_are_noted_lines_by_their_straight_parts() -> None:
    bent = {"rule": {"kind": "cross", "lines": [[[9, 9], [20, 9]], [[400, 0], [400, 400], [450, 600]]]}}
    areas = [area.tolist() for outcome in walk(rules(bent, CORNER), 300, 700) for area in outcome.areas]
    assert areas == [
        [[400, 0], [400, 400]],
        [[400, 400], [450, 600]],
        [[500, 0], [800, 0], [800, 600], [500, 600]],
    ]


def test_a_reset_forgets_who_was_where() -> None:
    one = rules(LINE)
    walk(one, 300, 380)
    one.reset()
    assert told(walk(one, 420, 500, first_step=21)) == []
    assert len(one) == 1


@pytest.mark.parametrize("moved", [False, True], ids=["in its place", "moved"])
def test_entries_that_stay_remember_and_new_ones_begin_anew(moved: bool) -> None:
    """Somebody stands right before the line while the entries change, then walks on."""
    before = rules(LINE, CORNER)
    walk(before, 300, 380)
    wider = {"rule": LINE["rule"] | {"lines": [[[395, 0], [395, 600]]]}}
    after = ChannelRules(entries(*((CORNER, wider, LINE) if moved else (LINE, CORNER, wider))), before)
    seen = told(walk(after, 420, 460, first_step=21))
    assert seen == [(2 if moved else 0, Kind.CROSS)], "the new line was never seen from its other side"


def test_who_was_known_keeps_its_identity_over_a_change() -> None:
    before = rules(LINE)
    walk(before, 100, 300)
    look(before, 21, {})
    after = ChannelRules(entries(CORNER), before)
    assert look(after, 24, {9: 330}).identities.tolist() == [7]
    assert look(ChannelRules(entries(CORNER)), 24, {9: 330}).identities.tolist() == [9]


def test_conditions_hold_for_filters_of_sophon_stream_too() -> None:
    def kept(**conditions: Any) -> list[bool]:
        one = rules(EVERYTHING | {"classes": [0, 2], "conditions": conditions})
        frame = rule_frame(0, {1: person(100, 300), 2: person(300, 300, height=90)}, scores=[0.6, 0.9], classes=[0, 2])
        return one.update(
            frame.detections, step=0, clock_s=0.0, timestamp_us=1_700_000_000_000_000, size_wh=SIZE_WH
        ).kept.tolist()

    week = [{"day": day, "start": 0, "end": 1440} for day in range(7)]
    assert kept() == [True, True]
    assert kept(classes=[2, 5]) == [False, True]
    assert kept(thresholds={"0": 0.7}) == [False, True]
    assert kept(min_px=60) == [False, True]
    assert kept(max_px=19) == [False, False]
    assert kept(exclude=[[[50, 270], [150, 270], [150, 350], [50, 350]]]) == [True, True], "not all of its box"
    assert kept(exclude=[[[50, 200], [150, 200], [150, 350], [50, 350]]]) == [False, True]
    assert kept(schedule={"zone": "UTC", "windows": week}) == [True, True]
    assert kept(schedule={"zone": "UTC", "windows": week[:1]}) == [False, False], "it is a Tuesday"


def test_a_type_one_filter_counts_only_what_its_conditions_let_through() -> None:
    one = rules(EVERYTHING | {"type": 1, "alert_first_frame": 2, "conditions": {"thresholds": {"0": 0.7}}})
    scores = [0.6, 0.6, 0.8, 0.6, 0.6, 0.6]
    kept = [look(one, n, {7: 100}, scores=[score]).kept.tolist() for n, score in enumerate(scores)]
    assert [any(row) for row in kept] == [False] * 4 + [True, True], "from its best frame on, its track is believed"
