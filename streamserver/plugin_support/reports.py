"""From posted frames to reports: what has happened, its names, and what a report says of it (CONTRACT 6.3)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from streamserver.core.events import NOWHERE, PICTURES_KEY, Kind, RuleEvent, events_of
from streamserver.core.labels import coco_names
from streamserver.core.presence import Presence
from streamserver.core.results import BoxXyxy, WireFrame, WireObject, objects_of

if TYPE_CHECKING:  # the client process reads messages without ever loading numpy
    from streamserver.core.arrays import ImageBgr

_IN_AREAS = (Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL)
_VEHICLES = ("bicycle", "car", "motorcycle", "bus", "train", "truck")


def rule_events(json_data: Mapping[str, Any]) -> list[RuleEvent] | None:
    """What the filter's rules have seen happen in a posted frame; ``None`` where no rule has looked.

    That is so with a sophon-stream program, and with ``Extend.Mode`` ``touch``: then all objects of the frame have
    passed the filter, and the sample decides.
    """
    return events_of(json_data)


def event_name(happened: RuleEvent) -> str:
    """What stands for an event in ``up_list``: ``<kind>:<rule>:<track id>``."""
    return f"{happened.kind}:{happened.rule}:{happened.track_id}"


def rule_names(json_data: Mapping[str, Any], presence: Presence[str] | None = None) -> list[str]:
    """Names for ``up_list``: of all events or, where no rule has looked, of the objects to report.

    Args:
        json_data: the posted frame.
        presence: says which objects are due; without it, all that have a track are.
    """
    events = rule_events(json_data)
    if events is not None:
        return list(dict.fromkeys(map(event_name, events)))
    found = objects_of(json_data)
    if presence is None:
        return [object_name(one) for one in found if one.track_id is not None]
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    return presence.update(step, map(object_name, found))


def object_name(found: WireObject) -> str:
    """What an object is counted by: its track's number or, in a graph without a tracker, its class."""
    return str(found.track_id) if found.track_id is not None else f"class {found.class_id}"


def rule_report(
    json_data: Mapping[str, Any],
    task_id: str,
    type: int,
    up_list: Sequence[str],
    *,
    extend: Callable[[RuleEvent | WireObject], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The report of one frame with all events, or objects, that ``up_list`` names.

    Args:
        json_data: the posted frame.
        task_id: of the report.
        type: the algorithm's number.
        up_list: from ``rule_names``.
        extend: more keys of ``Extend`` for each of them, beside those of ``event_extend`` and ``object_extend``.
    """
    more = extend or (lambda _: {})
    events = rule_events(json_data)
    if events is None:
        due = [found for found in objects_of(json_data) if object_name(found) in up_list]
        entries = [event(json_data, one, type, extend={**object_extend(one), **more(one)}) for one in due]
    else:
        pictures = [*(json_data.get(PICTURES_KEY) or []), *[""] * len(events)]
        entries = [
            _rule_entry(json_data, happened, type, {**event_extend(happened), **more(happened)}, picture)
            for happened, picture in zip(events, pictures, strict=False)
            if event_name(happened) in up_list
        ]
    return make_report(json_data, task_id, entries)


def object_extend(found: WireObject) -> dict[str, Any]:
    """``Extend`` of an object: ``TrackId`` where a tracker has spoken, ``Class``, ``Confidence``, ``VehicleType``."""
    track = {} if found.track_id is None else {"TrackId": found.track_id}
    return track | _class_extend(found.class_id, found.score)


def event_extend(happened: RuleEvent) -> dict[str, Any]:
    """``Extend`` of an event: the keys of docs/http_api.md that have a meaning for it."""
    extend: dict[str, Any] = {"Event": happened.kind.value}
    if happened.track_id > 0:
        extend["TrackId"] = happened.track_id
    if happened.class_id >= 0:
        extend |= _class_extend(happened.class_id, happened.score)
    if happened.direction:
        extend["Direction"] = happened.direction
    if happened.kind is Kind.CROSS:
        extend["Line"] = happened.rule  # each line is a rule of its own
    if happened.kind in _IN_AREAS:
        extend["Area"] = happened.place
    numbers = {"StayTime": happened.stay_s, "LeaveTime": happened.leave_s, "ObjectCount": happened.count}
    return extend | {key: value for key, value in numbers.items() if value is not None}


def make_report(json_data: Mapping[str, Any], task_id: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of one frame (CONTRACT 6.3), without ``SrcID``."""
    frame = WireFrame.from_wire(json_data)
    return {
        "TaskID": str(task_id),
        "SceneImageBase64": frame.picture_base64,
        "FrameIndex": frame.frame_id,
        "AnalyzeEvents": list(events),
    }


def event(
    json_data: Mapping[str, Any],
    detected: WireObject,
    type: int,
    *,
    extend: Any = None,
    picture_base64: str = "",
) -> dict[str, Any]:
    """One element of ``AnalyzeEvents``.

    Args:
        json_data: the posted frame.
        detected: the object.
        type: the algorithm's number.
        extend: ``Extend``; left out when ``None``.
        picture_base64: the object's picture; unless given, the engine's crop, else one cut from the frame's picture.
    """
    crops = json_data.get("mCrops") or []
    picture = picture_base64 or (str(crops[detected.index] or "") if detected.index < len(crops) else "")
    entry = _entry(detected.box_xyxy, type, picture or _crop_base64(json_data, detected.box_xyxy))
    return entry if extend is None else entry | {"Extend": extend}


def _rule_entry(
    json_data: Mapping[str, Any], happened: RuleEvent, type: int, extend: Mapping[str, Any], picture_base64: str
) -> dict[str, Any]:
    """One element of ``AnalyzeEvents``; what has no place in the picture is shown by all of it."""
    frame = WireFrame.from_wire(json_data)
    if happened.box_xyxy == NOWHERE:
        entry = _entry((0, 0, *frame.size_wh), type, picture_base64 or frame.picture_base64)
    else:
        entry = _entry(happened.box_xyxy, type, picture_base64 or _crop_base64(json_data, happened.box_xyxy))
    return entry | {"Extend": dict(extend)}


def _entry(box_xyxy: BoxXyxy, type: int, picture_base64: str) -> dict[str, Any]:
    left, top, right, bottom = box_xyxy
    return {
        "ImageBase64": picture_base64,
        "Type": type,
        "Box": {"LeftTopY": top, "RightBtmY": bottom, "LeftTopX": left, "RightBtmX": right},
    }


def _class_extend(class_id: int, score: float) -> dict[str, Any]:
    names = coco_names()
    name = names[class_id] if 0 <= class_id < len(names) else str(class_id)
    extend = {"Class": name, "Confidence": round(score, 4)}
    return extend | ({"VehicleType": name} if name in _VEHICLES else {})


def _crop_base64(json_data: Mapping[str, Any], box_xyxy: BoxXyxy) -> str:
    """Cut from the frame's picture; empty where there is none."""
    picture_base64 = WireFrame.from_wire(json_data).picture_base64
    if not picture_base64:
        return ""
    from streamserver.vision.codec import encode_jpeg
    from streamserver.vision.crop import crop_square

    crop_bgr = crop_square(_decode(picture_base64), box_xyxy)
    return base64.b64encode(encode_jpeg(crop_bgr)).decode("ascii")


@lru_cache(maxsize=1)
def _decode(picture_base64: str) -> ImageBgr:
    """The pixels of the last picture that was asked for, kept for the other objects of the same frame."""
    from streamserver.vision.codec import decode_jpeg

    return decode_jpeg(base64.b64decode(picture_base64))
