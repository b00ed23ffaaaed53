"""The strict reader of posted messages takes what CONTRACT 4 describes, and finds whatever deviates from it."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conformance.wire import problems_of


def jpeg(width: int, height: int) -> str:
    done, data = cv2.imencode(".jpg", np.full((height, width, 3), 90, np.uint8))
    assert done
    return base64.b64encode(data.tobytes()).decode()


def frame(**changes: Any) -> dict[str, Any]:
    return {
        "mChannelId": 3,
        "mEndOfStream": False,
        "mFrameId": 42,
        "mHeight": 24,
        "mWidth": 32,
        "mSpData": jpeg(32, 24),
        "mTimestamp": 1_700_000_000_000_000,
        **changes,
    }


def part(sub_id: int = 0, **changes: Any) -> dict[str, Any]:
    own = frame(mTimestamp=0, mWidth=0, mHeight=0, mSpData=jpeg(8, 8), **changes)
    return {"mFps": 0.0, "mFrame": own, "mGraphId": 0, "mSubId": sub_id}


def message() -> dict[str, Any]:
    """One of everything."""
    box = {"mHeight": 12, "mWidth": 6, "mX": -1, "mY": 2}
    return {
        "mDetectedObjectMetadatas": [{"mBox": box, "mClassify": 0, "mScores": [0.87]}],
        "mTrackedObjectMetadatas": [{"mTrackId": 7}],
        "mPosedObjectMetadatas": [{"keypoints": [1.0, 2, 0.5]}],
        "mRecognizedObjectMetadatas": [{"mLabelName": "京A", "mScores": [], "mTopKLabels": []}],
        "mFaceObjectMetadata": [
            {
                "bottom": 9,
                "left": 1,
                "points_x": [1.0] * 5,
                "points_y": [2.0] * 5,
                "right": 5,
                "score": 0.5,
                "top": -2,
            }
        ],
        "mFps": 0.0,
        "mFrame": frame(mSequence=14, mLoop=0),
        "mGraphId": 0,
        "mSubId": 0,
        "mSubObjectMetadatas": [part()],
    }


def body(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def changed(path: str, value: Any) -> dict[str, Any]:
    """The message with one member replaced; ``...`` removes it."""
    result = copy.deepcopy(message())
    place: Any = result
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def test_a_message_with_one_of_everything_is_valid() -> None:
    assert problems_of(body(message())) == []


def test_a_message_of_a_frame_without_anything_is_valid() -> None:
    assert problems_of(body({"mFps": 12.5, "mFrame": frame(), "mGraphId": 1, "mSubId": 0})) == []


def test_a_part_that_shows_the_whole_frame_has_its_size() -> None:
    whole = part(-1)
    whole["mFrame"] |= {"mWidth": 32, "mHeight": 24, "mSpData": jpeg(32, 24)}
    assert problems_of(body(changed("mSubObjectMetadatas", [whole]))) == []
    whole["mFrame"]["mWidth"] = 31
    assert len(problems_of(body(changed("mSubObjectMetadatas", [whole])))) == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mDetectedObjectMetadatas", []),
        ("mSubObjectMetadatas", []),
        ("mDetectedObjectMetadatas.0.mBox.mX", 1.0),
        ("mDetectedObjectMetadatas.0.mBox.mWidth", -1),
        ("mDetectedObjectMetadatas.0.mBox", ...),
        ("mDetectedObjectMetadatas.0.mScores", [0.5, 0.5]),
        ("mDetectedObjectMetadatas.0.mScores", ["0.5"]),
        ("mDetectedObjectMetadatas.0.mLabelName", "person"),
        ("mDetectedObjectMetadatas.0.mClassify", True),
        ("mDetectedObjectMetadatas.0", None),
        ("mTrackedObjectMetadatas.0.mTrackId", 0),
        ("mTrackedObjectMetadatas", [{"mTrackId": 7}, {"mTrackId": 8}]),
        ("mPosedObjectMetadatas.0.keypoints", [1.0] * 7),
        ("mPosedObjectMetadatas.0.keypoints", []),
        ("mRecognizedObjectMetadatas.0.mScores", ...),
        ("mRecognizedObjectMetadatas.0.mLabelName", None),
        ("mRecognizedObjectMetadatas.0.mTopKLabels", [1.5]),
        ("mFaceObjectMetadata.0.points_x", [1.0] * 4),
        ("mFaceObjectMetadata.0.top", 1.5),
        ("mFaceObjectMetadatas", [{}]),
        ("mFps", ...),
        ("mFps", None),
        ("mGraphId", "0"),
        ("mSubId", ...),
        ("mFrame", ...),
        ("mFrame.mEndOfStream", True),
        ("mFrame.mFrameId", -1),
        ("mFrame.mWidth", 33),
        ("mFrame.mTimestamp", 2**63),
        ("mFrame.mSpData", ""),
        ("mFrame.mSpData", ...),
        ("mFrame.mSpData", "data:image/jpeg;base64," + jpeg(32, 24)),
        ("mFrame.mSpData", jpeg(32, 24)[:-8]),
        ("mFrame.mSpData", jpeg(32, 24) + "\n"),
        ("mFrame.extra", 1),
        ("mSubObjectMetadatas.0.mFrame.mFrameId", 41),
        ("mSubObjectMetadatas.0.mFrame.mChannelId", 4),
        ("mSubObjectMetadatas.0.mFrame.mTimestamp", 5),
        ("mSubObjectMetadatas.0.mFrame.mWidth", 8),
        ("mSubObjectMetadatas.0.mFrame.mSequence", 1),
        ("mSubObjectMetadatas.0.mSubObjectMetadatas", [{"mFps": 0.0}]),
    ],
)
def test_whatever_deviates_is_found_where_it_is(path: str, value: Any) -> None:
    problems = problems_of(body(changed(path, value)))
    assert problems
    assert problems[0].startswith("$." + path.split(".")[0])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        body(message()).replace(b'"mFps":0.0', b'"mFps":NaN'),
        json.dumps(message(), sort_keys=True).encode(),
        json.dumps(message(), separators=(",", ":"), ensure_ascii=False).encode(),
        json.dumps(message(), sort_keys=True, separators=(",", ":")).encode(),
    ],
)
def test_the_text_of_the_message_has_one_form(text: bytes) -> None:
    assert problems_of(text)
