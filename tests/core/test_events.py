"""Events on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamserver.core.events import EVENTS_KEY, Kind, RuleEvent, events_of

SECONDS = st.none() | st.integers(0, 10**7).map(lambda hundredths: hundredths / 100)
SIDES = st.integers(-(10**5), 10**5)
EVENTS = st.builds(
    RuleEvent,
    kind=st.sampled_from(Kind),
    rule=st.integers(0, 99),
    place=st.integers(0, 99),
    track_id=st.integers(0, 2**63 - 1),
    row=st.integers(-1, 999),
    class_id=st.integers(-1, 999),
    score=st.integers(0, 10**4).map(lambda share: share / 10**4),
    box_xyxy=st.tuples(SIDES, SIDES, SIDES, SIDES),
    direction=st.sampled_from(["", "in", "out"]),
    stay_s=SECONDS,
    leave_s=SECONDS,
    count=st.none() | st.integers(0, 999),
)


@given(st.lists(EVENTS, max_size=4))
def test_what_is_written_is_read_again(events: list[RuleEvent]) -> None:
    message = json.loads(json.dumps({EVENTS_KEY: [event.to_wire() for event in events]}))
    assert events_of(message) == events


def test_what_has_no_meaning_is_left_out() -> None:
    assert RuleEvent(kind=Kind.COUNT, count=0).to_wire() == {
        "mKind": "count",
        "mRule": 0,
        "mPlace": 0,
        "mTrackId": 0,
        "mObject": -1,
        "mClassify": -1,
        "mScore": 0.0,
        "mBox": {"mX": 0, "mY": 0, "mWidth": 0, "mHeight": 0},
        "mCount": 0,
    }


def test_a_message_of_a_graph_without_rules_has_none() -> None:
    assert events_of({}) is None
    assert events_of({EVENTS_KEY: []}) == []


BOX = {"mX": 1, "mY": 2, "mWidth": 3, "mHeight": 4}


@pytest.mark.parametrize(
    "members",
    [5, ["enter"], [{}], [{"mKind": "jump", "mBox": BOX}], [{"mKind": "enter"}], [{"mKind": "enter", "mBox": {}}],
     [{"mKind": "enter", "mBox": BOX, "mTrackId": "x"}], [{"mKind": "enter", "mBox": BOX, "mScore": []}]],
    ids=["a number", "a text", "empty", "unknown kind", "no box", "an empty box", "a track that is a text", "a list"],
)  # fmt: skip
def test_members_of_the_wrong_form_are_refused(members: Any) -> None:
    with pytest.raises(ValueError, match=r"\$\.mEvents: "):
        events_of({EVENTS_KEY: members})
