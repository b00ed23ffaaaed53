"""A strict reader of what http_push posts, written from CONTRACT 4.1 and 4.2 alone: it shares no code with the engine.

``problems_of(body)`` says what is wrong with one message, each sentence beginning with the JSON path of the culprit.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np

Check = Callable[[Any, str], Iterator[str]]

_INT64 = 2**63
_INT32 = 2**31
_WHOLE_FRAME = -1


def problems_of(body: bytes) -> list[str]:
    """What is wrong with a posted body, the form of the JSON text included; nothing for a valid one."""
    try:
        message = json.loads(body, parse_constant=_refuse)
    except ValueError as e:
        return [f"$: is not JSON: {e}"]
    plain = json.dumps(message, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    problems = [] if plain == body else ["$: keys are not sorted, or there is white space, or text is not raw UTF-8"]
    return [*problems, *_message(message, "$", parent=None)]


def _message(value: Any, path: str, *, parent: Mapping[str, Any] | None) -> Iterator[str]:
    """One message, or one sub-object, whose ``mFrame`` repeats some of its parent's."""
    if not isinstance(value, dict):
        yield f"{path}: expected an object, got {type(value).__name__}"
        return
    required: dict[str, Check] = {"mFps": _number, "mGraphId": _integer(_INT32), "mSubId": _integer(_INT32)}
    yield from _members(value, path, required=required | {"mFrame": _anything}, optional=_LISTS)
    yield from _frame(value.get("mFrame"), f"{path}.mFrame", value, parent)
    tracks = value.get("mTrackedObjectMetadatas")
    if isinstance(tracks, list) and len(tracks) != len(value.get("mDetectedObjectMetadatas") or []):
        yield f"{path}.mTrackedObjectMetadatas: is not parallel to mDetectedObjectMetadatas"
    parts = value.get("mSubObjectMetadatas")
    if isinstance(parts, list) and isinstance(value.get("mFrame"), dict):
        for i, part in enumerate(parts):
            yield from _message(part, f"{path}.mSubObjectMetadatas[{i}]", parent=value["mFrame"])


def _frame(value: Any, path: str, message: Mapping[str, Any], parent: Mapping[str, Any] | None) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: expected an object, got {type(value).__name__}"
        return
    required: dict[str, Check] = {
        "mChannelId": _integer(_INT32),
        "mEndOfStream": _false,
        "mFrameId": _integer(_INT64, low=0),
        "mHeight": _integer(_INT32, low=0),
        "mWidth": _integer(_INT32, low=0),
        "mTimestamp": _integer(_INT64, low=0),
        "mSpData": _anything,
    }
    ours: dict[str, Check] = {"mSequence": _integer(_INT64, low=0), "mLoop": _integer(_INT64, low=0)}
    yield from _members(value, path, required=required, optional=ours if parent is None else {})
    if parent is not None:
        for key in ("mChannelId", "mFrameId"):
            if value.get(key) != parent.get(key):
                yield f"{path}.{key}: {value.get(key)} is not the whole frame's {parent.get(key)}"
        if value.get("mTimestamp"):
            yield f"{path}.mTimestamp: is not 0 in a part"
    sized = parent is None or message.get("mSubId") == _WHOLE_FRAME
    yield from _picture(value.get("mSpData"), f"{path}.mSpData", value if sized else None)
    if not sized and (value.get("mWidth"), value.get("mHeight")) != (0, 0):
        yield f"{path}: mWidth and mHeight are not 0 in a cut-out part"


def _picture(value: Any, path: str, frame: Mapping[str, Any] | None) -> Iterator[str]:
    """A whole JPEG in standard Base64; of the size that ``frame`` says, if it says one."""
    if not isinstance(value, str):
        yield f"{path}: expected a text, got {type(value).__name__}"
        return
    try:
        data = base64.b64decode(value, validate=True)
    except binascii.Error as e:
        yield f"{path}: is not Base64: {e}"
        return
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        yield f"{path}: is no whole JPEG"
        return
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        yield f"{path}: is a JPEG that cannot be decoded"
    elif frame is not None and image.shape[:2] != (frame.get("mHeight"), frame.get("mWidth")):
        yield f"{path}: shows {image.shape[1]}x{image.shape[0]}, not {frame.get('mWidth')}x{frame.get('mHeight')}"


def _members(
    value: Mapping[str, Any], path: str, *, required: Mapping[str, Check], optional: Mapping[str, Check]
) -> Iterator[str]:
    yield from (f"{path}.{key}: is missing" for key in required if key not in value)
    known = {**required, **optional}
    for key, member in value.items():
        if key not in known:
            yield f"{path}.{key}: is no key of the contract"
        else:
            yield from known[key](member, f"{path}.{key}")


def _object(**keys: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: expected an object, got {type(value).__name__}"
        else:
            yield from _members(value, path, required=keys, optional={})

    return check


def _filled(item: Check) -> Check:
    """A list that is absent rather than empty."""

    def check(value: Any, path: str) -> Iterator[str]:
        if value == []:
            yield f"{path}: is empty, so it should not be there"
        yield from _list(item)(value, path)

    return check


def _list(item: Check, *, length: int | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: expected an array, got {type(value).__name__}"
            return
        if length is not None and len(value) != length:
            yield f"{path}: has {len(value)} members, not {length}"
        for i, member in enumerate(value):
            yield from item(member, f"{path}[{i}]")

    return check


def _integer(limit: int, *, low: int | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path}: expected a whole number, got {value!r:.40}"
        elif not (-limit if low is None else low) <= value < limit:
            yield f"{path}: {value} is out of range"

    return check


def _number(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        yield f"{path}: expected a finite number, got {value!r:.40}"


def _text(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path}: expected a text, got {value!r:.40}"


def _false(value: Any, path: str) -> Iterator[str]:
    if value is not False:
        yield f"{path}: expected false, got {value!r:.40}"


def _keypoints(value: Any, path: str) -> Iterator[str]:
    yield from _list(_number)(value, path)
    if isinstance(value, list) and (not value or (len(value) % 2 and len(value) % 3)):
        yield f"{path}: {len(value)} numbers are neither pairs nor triples"


def _anything(value: Any, path: str) -> Iterator[str]:
    """Looked at by somebody else."""
    return iter(())


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


_PIXEL = _integer(_INT32)
_SIDE = _integer(_INT32, low=0)
_LISTS: dict[str, Check] = {
    "mDetectedObjectMetadatas": _filled(
        _object(
            mBox=_object(mHeight=_SIDE, mWidth=_SIDE, mX=_PIXEL, mY=_PIXEL),
            mClassify=_integer(_INT32, low=0),
            mScores=_list(_number, length=1),
        )
    ),
    "mTrackedObjectMetadatas": _filled(_object(mTrackId=_integer(_INT64, low=1))),
    "mPosedObjectMetadatas": _filled(_object(keypoints=_keypoints)),
    "mRecognizedObjectMetadatas": _filled(
        _object(mLabelName=_text, mScores=_list(_number), mTopKLabels=_list(_integer(_INT32)))
    ),
    "mFaceObjectMetadata": _filled(
        _object(
            bottom=_PIXEL,
            left=_PIXEL,
            points_x=_list(_number, length=5),
            points_y=_list(_number, length=5),
            right=_PIXEL,
            score=_number,
            top=_PIXEL,
        )
    ),
    "mSubObjectMetadatas": _filled(_anything),
}
