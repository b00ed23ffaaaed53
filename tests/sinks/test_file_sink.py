from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import DeliveryError
from streamserver.sinks.file import FileSink
from streamserver.sinks.sink import Alarm

CREATED = time.mktime((2026, 5, 4, 13, 14, 15, 0, 0, -1))


def alarm(scene: bytes, *crops: bytes, **changes: Any) -> Alarm:
    events = [{"ImageBase64": base64.b64encode(crop).decode(), "Type": 1, "Extend": {"类别": 2}} for crop in crops]
    report = {
        "TaskID": "任务/../x",
        "FrameIndex": 7,
        "SceneImageBase64": base64.b64encode(scene).decode(),
        "AnalyzeEvents": events,
    }
    return Alarm(id="0190-a", body=json.dumps([report | changes]).encode(), created=CREATED)


def test_an_alarm_becomes_a_json_file_and_its_pictures(tmp_path: Path) -> None:
    FileSink(tmp_path / "events").send(alarm(b"scene", b"first", b"second"))
    day = tmp_path / "events" / "20260504"
    stem = "131415_0190-a"
    assert {path.name: path.read_bytes() for path in day.glob("*.jpg")} == {
        f"{stem}_scene.jpg": b"scene",
        f"{stem}_0.jpg": b"first",
        f"{stem}_1.jpg": b"second",
    }
    report = json.loads((day / f"{stem}.json").read_text("utf-8"))
    assert report["Time"].startswith("2026-05-04T13:14:15")
    del report["Time"]
    assert report == {
        "AlarmID": "0190-a",
        "TaskID": "任务/../x",
        "FrameIndex": 7,
        "SceneImage": f"{stem}_scene.jpg",
        "AnalyzeEvents": [
            {"Type": 1, "Extend": {"类别": 2}, "Image": f"{stem}_0.jpg"},
            {"Type": 1, "Extend": {"类别": 2}, "Image": f"{stem}_1.jpg"},
        ],
    }
    assert len(list(tmp_path.rglob("*.*"))) == 4  # nothing temporary, nothing elsewhere


def test_the_same_alarm_again_replaces_its_files(tmp_path: Path) -> None:
    for _ in range(2):
        FileSink(tmp_path).send(alarm(b"scene", b"first"))
    assert len(list(tmp_path.rglob("*.*"))) == 3


@pytest.mark.parametrize("picture", ["", "not base64!", None, 5])
def test_a_picture_that_is_none_is_left_out(tmp_path: Path, picture: Any) -> None:
    FileSink(tmp_path).send(alarm(b"", b"first", SceneImageBase64=picture))
    [file] = tmp_path.rglob("*.json")
    assert json.loads(file.read_text())["SceneImage"] == ""
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["131415_0190-a_0.jpg"]


def test_a_folder_that_cannot_be_written_is_a_delivery_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeliveryError, match="file: Not a directory"):
        FileSink(tmp_path / "file").send(alarm(b"scene"))
