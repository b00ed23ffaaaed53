"""The four bodies of ``/task/create`` that application-web sends (CONTRACT 6.2), for the manual and for tests."""

from __future__ import annotations

import copy
from typing import Any

NEW_TASK_BODY: dict[str, Any] = {
    "TaskID": "t1",
    "InputSrc": {"SrcID": "cam1", "StreamSrc": {"Address": "rtsp://192.0.2.1:554/stream"}},
    "Algorithm": [
        {
            "Type": 1,
            "TrackInterval": 20,
            "DetectInterval": 3,
            "AlarmInterval": 300,
            "threshold": 50,
            "TargetSize": {"MinDetect": 30, "MaxDetect": 250},
            "DetectInfos": [
                {
                    "TripWire": {
                        "LineStart": {"X": 0, "Y": 0},
                        "LineEnd": {"X": 0, "Y": 0},
                        "DirectStart": {"X": 0, "Y": 0},
                        "DirectEnd": {"X": 0, "Y": 0},
                    },
                    "HotArea": [
                        {"X": 0, "Y": 0},
                        {"X": 1920, "Y": 0},
                        {"X": 1920, "Y": 1080},
                        {"X": 0, "Y": 1080},
                    ],
                }
            ],
        }
    ],
    "Reporting": {"ReportUrlList": ["http://127.0.0.1:8089/api/upload"]},
}


def edited_body() -> dict[str, Any]:
    """What application-web sends when an ability was added by editing: a fraction, and no pause between alarms."""
    body = copy.deepcopy(NEW_TASK_BODY)
    body["Algorithm"][0] |= {"threshold": 0.5, "TrackInterval": 1, "DetectInterval": 300, "AlarmInterval": 0}
    return body


def line_only_body() -> dict[str, Any]:
    """A line with a direction and no area."""
    body = copy.deepcopy(NEW_TASK_BODY)
    body["Algorithm"][0]["DetectInfos"] = [
        {
            "TripWire": {
                "LineStart": {"X": 580, "Y": 0},
                "LineEnd": {"X": 580, "Y": 431},
                "DirectStart": {"X": 580, "Y": 215},
                "DirectEnd": {"X": 680, "Y": 215},
            },
            "HotArea": None,
        }
    ]
    return body


def without_drawings_body() -> dict[str, Any]:
    """The whole picture: ``DetectInfos`` is left out."""
    body = copy.deepcopy(NEW_TASK_BODY)
    del body["Algorithm"][0]["DetectInfos"]
    return body
