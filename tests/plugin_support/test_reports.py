"""From posted frames to reports of what rules have seen."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from streamserver import plugin_api
from streamserver.core.events import PICTURES_KEY, Kind, RuleEvent
from tests.samples import frames

BOX = (100, 60, 180, 200)
PICTURE = base64.b64encode(b"\xff\xd8\xffbest").decode()

CROSS = RuleEvent(kind=Kind.CROSS, rule=1, track_id=7, class_id=2, score=0.87123, box_xyxy=BOX, direction="out", row=0)
LEAVE = RuleEvent(
    kind=Kind.LEAVE,
    place=2,
    track_id=9,
    class_id=0,
    score=0.5,
    box_xyxy=(10, 20, 40, 90),
    direction="out",
    stay_s=12.5,
    leave_s=5.04,
    count=0,
)
CROWD = RuleEvent(kind=Kind.OCCUPANCY, box_xyxy=BOX, count=6)
COUNT = RuleEvent(kind=Kind.COUNT, count=3)


@pytest.mark.parametrize(
    ("happened", "extend"),
    [
        (
            CROSS,
            {
                "Event": "cross",
                "TrackId": 7,
                "Class": "car",
                "Confidence": 0.8712,
                "VehicleType": "car",
                "Direction": "out",
                "Line": 1,
            },
        ),
        (
            LEAVE,
            {
                "Event": "leave",
                "TrackId": 9,
                "Class": "person",
                "Confidence": 0.5,
                "Direction": "out",
                "Area": 2,
                "StayTime": 12.5,
                "LeaveTime": 5.04,
                "ObjectCount": 0,
            },
        ),
        (CROWD, {"Event": "occupancy", "ObjectCount": 6}),
        (COUNT, {"Event": "count", "ObjectCount": 3}),
        (RuleEvent(kind=Kind.ENTER, track_id=1, class_id=4711), None),
    ],
    ids=lambda value: value.kind.value if isinstance(value, RuleEvent) else "",
)
def test_an_event_tells_all_that_has_a_meaning(happened: RuleEvent, extend: dict[str, Any] | None) -> None:
    told = plugin_api.event_extend(happened)
    assert told == extend if extend is not None else told["Class"] == "4711"


def test_one_report_tells_all_events_of_a_frame_each_with_its_picture() -> None:
    message = frames.with_events(frames.frame(4, {7: BOX}, picture=True), CROSS, LEAVE, CROWD, COUNT)
    message[PICTURES_KEY] = ["", PICTURE, "", ""]
    names = plugin_api.rule_names(message)
    assert names == ["cross:1:7", "leave:0:9", "occupancy:0:0", "count:0:0"]
    report = plugin_api.rule_report(message, "t", 6, names)
    cross, leave, crowd, count = report["AnalyzeEvents"]
    assert leave["ImageBase64"] == PICTURE and leave["Box"]["LeftTopX"] == 10
    assert cross["ImageBase64"] == crowd["ImageBase64"] != message["mFrame"]["mSpData"], "cut from the frame"
    assert count["ImageBase64"] == message["mFrame"]["mSpData"]
    assert count["Box"] == {"LeftTopX": 0, "LeftTopY": 0, "RightBtmX": 320, "RightBtmY": 240}
    assert {event["Type"] for event in report["AnalyzeEvents"]} == {6}


def test_a_report_tells_only_what_it_is_asked_for_and_what_the_sample_adds() -> None:
    message = frames.with_events(frames.frame(4, {7: BOX}, picture=True), CROSS, LEAVE)
    report = plugin_api.rule_report(message, "t", 6, ["leave:0:9"], extend=lambda found: {"Mine": found.class_id})
    (event,) = report["AnalyzeEvents"]
    assert (event["Extend"]["Event"], event["Extend"]["Mine"]) == ("leave", 0)


def test_without_any_picture_events_have_none() -> None:
    message = frames.with_events(frames.frame(4, {7: BOX}), CROSS, COUNT)
    report = plugin_api.rule_report(message, "t", 6, plugin_api.rule_names(message))
    assert [event["ImageBase64"] for event in report["AnalyzeEvents"]] == ["", ""]


class TestAnEngineWithoutRules:
    def test_is_told_from_one_that_has_seen_nothing(self) -> None:
        assert plugin_api.rule_events(frames.frame(0, {7: BOX})) is None
        assert plugin_api.rule_events(frames.with_events(frames.frame(0, {7: BOX}))) == []

    def test_has_its_objects_named_by_track_or_class(self) -> None:
        message = frames.frame(0, {7: BOX})
        assert plugin_api.rule_names(message) == ["7"]
        presence = plugin_api.Presence[str](enter_frames=1, leave_frames=5)
        assert plugin_api.rule_names(message, presence) == ["7"]
        assert plugin_api.rule_names(message, presence) == []
        del message["mTrackedObjectMetadatas"]
        assert plugin_api.rule_names(message) == []
        report = plugin_api.rule_report(message, "t", 1, ["class 0"])
        assert report["AnalyzeEvents"][0]["Extend"] == {"Class": "person", "Confidence": 0.8712}
