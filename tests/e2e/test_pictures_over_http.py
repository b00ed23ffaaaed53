"""A task whose pictures are posted: none that was taken is lost, and the alarms are those of the clip as a file."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest

from streamserver.vision.codec import encode_jpeg
from tests.chaos.world import MIDDLE, TARGET_SIZE, clip
from tests.e2e.harness import PATIENCE_S, free_port, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
CALM = {"STREAMSERVER_STALLED_AFTER_S": "600"}
"""Nobody is missed who has posted all that he has."""


def jpegs(path: Path) -> list[bytes]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        there, image = capture.read()
        if not there:
            capture.release()
            return found
        found.append(encode_jpeg(image))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(connection: http.client.HTTPConnection, picture: bytes) -> int:
    connection.request("POST", "/gate", picture, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_alarms_of_posted_pictures_are_those_of_the_clip(tmp_path: Path) -> None:
    walkers = clip(tmp_path)
    pictures = jpegs(walkers)
    port = free_port()
    crossing: dict[str, Any] = {"line": MIDDLE, "extend": {"Detector": "motion", "Fps": -1}, "TargetSize": TARGET_SIZE}
    with ledger() as receiver, server(tmp_path / "state", environment=CALM) as one:
        assert one.create(task("file", str(walkers), receiver.url, **crossing))["Code"] == 0
        assert one.create(task("posted", f"base64://127.0.0.1:{port}/gate", receiver.url, **crossing))["Code"] == 0
        wait_for(lambda: listens(port), "it listens", lambda: one.query("posted"))
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
            assert {post(connection, picture) for picture in pictures} == {200}
        wait_for(lambda: one.query("posted")["Frames"] == len(pictures), "all", lambda: one.query("posted"))
        expected = one.wait_finished("file")["Events"]
        assert expected > 0
        wait_for(lambda: one.query("posted")["Events"] == expected, "alarms", lambda: one.query("posted"))
        status = one.wait_status("posted", lambda now: now["Source"], "its source is told of")
        assert (status["State"], status["Source"], status["Dropped"]) == ("RUNNING", "streaming", 0)
        wait_for(lambda: len(receiver.reports("posted")) == expected, "reports", receiver.counts)
