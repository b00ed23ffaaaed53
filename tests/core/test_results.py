from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from streamserver.core.arrays import Detections
from streamserver.core.results import WireFrame, frame_to_wire, objects_of, objects_to_wire
from streamserver.core.wire_json import from_json, to_json

# The example of CONTRACT 4.6, as a sophon-stream binary posts it.
EXAMPLE: dict[str, Any] = json.loads(
    '{"mDetectedObjectMetadatas":[{"mBox":{"mHeight":120,"mWidth":60,"mX":10,"mY":20},"mClassify":0,"mScores":[0.87]}],'
    '"mFps":0.0,"mFrame":{"mChannelId":0,"mEndOfStream":false,"mFrameId":42,"mHeight":1080,"mSpData":"/9j/4AAQ",'
    '"mTimestamp":1700000000000000,"mWidth":1920},"mGraphId":0,"mSubId":0,'
    '"mTrackedObjectMetadatas":[{"mTrackId":7}]}'
)


def wire(detections: Detections, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "channel_id": 3, "graph_id": 1, "frame_id": 42, "sequence": 14, "loop": 2, "size_wh": (1920, 1080),
        "timestamp_us": 1_700_000_000_000_000,
    }  # fmt: skip
    return frame_to_wire(**(values | changes)) | objects_to_wire(detections)


def found(**changes: Any) -> dict[str, Any]:
    """The example with one detected object changed."""
    item = EXAMPLE["mDetectedObjectMetadatas"][0] | changes
    return EXAMPLE | {"mDetectedObjectMetadatas": [item]}


def test_a_binary_s_message_is_read() -> None:
    assert WireFrame.from_wire(EXAMPLE) == WireFrame(
        channel_id=0,
        frame_id=42,
        sequence=None,
        loop=0,
        size_wh=(1920, 1080),
        timestamp_us=1_700_000_000_000_000,
        picture_base64="/9j/4AAQ",
    )
    [only] = objects_of(EXAMPLE)
    assert (only.index, only.box_xyxy, only.class_id, only.score, only.track_id) == (0, (10, 20, 70, 140), 0, 0.87, 7)


def test_our_message_is_read_back_as_it_was_written() -> None:
    detections = Detections.from_arrays([[9.6, 20.4, 70.5, 140.0], [-5.0, 0.0, 3.0, 4.0]], [0.5, 0.25], [0, 2], [7, 8])
    message = from_json(to_json(wire(detections, picture_jpeg=b"\xff\xd8\xff")))
    frame = WireFrame.from_wire(message)
    assert (frame.channel_id, frame.frame_id, frame.sequence, frame.loop) == (3, 42, 14, 2)
    assert frame.size_wh == (1920, 1080) and base64.b64decode(frame.picture_base64) == b"\xff\xd8\xff"
    first, second = objects_of(message)
    assert (first.box_xyxy, first.class_id, first.score, first.track_id) == ((10, 20, 70, 140), 0, 0.5, 7)
    assert (second.index, second.box_xyxy, second.class_id, second.track_id) == (1, (-5, 0, 3, 4), 2, 8)


def test_our_message_has_the_keys_and_types_of_the_contract() -> None:
    message = from_json(to_json(wire(Detections.from_arrays([[0, 0, 2, 3]], [0.5], [1], [9]))))
    assert message["mDetectedObjectMetadatas"] == [
        {"mBox": {"mHeight": 3, "mWidth": 2, "mX": 0, "mY": 0}, "mClassify": 1, "mScores": [0.5]}
    ]
    assert message["mTrackedObjectMetadatas"] == [{"mTrackId": 9}]
    assert (message["mFps"], message["mSubId"], message["mGraphId"]) == (0.0, 0, 1)
    assert message["mFrame"]["mEndOfStream"] is False and message["mFrame"]["mSpData"] == ""


def test_empty_lists_are_left_out_and_read_as_empty() -> None:
    message = wire(Detections.empty())
    assert not {"mDetectedObjectMetadatas", "mTrackedObjectMetadatas"} & set(message)
    assert objects_of(message) == []
    untracked = wire(Detections.from_arrays([[0, 0, 2, 3]], [0.5], [1]))
    assert "mTrackedObjectMetadatas" not in untracked and objects_of(untracked)[0].track_id is None


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, r"^\$\.mFrame: expected an object"),
        ({"mFrame": None}, r"^\$\.mFrame: expected an object"),
        ({"mFrame": {}}, r"^\$\.mFrame\.mFrameId: expected an integer, got None"),
        ({"mFrame": {"mFrameId": "12"}}, "got '12'"),
        ({"mFrame": {"mFrameId": 12.0}}, r"got 12\.0"),
        ({"mFrame": {"mFrameId": True}}, "got True"),
        ({"mFrame": {"mFrameId": 2**63}}, "64 bits"),
        ({"mFrame": {"mFrameId": 1, "mWidth": []}}, r"^\$\.mFrame\.mWidth"),
        ({"mFrame": {"mFrameId": 1, "mSequence": "3"}}, r"^\$\.mFrame\.mSequence"),
        ({"mFrame": {"mFrameId": 1, "mSpData": 5}}, r"^\$\.mFrame\.mSpData: expected a string, got int"),
    ],
)
def test_a_frame_that_cannot_be_read_names_its_key(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        WireFrame.from_wire(message)


@pytest.mark.parametrize(
    "message",
    [
        EXAMPLE | {"mDetectedObjectMetadatas": 5},
        EXAMPLE | {"mDetectedObjectMetadatas": "abc"},
        EXAMPLE | {"mDetectedObjectMetadatas": [None]},
        EXAMPLE | {"mDetectedObjectMetadatas": [{}]},
        EXAMPLE | {"mTrackedObjectMetadatas": [{}]},
        EXAMPLE | {"mTrackedObjectMetadatas": 5},
        found(mBox={"mX": 0, "mY": 0, "mWidth": 1}),
        found(mBox={"mX": float("inf"), "mY": 0, "mWidth": 1, "mHeight": 1}),
        found(mBox={"mX": float("nan"), "mY": 0, "mWidth": 1, "mHeight": 1}),
        found(mScores=[None]),
        found(mScores=5),
        found(mClassify=None),
    ],
)
def test_objects_that_cannot_be_read_are_refused(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^\$\.mDetectedObjectMetadatas"):
        objects_of(message)


def test_optional_parts_of_an_object_may_be_absent() -> None:
    message = EXAMPLE | {"mDetectedObjectMetadatas": [{"mBox": EXAMPLE["mDetectedObjectMetadatas"][0]["mBox"]}] * 2}
    first, second = objects_of(message)
    assert (first.class_id, first.score, first.track_id) == (0, 0.0, 7)
    assert second.track_id is None  # fewer tracks than objects
    assert objects_of(found(mScores=[]))[0].score == 0.0
