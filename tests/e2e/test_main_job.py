"""A task is created, its stream analysed, its events reported: with real weights on real clips."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.geometry.boxes import iou_matrix
from streamserver.models.detector import Detector, load_detector
from tests.assets import clip, model
from tests.e2e.harness import ledger, server, task

pytestmark = pytest.mark.e2e
FAST = {"Fps": -1}
PEOPLE = {"right": 6, "left": 0, "both": 6, "told of both": 6}
"""Alarms of the four algorithms that look at one clip together."""


def test_people_are_counted_at_the_line_by_direction_and_bottles_raise_nothing(tmp_path: Path) -> None:
    weights = model("yolox_nano.onnx")
    people, bottles = str(clip("one-by-one-person-detection.mp4")), str(clip("bottle-detection.mp4"))
    line = (580, 0, 580, 431)
    whole = [{"X": 0, "Y": 0}, {"X": 640, "Y": 0}, {"X": 640, "Y": 360}, {"X": 0, "Y": 360}]
    environment = {"STREAMSERVER_MODELS": str(weights.parent)}
    with ledger() as receiver, server(tmp_path / "state", environment=environment) as one:
        ways: dict[str, dict[str, Any]] = {"right": {"direction": (60, 0)}, "left": {"direction": (-60, 0)}, "both": {}}
        ways["told of both"] = {"direction": (60, 0), "extend": {**FAST, "Direction": "both"}}
        one_way_each = [
            task("people", people, receiver.url, line=line, interval=3, **{"extend": FAST, **ways[name]})
            for name in PEOPLE
        ]
        bodies = {
            "people": one_way_each[0] | {"Algorithm": [body["Algorithm"][0] for body in one_way_each]},
            "bottles": task(
                "bottles",
                bottles,
                receiver.url,
                type_=6,
                interval=3,
                extend=FAST,
                DetectInfos=[{"TripWire": None, "HotArea": whole}],
                TrackInterval=20,
                AlarmInterval=300,
            ),
        }
        for body in bodies.values():
            assert one.create(body) == {"Code": 0, "Msg": "success"}
        ended = {task_id: one.wait_finished(task_id) for task_id in bodies}
        for status in ended.values():
            assert "yolox_nano.onnx" in status["Detector"]
        events = {task_id: [entry["Events"] for entry in status["Algorithms"]] for task_id, status in ended.items()}
        assert events == {"people": list(PEOPLE.values()), "bottles": [0]}
        assert {task_id: status["Events"] for task_id, status in ended.items()} == {"people": 18, "bottles": 0}
        assert len(receiver.reports("people")) == 18, receiver.counts()
        assert set(receiver.counts().values()) == {1} and receiver.reports("bottles") == []
        told = {way: told_as(way, receiver.reports("people")) for way in ("in", "out")}
        # along the arrow is in, and nobody went against it; where none was drawn, to the right of this line is out
        along = PEOPLE["right"] + PEOPLE["told of both"]
        assert {way: len(reports) for way, reports in told.items()} == {"in": along, "out": PEOPLE["both"]}
        for reports in told.values():
            said = [event["Extend"] for report in reports for event in report["AnalyzeEvents"]]
            assert {(one["Event"], one["Class"]) for one in said} == {("cross", "person")}
            assert len({one["TrackId"] for one in said}) == 6
        first, second = told["in"][::2], told["in"][1::2]
        assert [seen(report) for report in first] == [seen(report) for report in told["out"]]
        assert [seen(report) for report in second] == [seen(report) for report in told["out"]]
        detector = load_detector(weights, family="yolox", device="cpu")
        for report in first:
            assert_pictures_show_the_person(report, detector)


def told_as(direction: str, reports: list[dict]) -> list[dict]:  # type: ignore[type-arg]
    """The reports of this direction in the order of their frames."""
    fitting = [
        report for report in reports if {e["Extend"]["Direction"] for e in report["AnalyzeEvents"]} == {direction}
    ]
    return sorted(fitting, key=lambda report: report["FrameIndex"])


def seen(report: dict) -> object:  # type: ignore[type-arg]
    """What algorithms that see the same say of it."""
    boxes = [(event["Box"], event["ImageBase64"]) for event in report["AnalyzeEvents"]]
    return report["FrameIndex"], report["SceneImageBase64"], boxes


def assert_pictures_show_the_person(report: dict, detector: Detector) -> None:  # type: ignore[type-arg]
    """The scene, looked at afresh, has a person where the report's box says; the crop opens and is a part of it."""
    scene = decode(report["SceneImageBase64"])
    assert scene.shape == (432, 768, 3)
    for event in report["AnalyzeEvents"]:
        crop = decode(event["ImageBase64"])
        assert 20 < crop.shape[0] <= 432 and 20 < crop.shape[1] <= 768
        box = event["Box"]
        reported = np.array([[box["LeftTopX"], box["LeftTopY"], box["RightBtmX"], box["RightBtmY"]]], np.float32)
        found = detector.look(scene, min_scores=np.full(80, 0.1, np.float32), iou_threshold=0.5).detections
        people = found.select(found.class_ids == 0)
        assert iou_matrix(reported, people.boxes_xyxy).max(initial=0.0) > 0.5


def decode(picture_base64: str) -> np.ndarray:  # type: ignore[type-arg]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(picture_base64, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture
