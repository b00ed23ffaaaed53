"""docs/writing_an_algorithm.md, done step by step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.events import Kind, RuleEvent
from streamserver.core.settings import PROJECT_DIR
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames

EXTEND = {"Events": ["enter"], "People": 3}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project after the tutorial's steps."""
    shutil.copytree(PROJECT_DIR / "samples", tmp_path / "samples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_DIR / "config_algorithm.py", tmp_path)
    text = (PROJECT_DIR / "docs" / "writing_an_algorithm.md").read_text("utf-8")
    command = re.search(r"^samples/add_algorithm\.sh (\w+) (\d+)$", text, re.MULTILINE)
    assert command and command.groups() == ("rush", "21")
    this_python = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        [tmp_path / "samples" / "add_algorithm.sh", *command.groups()],
        env=os.environ | this_python,
        check=True,
        capture_output=True,
    )
    functions, imports, config_logic = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    file = tmp_path / "samples" / "rush" / "rush.py"
    head = file.read_text("utf-8").partition("def rush_logic")[0]
    before, _, after = head.partition("from samples.rush")
    file.write_text(before + imports + after.partition("rule_report\n")[2] + functions)
    (tmp_path / "samples" / "rush" / "config_logic.py").write_text(config_logic)
    return tmp_path


def _frame_with_one_who_comes(second: int) -> dict[str, Any]:
    box = (10, 20, 60, 90)
    message = frames.frame(second, {second: box}, picture=True)
    message["mFrame"]["mTimestamp"] = 1_700_000_000_000_000 + second * 1_000_000
    return frames.with_events(message, RuleEvent(kind=Kind.ENTER, track_id=second, class_id=0, box_xyxy=box))


def test_the_tutorials_algorithm_reports_a_rush(project: Path) -> None:
    algorithm = plugins.load("rush", project=project)
    state = algorithm.new_state({"Extend": EXTEND})
    reports: list[dict[str, Any]] = []
    for second in (1, 50, 90, 100, 120, 300):
        message = _frame_with_one_who_comes(second)
        names: list[Any] = []
        algorithm.logic(message, names, [], state)
        if names:
            reports.append(algorithm.trans_json(message, "t", 21, names))
    (report,) = reports
    (event,) = report["AnalyzeEvents"]
    assert (event["Extend"]["TrackId"], event["Extend"]["Why"]) == (100, "rush")


def test_its_task_asks_for_what_rules_know(project: Path) -> None:
    body = frames.bodies(99)["new"]
    body["Algorithm"][0]["Extend"] = EXTEND
    built = plugins.build("rush", stream_path="", data=frames.task(body), port=10001, index=0, project=project)
    assert isinstance(built, GraphOverrides)
    assert built.filters[0]["rule"]["events"] == ["enter"]
