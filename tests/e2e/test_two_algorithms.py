"""Several algorithms of one task: what their graphs begin with runs once, and each raises its own alarms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.world import MIDDLE, TARGET_SIZE, fast_clip
from tests.e2e.harness import Ledger, Server, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
NEAR = [{"X": 50, "Y": 70}, {"X": 110, "Y": 70}, {"X": 110, "Y": 87}, {"X": 50, "Y": 87}]
"""Where the two who go to the right set their feet, and the third does not."""

TRIPWIRE, INTRUSION = 1, 6


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Ledger]]:
    with ledger() as receiver, server(tmp_path_factory.mktemp("two") / "state") as one:
        yield one, receiver


def body(task_id: str, walkers: Path, url: str, *, loops: int) -> dict[str, Any]:
    """A line in the middle, told both ways; an area; and once more the line, looked at less often and told one way."""
    extend = {"Detector": "motion", "Loop": loops}
    values: tuple[dict[str, Any], ...] = (
        {"line": MIDDLE, "direction": (60, 0), "extend": {**extend, "Direction": "both"}},
        {"type_": INTRUSION, "extend": {"Events": ["enter"]}, "DetectInfos": [{"TripWire": None, "HotArea": NEAR}]},
        {"line": MIDDLE, "direction": (60, 0), "interval": 3},
    )
    tasks = [task(task_id, str(walkers), url, TargetSize=TARGET_SIZE, **one) for one in values]
    return tasks[0] | {"Algorithm": [one["Algorithm"][0] for one in tasks]}


def engine_log(one: Server, task_id: str) -> str:
    """What the engine of a task has said so far."""
    folders = (one.state_dir / "tasks").iterdir()
    (folder,) = (path for path in folders if json.loads((path / "request.json").read_text())["TaskID"] == task_id)
    return (folder / "logs" / "engine.log").read_text()


def test_each_algorithm_raises_its_own_alarms_and_equal_ones_share_what_finds_and_follows(
    house: tuple[Server, Ledger], tmp_path: Path
) -> None:
    one, receiver = house
    assert one.create(body("once", fast_clip(tmp_path, times=4), receiver.url, loops=1))["Code"] == 0
    status = one.wait_finished("once")
    assert [algorithm["Events"] for algorithm in status["Algorithms"]] == [3, 2, 2]
    assert [algorithm["Path"] for algorithm in status["Algorithms"]] == [f"/flask_test/{i}" for i in range(3)]
    assert len(receiver.reports("once")) == 7, receiver.counts()
    told = [event for report in receiver.reports("once") for event in report["AnalyzeEvents"]]
    kinds = Counter((event["Type"], event["Extend"]["Event"], event["Extend"]["Direction"]) for event in told)
    assert kinds == {(TRIPWIRE, "cross", "in"): 2 + 2, (TRIPWIRE, "cross", "out"): 1, (INTRUSION, "enter", "in"): 2}
    assert set(receiver.counts().values()) == {1}
    log = engine_log(one, "once")
    assert "element 5001 'motion', graph 0 element 5004 'bytetrack': also for channel 1" in log
    assert "also for channel 2" not in log


def test_an_update_parts_algorithms_that_share_and_both_go_on(house: tuple[Server, Ledger], tmp_path: Path) -> None:
    one, receiver = house
    content = body("loops", fast_clip(tmp_path, times=6), receiver.url, loops=0)
    assert one.create(content)["Code"] == 0

    def alarms() -> list[int]:
        return [algorithm["Events"] for algorithm in one.query("loops").get("Algorithms", [])] or [0, 0, 0]

    wait_for(lambda: min(alarms()) > 0, "all raise alarms", alarms)
    before = one.wait_status("loops", lambda status: status["SourceSince"], "its source is told of")
    content["Algorithm"][1]["threshold"] = 70  # the tracker's from now on
    reply = one.post("/task/update", {"TaskID": "loops", "Algorithm": content["Algorithm"]})
    assert reply["Code"] == 0, reply
    revision = reply["Result"]["Revision"]
    wait_for(lambda: one.query("loops")["Revision"] == revision, "it is in force", lambda: one.query("loops"))
    then = alarms()
    wait_for(lambda: all(n >= m + 4 for n, m in zip(alarms(), then, strict=True)), "all raise more", alarms)
    after = one.wait_status("loops", lambda status: status["SourceSince"], "its source is told of")
    same = ("SourceSince", "Since", "Restarts", "Reconnects", "Detector")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert "graph 1 element 5004 'bytetrack': works for itself" in engine_log(one, "loops")
    assert one.post("/task/delete", {"TaskID": "loops"})["Code"] == 0
