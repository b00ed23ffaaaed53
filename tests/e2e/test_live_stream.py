"""The main job on a live stream: the camera shows what the file holds, and dies twice while nobody is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.models.detector import load_detector
from tests.assets import model
from tests.e2e.harness import ledger, server, wait_for
from tests.e2e.live_clip import IN_THREE, PATIENT, pieces_of, play_through
from tests.e2e.test_main_job import assert_pictures_show_the_person

pytestmark = pytest.mark.e2e

PEOPLE = 6

FPS = (2, 50)
"""The camera's pace on a machine that is very busy, and on a quiet one; it was filmed at 10."""


def test_six_cross_the_line_of_a_live_stream_also_when_its_camera_dies_twice(tmp_path: Path) -> None:
    weights = model("yolox_nano.onnx")
    environment = {"STREAMSERVER_MODELS": str(weights.parent), **PATIENT}
    with ledger() as receiver, server(tmp_path / "state", environment=environment) as one:
        status = play_through(one, "in three", receiver.url, pieces_of(tmp_path, IN_THREE), fps=FPS)
        assert (status["Reconnects"], status["Events"], status["Restarts"]) == (2, PEOPLE, 0), status
        assert status["Stream"].split()[:2] == ["h264", "768x432"]
        wait_for(lambda: len(receiver.reports("in three")) >= PEOPLE, "all are delivered", receiver.counts)
        reports = receiver.reports("in three")
        assert [event["Type"] for report in reports for event in report["AnalyzeEvents"]] == [1] * PEOPLE
        assert_pictures_show_the_person(reports[-1], load_detector(weights, family="yolox", device="cpu"))
        assert set(receiver.counts().values()) == {1}
