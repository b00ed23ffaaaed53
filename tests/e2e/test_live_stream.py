"""The main job on a live stream: the camera shows what the file holds, and dies twice while nobody is there."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.assets import model
from tests.e2e.harness import Ledger, Server, ledger, server, wait_for
from tests.e2e.live_clip import FRAMES, IN_THREE, WHOLE, piece, play_through
from tests.e2e.test_main_job import EXPECTED, assert_pictures_show_the_person

pytestmark = pytest.mark.e2e

PACES_FPS = (60, 30, 10)
"""It was filmed at the last. The camera waits for nobody: where the machine is too busy, it has to be shown slower."""

FEW_DROPPED = FRAMES // 40


def test_six_cross_the_line_of_a_live_stream_also_when_its_camera_dies_twice(tmp_path: Path) -> None:
    weights = model("yolox_nano.onnx")
    environment = {"STREAMSERVER_MODELS": str(weights.parent)}
    with (
        ledger() as receiver,
        server(tmp_path / "state", environment=environment) as one,
        ThreadPoolExecutor(2) as pool,
    ):
        runs = {
            name: pool.submit(play_unhurried, one, name, receiver, parts, folder=tmp_path)
            for name, parts in {"whole": WHOLE, "in three": IN_THREE}.items()
        }
        whole, in_three = (runs[name].result() for name in runs)
        assert (whole["Reconnects"], in_three["Reconnects"]) == (0, 2)
        for status in (whole, in_three):
            assert status["Events"] == EXPECTED["right"], status
            assert (status["Restarts"], status["Stream"].split()[:2]) == (0, ["h264", "768x432"])
            reports = receiver.reports(status["TaskID"])
            assert [event["Type"] for report in reports for event in report["AnalyzeEvents"]] == [1] * EXPECTED["right"]
            assert_pictures_show_the_person(reports[-1], weights)
        assert set(receiver.counts().values()) == {1}


def play_unhurried(
    one: Server, name: str, receiver: Ledger, parts: Sequence[tuple[int, int]], *, folder: Path
) -> dict[str, Any]:
    """What was said of a task whose camera showed ``parts``, at the fastest pace that the machine keeps up with."""
    for fps in PACES_FPS:
        task_id = f"{name} at {fps}"
        pieces = [piece(folder, *part, fps=fps) for part in parts]
        status = play_through(one, task_id, receiver.url, pieces)
        if status["Dropped"] <= FEW_DROPPED:
            break
        one.post("/task/delete", {"TaskID": task_id})
    wait_for(lambda: len(receiver.reports(task_id)) == status["Events"], f"{task_id}: reports", receiver.counts)
    return one.query(task_id)
