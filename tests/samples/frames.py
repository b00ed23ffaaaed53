"""Posted frames and tasks as samples get them, made from our own wire form and request parser."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import numpy as np

from streamserver.core import messages
from streamserver.core.arrays import Detections
from streamserver.core.events import EVENTS_KEY, RuleEvent
from streamserver.core.results import frame_to_wire, objects_to_wire
from streamserver.core.wire_json import from_json, to_json
from streamserver.vision.codec import encode_jpeg

SIZE_WH = (320, 240)
KNOWN_TYPES = {
    1: "tripwire",
    2: "license_area_intrusion",
    3: "yolov5",
    6: "area_intrusion",
    7: "passenger_flow",
    16: "license_plate_recognition",
    99: "any",
}


def picture_jpeg() -> bytes:
    """A scene whose left half is black and whose right half is white."""
    image = np.zeros((SIZE_WH[1], SIZE_WH[0], 3), dtype=np.uint8)
    image[:, SIZE_WH[0] // 2 :] = 255
    return encode_jpeg(image)


def frame(
    sequence: int,
    tracks: dict[int, tuple[int, int, int, int]],
    *,
    class_id: int = 0,
    score: float = 0.8712,
    picture: bool = False,
) -> dict[str, Any]:
    """One posted frame with tracked objects: number to box (left, top, right, bottom)."""
    ids = list(tracks)
    found = Detections.from_arrays(list(tracks.values()), [score] * len(ids), [class_id] * len(ids), ids)
    message = objects_to_wire(found) | frame_to_wire(
        channel_id=0,
        graph_id=0,
        frame_id=sequence * 3,
        sequence=sequence,
        loop=0,
        size_wh=SIZE_WH,
        timestamp_us=1_700_000_000_000_000,
        picture_jpeg=picture_jpeg() if picture else b"",
    )
    return dict(from_json(to_json(message)))


def with_events(message: dict[str, Any], *events: RuleEvent) -> dict[str, Any]:
    """The frame with what the filter's rules have seen in it."""
    message[EVENTS_KEY] = [event.to_wire() for event in events]
    return message


def plate_frame(
    sequence: int, plates: list[tuple[str, tuple[int, int, int, int]]], *, tracked: bool = False, **options: Any
) -> dict[str, Any]:
    """One posted frame with plates, each read: text and box. With ``tracked``, the first has the track 1, and so on."""
    message = frame(sequence, {i + 1: box for i, (_, box) in enumerate(plates)}, **options)
    if not tracked:
        message.pop("mTrackedObjectMetadatas", None)
    picture = base64.b64encode(picture_jpeg()).decode()
    message["mSubObjectMetadatas"] = [
        {
            "mFrame": {"mChannelId": 0, "mFrameId": sequence * 3, "mSpData": picture},
            "mRecognizedObjectMetadatas": [{"mLabelName": text, "mScores": [], "mTopKLabels": []}],
            "mSubId": index,
        }
        for index, (text, _) in enumerate(plates)
    ]
    return message


def _new_task(type_: int) -> dict[str, Any]:
    origin = {"X": 0, "Y": 0}
    wire = dict.fromkeys(("LineStart", "LineEnd", "DirectStart", "DirectEnd"), origin)
    corners = [(0, 0), (1920, 0), (1920, 1080), (0, 1080)]
    algorithm = {
        "Type": type_,
        "TrackInterval": 20,
        "DetectInterval": 3,
        "AlarmInterval": 300,
        "threshold": 50,
        "TargetSize": {"MinDetect": 30, "MaxDetect": 250},
        "DetectInfos": [{"TripWire": wire, "HotArea": [{"X": x, "Y": y} for x, y in corners]}],
    }
    return {
        "TaskID": "t1",
        "InputSrc": {"SrcID": "cam1", "StreamSrc": {"Address": "rtsp://192.0.2.1:554/stream"}},
        "Algorithm": [copy.deepcopy(algorithm)],
        "Reporting": {"ReportUrlList": ["http://127.0.0.1:8089/api/upload"]},
    }


def bodies(type_: int) -> dict[str, dict[str, Any]]:
    """The four bodies that application-web sends (CONTRACT 6.2), for one algorithm."""
    new = _new_task(type_)
    edited = copy.deepcopy(new)
    edited["Algorithm"][0] |= {"TrackInterval": 1, "DetectInterval": 300, "AlarmInterval": 0, "threshold": 0.5}
    line_only = copy.deepcopy(new)
    info = line_only["Algorithm"][0]["DetectInfos"][0]
    info["TripWire"]["LineStart"] = {"X": 160, "Y": 0}
    info["TripWire"]["LineEnd"] = {"X": 160, "Y": 240}
    info["HotArea"] = None
    bare = copy.deepcopy(new)
    del bare["Algorithm"][0]["DetectInfos"]
    return {"new": new, "edited": edited, "line only": line_only, "no DetectInfos": bare}


def task(body: dict[str, Any]) -> dict[str, Any]:
    """A body as the web process accepts it and hands it to samples."""
    request = messages.parse_create(
        json.dumps(body).encode(),
        known_types=KNOWN_TYPES,
        max_bytes=1_000_000,
        events_kept_locally=False,
        source_exists=lambda path: True,
    )
    return messages.canonical(request)
