"""docs/writing_an_algorithm.md, done step by step."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.settings import PROJECT_DIR
from tests.samples import frames


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project after the tutorial's steps."""
    shutil.copytree(PROJECT_DIR / "samples", tmp_path / "samples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_DIR / "config_algorithm.py", tmp_path)
    text = (PROJECT_DIR / "docs" / "writing_an_algorithm.md").read_text("utf-8")
    command = re.search(r"^samples/add_algorithm\.sh (\w+) (\d+)$", text, re.MULTILINE)
    assert command and command.groups() == ("loitering", "21")
    subprocess.run([tmp_path / "samples" / "add_algorithm.sh", *command.groups()], check=True, capture_output=True)
    functions, config_logic = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = (tmp_path / "samples" / "loitering" / "loitering.py").read_text("utf-8")
    head = code[: code.index("def loitering_logic")].replace(
        "loitering_classes, loitering_infos", "Stays, loitering_classes"
    )
    (tmp_path / "samples" / "loitering" / "loitering.py").write_text(head + functions)
    (tmp_path / "samples" / "loitering" / "config_logic.py").write_text(config_logic)
    return tmp_path


def test_the_tutorials_algorithm_reports_who_has_stayed_long_enough(project: Path) -> None:
    algorithm = plugins.load("loitering", project=project)
    state = algorithm.new_state({"Extend": {"StaySeconds": 3}})
    reports: list[dict[str, Any]] = []
    for sequence in range(8):
        message = frames.frame(sequence, {7: (10, 20, 60, 90)}, picture=True)
        message["mFrame"]["mTimestamp"] = 1_700_000_000_000_000 + sequence * 1_000_000
        names: list[Any] = []
        algorithm.logic(message, names, [], state)
        if names:
            reports.append(algorithm.trans_json(message, "t", 21, names))
    assert [report["FrameIndex"] for report in reports] == [9]
    assert reports[0]["AnalyzeEvents"][0]["Extend"] == {"Why": "loitering"}
    assert plugins.build(
        "loitering",
        stream_path="",
        data=frames.task(frames.bodies(99)["new"]),
        port=10001,
        index=0,
        project=project,
    )
