"""The bodies that application-web really sends all run; hostile ones get their message and change nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from streamserver.demo.clip import draw_clip
from tests.e2e.harness import ledger, server, wait_for

pytestmark = pytest.mark.e2e

ZERO = {"X": 0, "Y": 0}
NO_WIRE = {"LineStart": ZERO, "LineEnd": ZERO, "DirectStart": ZERO, "DirectEnd": ZERO}
WHOLE = [ZERO, {"X": 640, "Y": 0}, {"X": 640, "Y": 360}, {"X": 0, "Y": 360}]


def application_web(task_id: str, address: str, report_url: str) -> dict[str, Any]:
    """The create body of a new task as application-web marshals it (CONTRACT 6.2)."""
    return {
        "TaskID": task_id,
        "InputSrc": {"SrcID": f"device {task_id}", "StreamSrc": {"Address": address}},
        "Algorithm": [
            {
                "Type": 1,
                "TrackInterval": 20,
                "DetectInterval": 3,
                "AlarmInterval": 300,
                "threshold": 50,
                "TargetSize": {"MinDetect": 30, "MaxDetect": 250},
                "DetectInfos": [{"TripWire": NO_WIRE, "HotArea": WHOLE}],
            }
        ],
        "Reporting": {"ReportUrlList": [report_url]},
    }


def four_bodies(address: str, report_url: str) -> dict[str, dict[str, Any]]:
    """A new task, an edited one, one with only a line, one without DetectInfos."""
    new = application_web("new", address, report_url)
    edited = copy.deepcopy(application_web("edited", address, report_url))
    edited["Algorithm"][0] |= {"TrackInterval": 1, "DetectInterval": 300, "AlarmInterval": 0, "threshold": 0.5}
    line = copy.deepcopy(application_web("line only", address, report_url))
    wire = {**NO_WIRE, "LineStart": {"X": 320, "Y": 0}, "LineEnd": {"X": 320, "Y": 360}}
    line["Algorithm"][0]["DetectInfos"] = [{"TripWire": wire, "HotArea": None}]
    bare = copy.deepcopy(application_web("no DetectInfos", address, report_url))
    del bare["Algorithm"][0]["DetectInfos"]
    return {body["TaskID"]: body for body in (new, edited, line, bare)}


def test_the_four_bodies_of_application_web_all_run(tmp_path: Path) -> None:
    walkers = tmp_path / "walkers.mp4"
    draw_clip(walkers, fps=25)
    environment = {"STREAMSERVER_DETECTOR": "motion"}
    with ledger() as receiver, server(tmp_path / "state", environment=environment) as one:
        bodies = four_bodies(str(walkers), receiver.url)
        for body in bodies.values():
            assert one.create(body) == {"Code": 0, "Msg": "success"}
        for task_id in bodies:
            wait_for(lambda t=task_id: one.query(t).get("Frames", 0) > 0, task_id, lambda t=task_id: one.query(t))
        for task_id in bodies:
            one.wait_finished(task_id)
        for task_id in ("line only", "new", "no DetectInfos"):
            assert len(receiver.reports(task_id)) == 3, task_id
        assert one.post("/task/delete", {"TaskID": "device new"}) == {"Code": 0, "Msg": "success"}
        assert "new" not in {row["TaskID"] for row in one.post("/task/list", {})["Result"]}


def test_hostile_bodies_change_nothing_and_the_server_goes_on(tmp_path: Path, walkers: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state", environment={"STREAMSERVER_NURSERIES": "false"}) as one:
        good = application_web("good", str(walkers), receiver.url)
        hostile: list[Any] = [
            b"",
            b"not json",
            b"[" * 100_000,
            b'{"TaskID": "\xff"}',
            b'{"TaskID": NaN}',
            b"null",
            b"[]",
            b'"x"',
            {},
            {**good, "TaskID": ""},
            {**good, "TaskID": None},
            {**good, "TaskID": "a\nb"},
            {**good, "InputSrc": {}},
            {**good, "InputSrc": {"StreamSrc": {"Address": "../../etc/passwd"}}},
            {**good, "InputSrc": {"StreamSrc": {"Address": "/no/such/file.mp4"}}},
            {**good, "Algorithm": []},
            {**good, "Algorithm": None},
            {**good, "Algorithm": [{**good["Algorithm"][0], "Type": 4711}]},
            {**good, "Algorithm": [{**good["Algorithm"][0], "threshold": 1e9}]},
            {**good, "Algorithm": [{**good["Algorithm"][0], "DetectInterval": -1}]},
            {**good, "Algorithm": [{**good["Algorithm"][0], "DetectInfos": [{"HotArea": [ZERO, ZERO, ZERO]}]}]},
            {**good, "Reporting": {"ReportUrlList": []}},
            {**good, "Reporting": {"ReportUrlList": "__import__('os').system('touch /tmp/owned')"}},
            {**good, "Reporting": {"ReportUrlList": ["file:///etc/passwd"]}},
            b'{"TaskID": "' + b"x" * 1_100_000 + b'"}',
        ]
        messages = []
        for body in hostile:
            reply = one.post("/task/create", body)
            assert reply["Code"] != 0 and len(reply["Msg"]) > 10, (body if len(str(body)) < 300 else "long", reply)
            messages.append(reply["Msg"])
        assert one.post("/task/list", {})["Result"] == []
        assert not (one.state_dir / "tasks").exists() or not list((one.state_dir / "tasks").iterdir())
        assert len(set(messages)) > 15, messages
        assert one.create(good)["Code"] == 0
