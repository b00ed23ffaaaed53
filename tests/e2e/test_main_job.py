"""A task is created, its stream analysed, its events reported: with real weights on real clips."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamserver.geometry.boxes import iou_matrix
from streamserver.models.detector import load_detector
from tests.assets import clip, model
from tests.e2e.harness import ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
FAST = {"Fps": -1}
EXPECTED = {"right": 6, "left": 0, "both": 6, "bottles": 0}


def test_people_are_counted_at_the_line_by_direction_and_bottles_raise_nothing(tmp_path: Path) -> None:
    weights = model("yolox_nano.onnx")
    people, bottles = str(clip("one-by-one-person-detection.mp4")), str(clip("bottle-detection.mp4"))
    line = (580, 0, 580, 431)
    whole = [{"X": 0, "Y": 0}, {"X": 640, "Y": 0}, {"X": 640, "Y": 360}, {"X": 0, "Y": 360}]
    environment = {"STREAMSERVER_MODELS": str(weights.parent)}
    with ledger() as receiver, server(tmp_path / "state", environment=environment) as one:
        bodies = {
            "right": task("right", people, receiver.url, line=line, direction=(60, 0), interval=3, extend=FAST),
            "left": task("left", people, receiver.url, line=line, direction=(-60, 0), interval=3, extend=FAST),
            "both": task("both", people, receiver.url, line=line, interval=3, extend=FAST),
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
        ended = {task_id: one.wait_state(task_id, "FINISHED", "FAILED") for task_id in bodies}
        for status in ended.values():
            assert status["State"] == "FINISHED", status
            assert "yolox_nano.onnx" in status["Detector"]
        assert {task_id: status["Events"] for task_id, status in ended.items()} == EXPECTED
        for task_id, count in EXPECTED.items():
            wait_for(lambda t=task_id, n=count: len(receiver.reports(t)) == n, task_id, receiver.counts)
        assert set(receiver.counts().values()) == {1}
        said = [event["Extend"] for report in receiver.reports("right") for event in report["AnalyzeEvents"]]
        assert {(one["Event"], one["Direction"], one["Class"]) for one in said} == {("cross", "in", "person")}
        assert len({one["TrackId"] for one in said}) == EXPECTED["right"]
        for report in receiver.reports("right"):
            assert_pictures_show_the_person(report, weights)


def assert_pictures_show_the_person(report: dict, weights: Path) -> None:  # type: ignore[type-arg]
    """The scene, looked at afresh, has a person where the report's box says; the crop opens and is a part of it."""
    scene = decode(report["SceneImageBase64"])
    assert scene.shape == (432, 768, 3)
    for event in report["AnalyzeEvents"]:
        crop = decode(event["ImageBase64"])
        assert 20 < crop.shape[0] <= 432 and 20 < crop.shape[1] <= 768
        box = event["Box"]
        reported = np.array([[box["LeftTopX"], box["LeftTopY"], box["RightBtmX"], box["RightBtmY"]]], np.float32)
        detector = load_detector(weights, family="yolox", device="cpu")
        found = detector.look(scene, min_scores=np.full(80, 0.1, np.float32), iou_threshold=0.5).detections
        people = found.select(found.class_ids == 0)
        assert iou_matrix(reported, people.boxes_xyxy).max(initial=0.0) > 0.5


def decode(picture_base64: str) -> np.ndarray:  # type: ignore[type-arg]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(picture_base64, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture
