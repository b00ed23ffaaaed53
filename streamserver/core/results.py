"""The wire form of one frame's results, as sophon-stream's http_push posts it (CONTRACT section 4).

``frame_to_wire`` and ``objects_to_wire`` are what our engine sends; ``WireFrame`` and ``objects_of`` are how the
business side reads it, whether it came from our engine or from a sophon-stream binary. Two keys of ``mFrame`` are ours
and may be absent:

* ``mSequence``: number of *processed* frames (kept by ``sample_interval`` and not dropped) before this one, growing by
  1 with each, across loops and reconnects (``mFrameId`` starts again at 0);
* ``mLoop``: how often the source has started over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the client process reads messages without ever loading numpy
    from streamserver.core.arrays import Detections
    from streamserver.core.objects import Face, Pose, Recognition

WHOLE_FRAME = -1
"""``mSubId`` of a part that shows the whole frame."""

BoxXyxy = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom exclusive."""


@dataclass(frozen=True, slots=True)
class WireFrame:
    """The ``mFrame`` part of a posted result.

    Attributes:
        frame_id: position in the source, from 0, starting over with each loop or reconnect.
        sequence: see the module's docstring; ``None`` when the engine does not send it.
        loop: see the module's docstring; 0 when the engine does not send it.
        size_wh: width and height in pixels, (0, 0) in cropped sub-objects.
        timestamp_us: microseconds since the epoch, 0 for pictures.
        picture_base64: the JPEG, or an empty string when the engine keeps it until asked.
    """

    channel_id: int
    frame_id: int
    sequence: int | None
    loop: int
    size_wh: tuple[int, int]
    timestamp_us: int
    picture_base64: str

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> WireFrame:
        """Reads ``mFrame`` of a posted message; raises ``ValueError`` naming the key that is missing or wrong."""
        frame = message.get("mFrame")
        if not isinstance(frame, Mapping):
            raise ValueError("$.mFrame: expected an object")
        sequence = frame.get("mSequence")
        return cls(
            channel_id=_integer(frame, "mChannelId", default=0),
            frame_id=_integer(frame, "mFrameId"),
            sequence=None if sequence is None else _integer(frame, "mSequence"),
            loop=_integer(frame, "mLoop", default=0),
            size_wh=(_integer(frame, "mWidth", default=0), _integer(frame, "mHeight", default=0)),
            timestamp_us=_integer(frame, "mTimestamp", default=0),
            picture_base64=_text(frame, "mSpData"),
        )


@dataclass(frozen=True, slots=True)
class WireObject:
    """One detected object of a posted message; ``track_id`` is ``None`` when no tracker spoke."""

    index: int
    box_xyxy: BoxXyxy
    class_id: int
    score: float
    track_id: int | None


def objects_of(message: Mapping[str, Any]) -> list[WireObject]:
    """The objects of ``mDetectedObjectMetadatas``, joined with their tracks; absent lists are empty.

    Raises:
        ValueError: a member has the wrong form.
    """
    detected = message.get("mDetectedObjectMetadatas") or []
    tracked = message.get("mTrackedObjectMetadatas") or []
    try:
        return [_object(index, item, tracked) for index, item in enumerate(detected)]
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as e:
        raise ValueError(f"$.mDetectedObjectMetadatas: {e!r}") from e


def frame_to_wire(
    *,
    channel_id: int,
    graph_id: int,
    frame_id: int,
    sequence: int | None,
    loop: int,
    size_wh: tuple[int, int],
    timestamp_us: int,
    picture_jpeg: bytes = b"",
    sub_id: int = 0,
    fps: float = 0.0,
) -> dict[str, Any]:
    """The message of a frame in which nothing was found: the keys of CONTRACT 4.1 that are always there, and 4.2.

    ``mSpData`` are the JPEG's bytes, which ``wire_json.to_json`` writes as Base64.
    ``sequence`` is ``None`` in parts, which have neither ``mSequence`` nor ``mLoop``.
    """
    frame: dict[str, Any] = {
        "mChannelId": channel_id,
        "mEndOfStream": False,
        "mFrameId": frame_id,
        "mHeight": size_wh[1],
        "mSpData": picture_jpeg,
        "mTimestamp": timestamp_us,
        "mWidth": size_wh[0],
    }
    if sequence is not None:
        frame |= {"mLoop": loop, "mSequence": sequence}
    return {"mFps": fps, "mFrame": frame, "mGraphId": graph_id, "mSubId": sub_id}


def objects_to_wire(
    detections: Detections,
    *,
    poses: Sequence[Pose] = (),
    recognitions: Sequence[Recognition] = (),
    faces: Sequence[Face] = (),
) -> dict[str, Any]:
    """The lists of CONTRACT 4.1 for what was found in one picture; empty ones are left out."""
    lists = {
        "mDetectedObjectMetadatas": _wire_objects(detections),
        "mTrackedObjectMetadatas": _wire_tracks(detections),
        "mPosedObjectMetadatas": [{"keypoints": [float(v) for v in pose.keypoints.ravel()]} for pose in poses],
        "mRecognizedObjectMetadatas": [_wire_recognition(recognition) for recognition in recognitions],
        "mFaceObjectMetadata": [_wire_face(face) for face in faces],
    }
    return {key: value for key, value in lists.items() if value}


def _wire_tracks(detections: Detections) -> list[dict[str, int]]:
    return [{"mTrackId": int(track_id)} for track_id in detections.track_ids] if detections.tracked else []


def _wire_recognition(recognition: Recognition) -> dict[str, Any]:
    return {
        "mLabelName": recognition.label,
        "mScores": [float(score) for score in recognition.scores],
        "mTopKLabels": [int(class_id) for class_id in recognition.class_ids],
    }


def _wire_face(face: Face) -> dict[str, Any]:
    left, top, right, bottom = (round(float(value)) for value in face.box_xyxy)
    return {
        "bottom": bottom,
        "left": left,
        "points_x": [float(x) for x in face.points_xy[:, 0]],
        "points_y": [float(y) for y in face.points_xy[:, 1]],
        "right": right,
        "score": float(face.score),
        "top": top,
    }


def _wire_objects(detections: Detections) -> list[dict[str, Any]]:
    rows = zip(detections.boxes_xyxy, detections.scores, detections.class_ids, strict=True)
    return [
        {
            "mBox": _wire_box(round(float(x1)), round(float(y1)), round(float(x2)), round(float(y2))),
            "mClassify": int(class_id),
            "mScores": [float(score)],
        }
        for (x1, y1, x2, y2), score, class_id in rows
    ]


def _wire_box(left: int, top: int, right: int, bottom: int) -> dict[str, int]:
    return {"mHeight": bottom - top, "mWidth": right - left, "mX": left, "mY": top}


def _object(index: int, item: Mapping[str, Any], tracked: list[Mapping[str, Any]]) -> WireObject:
    box = item["mBox"]
    left, top = int(box["mX"]), int(box["mY"])
    scores = item.get("mScores") or [0.0]
    return WireObject(
        index=index,
        box_xyxy=(left, top, left + int(box["mWidth"]), top + int(box["mHeight"])),
        class_id=int(item.get("mClassify", 0)),
        score=float(scores[0]),
        track_id=int(tracked[index]["mTrackId"]) if index < len(tracked) else None,
    )


def _integer(frame: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    value = frame.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"$.mFrame.{key}: expected an integer, got {value!r:.80}")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"$.mFrame.{key}: expected an integer of 64 bits, got {str(value)[:24]}…")
    return value


def _text(frame: Mapping[str, Any], key: str) -> str:
    value = frame.get(key) or ""
    if not isinstance(value, str):
        raise ValueError(f"$.mFrame.{key}: expected a string, got {type(value).__name__}")
    return value
