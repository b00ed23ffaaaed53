"""How many people went which way, as a receiver of the real server's reports learns it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.assets import clip, model
from tests.e2e.harness import ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
BOTH_WAYS = {"Fps": -1, "Direction": "both"}


def test_reports_say_that_six_people_went_along_the_arrow_and_nobody_against_it(tmp_path: Path) -> None:
    people, weights = str(clip("one-by-one-person-detection.mp4")), model("yolox_nano.onnx")
    with (
        ledger() as receiver,
        server(tmp_path / "state", environment={"STREAMSERVER_MODELS": str(weights.parent)}) as one,
    ):
        body = task("t", people, receiver.url, line=(580, 0, 580, 431), direction=(60, 0), interval=5, extend=BOTH_WAYS)
        assert one.create(body)["Code"] == 0
        status = one.wait_state("t", "FINISHED", "FAILED")
        assert status["State"] == "FINISHED", status
        wait_for(lambda: len(receiver.reports("t")) >= status["Events"], "all reports", receiver.counts)
        told = [event["Extend"] for report in receiver.reports("t") for event in report["AnalyzeEvents"]]
    assert Counter(extend["Direction"] for extend in told) == {"in": 6}
    assert {(extend["Event"], extend["Class"]) for extend in told} == {("cross", "person")}
    assert len({extend["TrackId"] for extend in told}) == 6
