"""The filter element with rules of ours: events, their pictures, changes while it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.arrays import Detections
from streamserver.core.errors import GraphError
from streamserver.core.events import Kind
from streamserver.core.objects import Pose
from streamserver.core.settings import Settings
from streamserver.elements.filter import Filter
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame, Picture

Person = tuple[float, int]
"""Where the middle of somebody is, and the track."""

ALL_DAY = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
LINE: dict[str, Any] = {"rule": {"kind": "cross", "lines": [[[400, 0], [400, 600]]], "direction": [1, 0]}}
LEAVING: dict[str, Any] = {
    "rule": {"kind": "area", "include": [[[0, 0], [300, 0], [300, 600], [0, 600]]], "events": ["leave"], "rearm_s": 1}
}


def configure(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"rules": [{"channel_id": 0, "filters": list(filters)}]}


def make(*filters: dict[str, Any], said: list[tuple[str, str]] | None = None) -> Filter:
    return Filter(
        ElementContext(
            element_id=7,
            name="filter",
            config_file="filter.json",
            configure=configure(*filters),
            settings=Settings(),
            base_dir=Path(),
            report=lambda key, value: (said if said is not None else []).append((key, value)),
        )
    )


def frame_with(step: int, *people: Person, clock_s: float | None = None, **values: Any) -> Frame:
    """People 20 wide and 100 high; the picture is as bright as ``step`` says. Ten frames a second."""
    image = np.full((600, 800, 3), 20 + step * 3 % 200, dtype=np.uint8)
    boxes = [[x - 10, 300, x + 10, 400] for x, _ in people]
    frame = Frame(
        0,
        0,
        step,
        sequence=step,
        clock_s=step / 10 if clock_s is None else clock_s,
        timestamp_us=1_700_000_000_000_000 + step * 100_000,
        picture=Picture((800, 600), lambda: image),
        detections=Detections.from_arrays(boxes, [0.9] * len(people), [0] * len(people), [n for _, n in people]),
    )
    for name, value in values.items():
        setattr(frame, name, value)
    return frame


def passed(element: Filter, *frames: Frame) -> list[Frame]:
    emitted: list[Frame] = []
    for frame in frames:
        element.process(frame, lambda frame, *, port=None: emitted.append(frame))
    return emitted


def walk(start: float, end: float, *, first: int = 0, others: tuple[Person, ...] = ()) -> list[Frame]:
    return [frame_with(first + n, *others, (x, 5)) for n, x in enumerate(np.linspace(start, end, 11).tolist())]


def test_a_frame_passes_with_its_event_and_with_the_object_it_speaks_of() -> None:
    frames = walk(300, 500, others=((30, 1), (700, 2)))
    for frame in frames:
        frame.poses = [Pose(np.full((1, 3), row, np.float32)) for row in range(3)]
    (frame,) = passed(make(LINE), *frames)
    assert frame.events is not None
    (event,) = frame.events
    assert (event.kind, event.rule, event.row, event.track_id, event.direction) == (Kind.CROSS, 0, 0, 5, "in")
    assert frame.detections.track_ids.tolist() == [5]
    assert [pose.keypoints[0, 0] for pose in frame.poses] == [2]
    assert [area.tolist() for area in frame.touched_areas] == [[[400, 0], [400, 600]]]
    assert frame.event_pictures == [None], "it is in the frame"


def test_without_rules_a_frame_has_no_events_and_with_them_it_has_a_list() -> None:
    everything = {"areas": [[]], "classes": [0], "times": ALL_DAY, "type": 2}
    (without,) = passed(make(everything), frame_with(0, (30, 1)))
    (with_rules,) = passed(make(everything, LINE), frame_with(0, (30, 1)))
    assert (without.events, with_rules.events) == (None, [])


def test_the_numbers_of_rules_and_rows_are_those_of_what_is_posted() -> None:
    marked = {
        "areas": [[{"left": x, "top": y} for x, y in ((600, 0), (800, 0), (800, 600), (600, 600))]],
        "classes": [0], "times": ALL_DAY, "type": 2,
    }  # fmt: skip
    frames = passed(make(marked, LINE), *walk(300, 500, others=((30, 1), (700, 2))))
    assert [frame.detections.track_ids.tolist() for frame in frames if frame.events] == [[2, 5]]
    assert [(event.rule, event.row) for frame in frames for event in frame.events or ()] == [(1, 1)]
    assert len(frames) == 11


def test_a_later_filter_keeps_the_events_and_puts_their_rows_right() -> None:
    (frame,) = passed(make(LINE), *walk(300, 500, others=((30, 1),)))
    right_half = {"areas": [[]], "classes": [0], "times": ALL_DAY, "type": 2, "conditions": {"min_px": 500}}
    assert passed(make(right_half), frame) == []
    frame.keep_rows(np.array([], dtype=np.intp))
    assert [event.row for event in frame.events or ()] == [-1]


def test_durations_are_measured_on_the_clock_of_the_source() -> None:
    """Frames come at any pace; that a file is read ten times as fast changes nothing."""
    dwelling = {"rule": {"kind": "area", "events": ["dwell"], "dwell_s": 5}}
    frames = [frame_with(n, (100, 5), clock_s=n / 2) for n in range(20)]
    assert [(frame.frame_id, frame.events[0].stay_s) for frame in passed(make(dwelling), *frames) if frame.events] == [
        (10, 5.0)
    ]


def test_who_has_gone_is_shown_as_it_was_last_seen() -> None:
    frames = [*walk(100, 200, first=1), *(frame_with(n, (700, 9)) for n in range(12, 40))]
    (frame,) = passed(make(LEAVING), frame_with(0), *frames)
    assert frame.events is not None
    assert [(event.kind, event.row, event.track_id) for event in frame.events] == [(Kind.LEAVE, -1, 5)]
    assert len(frame.detections) == 0
    (picture,) = frame.event_pictures
    assert picture is not None
    assert (picture == 20 + 3 * 11).all(), "the frame with number 11 was the last"


def test_who_walks_out_of_an_area_is_shown_where_it_is_now() -> None:
    (frame,) = passed(make(LEAVING), frame_with(0), *walk(200, 500, first=1))
    (picture,) = frame.event_pictures
    assert picture is not None
    assert (picture == 20 + 3 * frame.sequence).all()
    assert frame.detections.track_ids.tolist() == [5]


def test_the_best_picture_is_there_where_it_is_asked_for() -> None:
    best = {"rule": LINE["rule"] | {"best_picture": True}}
    frames = walk(300, 500)
    noise = np.random.default_rng(1).integers(0, 255, (600, 800, 3)).astype(np.uint8)
    frames[2].picture = Picture((800, 600), lambda: noise)
    (frame,) = passed(make(best, LINE), *frames)
    first, second = frame.event_pictures
    assert second is None, "the other rule shows what is in the frame"
    assert first is not None
    np.testing.assert_array_equal(first, noise[280:420, 270:410])
    assert not np.shares_memory(first, noise)


def test_a_discontinuity_and_an_end_forget_the_channel() -> None:
    element = make(LINE, LEAVING)
    first, *rest = walk(420, 500, first=11)
    first.discontinuity = True
    assert passed(element, *walk(320, 380), first, *rest) == []
    end = Frame(0, 0, 0, end_of_stream=True)
    element.end_of_stream(end, lambda frame, *, port=None: None)
    assert [frame.events for frame in passed(element, *walk(320, 380, first=40))] == []
    element.end_of_stream(end, lambda frame, *, port=None: None)
    assert passed(element, *walk(420, 500, first=60)) == []


def test_skipped_frames_are_not_looked_at() -> None:
    element = make({"rule": {"kind": "area"}})
    assert passed(element, frame_with(0, (30, 1), skipped=True)) == []
    assert len(passed(element, frame_with(1, (30, 1)))) == 1


def test_rules_without_track_ids_are_told_once_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        passed(make(LINE, LINE, LEAVING), *(frame_with(n, (30, 0)) for n in range(3)))
    assert [record.message[:97] for record in caplog.records] == [
        "filter.json: element 7 on channel 0 gets objects without track ids for a rule of kind 'cross', wh",
        "filter.json: element 7 on channel 0 gets objects without track ids for a rule of kind 'area', whi",
    ]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"min_px": 101}, "one of 20x100 pixels, even its longer side is below 101"),
        ({"max_px": 19.5}, "one of 20x100 pixels, even its shorter side is above 19.5"),
        ({"min_px": 100, "max_px": 20}, ""),
        ({"min_px": 101, "classes": [3]}, ""),
    ],
)
def test_that_objects_are_left_out_for_their_size_is_told_once(limits: dict[str, Any], words: str) -> None:
    said: list[tuple[str, str]] = []
    element = make(LINE | {"conditions": limits}, said=said)
    passed(element, *walk(300, 500))
    told = [("left out on channel 0", f"objects for their size: {words}")] if words else []
    assert said == told
    element.reconfigure(configure(LINE))
    assert said[len(told) :] == [("left out on channel 0", "")] * bool(told), "nobody is left out any more"


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ({"kind": "cross", "lines": [[[801, 0], [900, 600]]]}, "a line lies outside the picture of 800x600"),
        (
            {"kind": "area", "include": [[[900, 0], [990, 0], [990, 600]]]},
            "an area lies outside the picture of 800x600",
        ),
        ({"kind": "cross", "lines": [[[-50, 300], [900, 300]]]}, ""),
        ({"kind": "area"}, ""),
    ],
)
def test_that_something_is_drawn_beside_the_picture_is_in_the_status(drawn: dict[str, Any], words: str) -> None:
    said: list[tuple[str, str]] = []
    passed(make({"rule": drawn}, said=said), *walk(300, 500))
    assert said == [("left out on channel 0", words)] * bool(words)


def test_that_everybody_is_left_out_is_told_while_the_schedule_is_shut() -> None:
    said: list[tuple[str, str]] = []  # frame 0 is at 22:13:20 UTC
    window = {"day": 1, "start": 22 * 60 + 14, "end": 22 * 60 + 15}
    shut = {"conditions": {"schedule": {"zone": "UTC", "windows": [window]}}}
    passed(make(LINE | shut, said=said), *(frame_with(step) for step in (0, 1, 399, 400, 401, 999, 1000)))
    told, untold = ("left out on channel 0", "everybody, outside the schedule"), ("left out on channel 0", "")
    assert said == [told, untold, told]


def test_a_change_while_it_runs_keeps_what_equal_entries_remember() -> None:
    element = make(LINE, LEAVING)
    assert passed(element, *walk(320, 380)) == []
    element.reconfigure(configure({"rule": {"kind": "area", "events": ["occupancy"], "occupancy_above": 9}}, LINE))
    (frame,) = passed(element, *walk(420, 500, first=11))
    assert [(event.rule, event.kind) for event in frame.events or ()] == [(1, Kind.CROSS)]


def test_a_change_of_an_entry_begins_it_anew_and_other_channels_go() -> None:
    element = make(LINE)
    passed(element, *walk(320, 380))
    element.reconfigure(configure({"rule": LINE["rule"] | {"max_lost": 99}}))
    assert passed(element, *walk(420, 500, first=11)) == []
    element.reconfigure({"rules": []})
    assert len(passed(element, frame_with(30, (30, 1)))) == 1, "a channel without a rule passes unfiltered"


def test_a_change_that_cannot_be_used_changes_nothing() -> None:
    element = make(LINE)
    passed(element, *walk(320, 380))
    with pytest.raises(GraphError, match=r"element 7 'filter': rules\[0\].filters\[1\].rule.kind: .*got 'jump'"):
        element.reconfigure(configure(LEAVING, {"rule": {"kind": "jump"}}))
    assert len(passed(element, *walk(420, 500, first=11))) == 1


def test_a_rule_that_cannot_be_used_names_file_element_key_and_cure() -> None:
    with pytest.raises(
        GraphError, match=r"filter.json: element 7 'filter': rules\[0\].filters\[0\].rule.lines: .*draw one"
    ):
        make({"rule": {"kind": "cross"}})


def ended(element: Filter) -> list[Frame]:
    emitted: list[Frame] = []
    end = Frame(0, 0, 0, end_of_stream=True)
    element.end_of_stream(end, lambda frame, *, port=None: emitted.append(frame))
    assert emitted.pop() is end
    return emitted


SLOW_LEAVING = {"rule": LEAVING["rule"] | {"rearm_s": 60}}


def gone_before_the_end(element: Filter) -> None:
    """Somebody is in the area for two seconds and not seen for two more; another is in it to the last."""
    assert passed(element, *(frame_with(step, (100, 5), (200, 6)) for step in range(20))) == []
    assert passed(element, *(frame_with(step, (200, 6)) for step in range(20, 40))) == []


def test_who_had_gone_when_the_source_ends_is_told_in_one_more_frame_with_its_last_picture() -> None:
    element = make(SLOW_LEAVING)
    gone_before_the_end(element)
    (frame,) = ended(element)
    (event,) = frame.events or ()
    assert (event.kind, event.track_id, event.row, event.count) == (Kind.LEAVE, 5, -1, 1)
    assert (event.stay_s, event.leave_s) == (pytest.approx(1.9), pytest.approx(2.0))
    (picture,) = frame.event_pictures
    assert picture is not None and abs(int(picture.max()) - (20 + 19 * 3)) < 2, "as it was last seen"
    assert (frame.frame_id, frame.sequence, len(frame.detections), frame.end_of_stream) == (40, 40, 0, False)
    assert frame.picture is not None and frame.picture.bgr[0, 0, 0] == 20 + 39 * 3, "of the last frame"
    assert ended(element) == []


def test_who_had_gone_when_a_source_starts_over_is_told_with_the_next_frame() -> None:
    element = make(SLOW_LEAVING)
    gone_before_the_end(element)
    (frame,) = passed(element, frame_with(40, discontinuity=True))
    assert [
        (event.track_id, picture is not None)
        for event, picture in zip(frame.events or (), frame.event_pictures, strict=True)
    ] == [(5, True)]
    assert ended(element) == []


def test_at_the_end_nothing_is_told_outside_the_schedule_or_of_events_that_nobody_wants() -> None:
    week = [{"day": day, "start": 0, "end": 1} for day in range(7)]
    entering = {"rule": SLOW_LEAVING["rule"] | {"events": ["enter"]}}
    for rule in (SLOW_LEAVING | {"conditions": {"schedule": {"zone": "UTC", "windows": week}}}, entering, LINE):
        element = make(rule)
        gone_before_the_end(element)
        assert ended(element) == []


def test_places_outside_the_picture_are_said_once_for_each_size(caplog: pytest.LogCaptureFixture) -> None:
    beside = {"rule": {"kind": "cross", "lines": [[[900, 0], [900, 600]]]}}
    hidden = {"exclude": [[[0, 700], [100, 700], [100, 800]]]}
    element = make(LINE, beside, LEAVING | {"conditions": hidden})
    with caplog.at_level(logging.WARNING):
        passed(element, frame_with(0), frame_with(1))
    assert [message.partition(" has ")[2] for message in caplog.messages] == [
        "a line outside the picture of 800x600, where nobody can be: (900, 0), (900, 600)",
        "an area outside the picture of 800x600, where nobody can be: (0, 700), (100, 700), (100, 800)",
    ]
    caplog.clear()
    small = Picture((320, 240), lambda: np.zeros((240, 320, 3), np.uint8))
    with caplog.at_level(logging.WARNING):
        passed(element, frame_with(2, picture=small), frame_with(3, picture=small))
    assert len(caplog.messages) == 3 and all("320x240" in message for message in caplog.messages)
