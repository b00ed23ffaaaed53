"""What a real client has in its memory: pictures are decoded only for engines that cut out no objects."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver.core.events import Kind, RuleEvent
from tests.business.support import PICTURE, REPOSITORY, TAKEN, Client, Receiver, message, receiver, write_config

LARGE = re.compile(r"onnxruntime|cv2|libopencv|numpy|libavcodec|PIL|tensorrt|libcud")
CROSSING = RuleEvent(kind=Kind.CROSS, track_id=7, row=0, class_id=0, score=0.5, box_xyxy=(70, 20, 100, 60))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Client, Receiver]]:
    """A client with the sample for lines, and where it reports to."""
    with receiver() as address:
        write_config(tmp_path, [address.url], [(1, "tripwire")])
        client = Client(REPOSITORY, tmp_path)
        try:
            yield client.wait_ready(), address
        finally:
            client.close()


def reported(client: Client, address: Receiver, posted: dict[str, Any]) -> list[dict[str, Any]]:
    """Posts a frame; the events of the report that it makes."""
    before = len(address.posts)
    assert client.post(posted).json() == TAKEN
    client.wait_status("delivered", lambda status: status.delivered == before + 1)
    events: list[dict[str, Any]] = address.posts[-1][1][0]["AnalyzeEvents"]
    return events


def large_libraries(client: Client) -> set[str]:
    """Which of them the process has mapped."""
    return set(LARGE.findall(Path(f"/proc/{client.process.pid}/maps").read_text()))


def test_a_client_of_our_engine_has_no_picture_or_model_library(house: tuple[Client, Receiver]) -> None:
    client, address = house
    crop = base64.b64encode(b"the object").decode()
    pictures = {"mEvents": [CROSSING.to_wire()], "mEventPictures": [crop]}
    posted = message(0, [7], picture=PICTURE) | pictures
    [event] = reported(client, address, posted)
    assert event["ImageBase64"] == crop
    assert large_libraries(client) == set()


def test_a_client_of_a_binary_cuts_the_objects_out_without_a_model_library(house: tuple[Client, Receiver]) -> None:
    client, address = house
    scene = np.full((360, 640, 3), 128, np.uint8)
    picture = base64.b64encode(cv2.imencode(".jpg", scene)[1].tobytes()).decode()
    [event] = reported(client, address, message(0, [7], sequence=None, picture=picture))
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(event["ImageBase64"]), np.uint8), cv2.IMREAD_COLOR)
    assert crop is not None and crop.shape == (80, 80, 3)
    assert large_libraries(client) <= {"cv2", "numpy", "libavcodec"}
