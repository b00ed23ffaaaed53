"""Plates end to end: a clip of moving street pictures through the real server, engine and client."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.settings import Settings
from streamserver.models.ppocr_rec import ALPHABETS, PpocrRec
from streamserver.models.store import ModelStore
from tests.assets import media, model
from tests.e2e.harness import ledger, server, task
from tests.samples.plate_clip import SIZE_WH, Ride, read_picture, write

pytestmark = pytest.mark.e2e
FRAMES = range(0, 120, 2)
"""Every second one of what is drawn: each that is looked at costs a tenth of a second."""
LEFT_HALF = [{"X": 0, "Y": 0}, {"X": 480, "Y": 0}, {"X": 480, "Y": 540}, {"X": 0, "Y": 540}]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four plates: one comes nearer on the left, and where it was the next one stands for a moment, so that a tracker
    takes the two for one; another comes in from the right, and the last drives past below.
    """
    street = media("plates/street")
    wanted = {"津B6H920": 0, "皖KD01833": 1, "蒙B023H6": 6, "冀D5L690": 8}
    pictures = {text: read_picture(street / f"_{number}_{text}.jpg") for text, number in wanted.items()}
    rides = [
        Ride(pictures["津B6H920"], (0, 60), ((0.2, 0.2), (0.35, 0.7)), (70, 190)),
        Ride(pictures["皖KD01833"], (20, 75), ((1.1, 0.4), (0.75, 0.5)), (150, 240)),
        Ride(pictures["蒙B023H6"], (70, 115), ((0.1, 0.9), (0.9, 0.8)), (130, 110)),
        Ride(pictures["冀D5L690"], (60, 80), ((0.35, 0.7), (0.35, 0.7)), (190, 190)),
    ]
    return write(tmp_path_factory.mktemp("plates") / "plates.mp4", rides, frames=FRAMES)


def test_each_plate_is_reported_once_with_its_text_and_its_picture(tmp_path: Path, clip: Path) -> None:
    models = model("hyperlpr3_detect_640.onnx").parent
    fast = {"Fps": -1}
    dwell: dict[str, Any] = {"TrackInterval": 9, "DetectInfos": [{"TripWire": None, "HotArea": LEFT_HALF}]}
    with ledger() as receiver, server(tmp_path / "state", environment={"STREAMSERVER_MODELS": str(models)}) as one:
        address, url = str(clip), receiver.url
        all_ = task("all", address, url, type_=16, extend=fast)
        stay = task("all", address, url, type_=2, extend=fast, **dwell)
        all_["Algorithm"] += stay["Algorithm"]  # both look at what is found once: that is most of the work
        second = task("every second", address, url, type_=16, interval=2, extend=fast)
        for body in (all_, second):
            assert one.create(body) == {"Code": 0, "Msg": "success"}
        for body in (all_, second):
            events = one.wait_finished(body["TaskID"])["Events"]
            assert len(receiver.reports(body["TaskID"])) == events, receiver.counts()
        everything = Counter(["津B6H920", "皖KD01833", "蒙B023H6", "冀D5L690"])
        seen, stayed = of_type(16, receiver.reports("all")), of_type(2, receiver.reports("all"))
        assert len(seen) + len(stayed) == len(receiver.reports("all"))
        assert texts(seen) == everything
        assert texts(receiver.reports("every second")) == everything
        assert texts(stayed) == Counter(["津B6H920", "蒙B023H6"])
        assert_pictures_show_the_plates(seen, models)


def of_type(type_: int, reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reports of one algorithm."""
    return [report for report in reports if {event["Type"] for event in report["AnalyzeEvents"]} == {type_}]


def texts(reports: list[dict[str, Any]]) -> Counter[str]:
    """How often each plate was reported."""
    return Counter(event["Extend"]["VehicleLicense"] for report in reports for event in report["AnalyzeEvents"])


def assert_pictures_show_the_plates(reports: list[dict[str, Any]], models: Path) -> None:
    """The event's picture is the plate alone, and reads as the event says."""
    found = ModelStore(Settings(models=str(models))).find("ppocr_v4_rec")
    reader = PpocrRec.load(found, device="cpu", alphabet=ALPHABETS["cn_plate"], aspect=3.0)
    for report in reports:
        scene = decode(report["SceneImageBase64"])
        assert scene.shape[:2] == SIZE_WH[::-1]
        for event in report["AnalyzeEvents"]:
            crop, box = decode(event["ImageBase64"]), event["Box"]
            assert event["Type"] == 16
            assert abs(crop.shape[1] - (box["RightBtmX"] - box["LeftTopX"])) < 20
            assert reader.read(crop).label == event["Extend"]["VehicleLicense"]


def decode(picture_base64: str) -> np.ndarray:  # type: ignore[type-arg]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(picture_base64, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture
