"""Events on their way out: through http_push, and through a whole graph from a clip to the client's door."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamserver.core.arrays import Detections, ImageBgr
from streamserver.core.events import Kind, RuleEvent, events_of
from streamserver.core.picture import Picture
from streamserver.core.results import objects_of
from streamserver.core.settings import Settings
from streamserver.elements.http_push import HttpPush
from streamserver.engine.element import ElementContext
from streamserver.engine.frame import Frame
from streamserver.vision.codec import decode_jpeg
from tests.assets import clip
from tests.elements.receiver import ACCEPTED, Answer, Receiver
from tests.engine.elements import chain, channel, make_runner
from tests.geometry.clip_detections import one_by_one

IN_FRAME = RuleEvent(
    kind=Kind.CROSS, rule=1, track_id=3, row=0, class_id=0, score=0.75, box_xyxy=(110, 40, 130, 60), direction="in"
)
GONE = RuleEvent(
    kind=Kind.LEAVE,
    track_id=4,
    class_id=0,
    score=0.5,
    box_xyxy=(10, 40, 30, 60),
    direction="out",
    stay_s=4.5,
    leave_s=2,
)
COUNTED = RuleEvent(kind=Kind.COUNT, count=3)


def wants_pictures(message: Any, number: int) -> Answer:
    return (200, ACCEPTED[1] | {"pictures": True}) if not message["mFrame"]["mSpData"] else ACCEPTED


def frame_with(events: list[RuleEvent] | None, pictures: list[ImageBgr | None]) -> Frame:
    image = np.zeros((120, 200, 3), np.uint8)
    image[:, 100:] = (0, 0, 255)
    found = Detections.from_arrays([[110, 40, 130, 60]], [0.75], [0], [3])
    frame = Frame(4, 1, 9, sequence=3, picture=Picture((200, 120), lambda: image), detections=found)
    frame.events, frame.event_pictures = events, pictures
    return frame


def posted(*frames: Frame, answer: Callable[[Any, int], Answer] = wants_pictures, **keys: Any) -> list[Any]:
    with Receiver(answer) as receiver:
        context = ElementContext(
            element_id=7,
            name="http_push",
            config_file="push.json",
            configure={"ip": "127.0.0.1", "port": receiver.port, "path": "/flask_test/0", **keys},
            settings=Settings(),
            base_dir=Path(),
            stopping=threading.Event(),
        )
        element = HttpPush(context)
        for frame in frames:
            element.process(frame, lambda frame, *, port=None: None)
        element.close()
    return receiver.messages


def pictures_of(message: dict[str, Any]) -> list[ImageBgr | None]:
    return [decode_jpeg(base64.b64decode(one)) if one else None for one in message["mEventPictures"]]


def test_events_are_posted_and_come_back_as_they_were() -> None:
    events = [IN_FRAME, GONE, COUNTED]
    first, second = posted(frame_with(events, [None] * 3), pictures="on_demand")
    assert events_of(first) == events_of(second) == events
    assert "mEventPictures" not in first
    assert "mCrops" not in second
    assert len(objects_of(second)) == 1


def test_the_pictures_of_events_are_what_was_kept_or_else_cut_out_of_the_frame() -> None:
    kept = np.full((30, 40, 3), (0, 255, 0), np.uint8)
    _, message = posted(frame_with([IN_FRAME, GONE, GONE, COUNTED], [None, kept, None, None]), pictures="on_demand")
    in_frame, gone, not_kept, counted = pictures_of(message)
    assert in_frame is not None and gone is not None and not_kept is not None
    assert in_frame.shape == (60, 60, 3)
    assert in_frame[30, 30, 2] > 220
    assert gone.shape == (30, 40, 3)
    assert gone[..., 1].min() > 220
    assert not_kept.max() < 30, "where it was last seen"
    assert counted is None


def test_who_wanted_the_pictures_of_events_gets_the_next_at_once_until_they_came_in_vain() -> None:
    def answer(message: Any, number: int) -> Answer:
        if number == 2:
            return 200, ACCEPTED[1] | {"pictures": False}
        return wants_pictures(message, number) if number < 5 else ACCEPTED

    event, quiet = frame_with([IN_FRAME], [None]), frame_with(None, [])
    messages = posted(event, event, event, event, quiet, answer=answer, pictures="on_demand")
    brought = ["mEventPictures" in message for message in messages]
    asked, foreseen_in_vain, asked_again, foreseen, no_event = [False, True], [True], [False, True], [True], [False]
    assert brought == [*asked, *foreseen_in_vain, *asked_again, *foreseen, *no_event]


def test_who_always_wants_pictures_gets_those_of_events_as_well() -> None:
    (message,) = posted(frame_with([IN_FRAME], [None]))
    assert [picture is not None for picture in pictures_of(message)] == [True]
    assert "mCrops" not in message


def test_a_frame_that_no_rule_has_seen_is_posted_as_before() -> None:
    first, second = posted(frame_with(None, []), pictures="on_demand")
    assert not {"mEvents", "mEventPictures"} & (first.keys() | second.keys())
    assert len(second["mCrops"]) == 1


def test_no_events_are_an_empty_list() -> None:
    first, second = posted(frame_with([], []), pictures="on_demand")
    assert (first["mEvents"], second["mEvents"], second["mEventPictures"]) == ([], [], [])


def test_from_a_clip_to_the_clients_door_six_people_go_and_are_shown() -> None:
    """Decoded frames, what yolox_nano finds in them, tracks, rules, posts."""
    interval = 3
    found = dict(one_by_one(interval=interval, min_score=0.25))
    cross = {"kind": "cross", "lines": [[[580, 0], [580, 200], [582, 431]]], "direction": [100, 0], "both_ways": True}
    leave = {"kind": "area", "events": ["leave"], "first": 5, "rearm_s": 2}
    tracks = {"track_thresh": 0.5, "high_thresh": 0.5, "track_buffer": round(50 / interval)}
    with Receiver(wants_pictures) as receiver:
        graph = chain(
            ("decode", {}),
            ("finder", {"objects": lambda frame: found[frame.frame_id]}),
            ("bytetrack", tracks),
            ("filter", {"rules": [{"channel_id": 0, "filters": [{"rule": cross}, {"rule": leave}]}]}),
            ("http_push", {"ip": "127.0.0.1", "port": receiver.port, "path": "/x", "pictures": "on_demand"}),
        )
        source = channel(url=str(clip("one-by-one-person-detection.mp4")), fps=-1, sample_interval=interval)
        assert make_runner([graph], [source]).run() == []
    with_pictures = [message for message in receiver.messages if "mEventPictures" in message]
    events = [event for message in with_pictures for event in events_of(message) or ()]
    assert [event.direction for event in events if event.kind is Kind.CROSS] == ["in"] * 6
    left = [event for event in events if event.kind is Kind.LEAVE]
    assert len(left) == 6
    assert len({event.track_id for event in left}) == 6
    assert all(5 < (event.stay_s or 0) < 40 for event in left)
    for message in with_pictures:
        assert all(picture is not None for picture in pictures_of(message))
        rows = [event.row for event in events_of(message) or () if event.row >= 0]
        assert sorted(rows) == list(range(len(objects_of(message))))
