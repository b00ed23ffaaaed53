"""The second task of an algorithm does not pay for its import, and never runs what is no longer there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.errors import SampleError
from streamserver.plugin_api import GraphOverrides

LOGIC = """
def made_logic(json_data, up_list, rm_list): ...
def made_trans_json(json_data, task_id, Type, up_list): ...
"""

PURE = f"""
import time
from samples.made.config_logic import FPS
from streamserver.plugin_api import GraphOverrides
LOADED = time.monotonic_ns()
def made_build_config(algorithm_name, stream_path, data, port, i):
    return GraphOverrides(channel={{"fps": FPS, "loaded": LOADED}})
{LOGIC}"""

OLD = f"""
import time
from pathlib import Path
DEMO = Path(__file__).with_name(f"{{time.monotonic_ns()}}.json")
def made_build_config(algorithm_name, stream_path, data, port, i):
    DEMO.touch()
    return str(DEMO)
{LOGIC}"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose only algorithm says when it was imported."""
    folder = tmp_path / "samples" / "made"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "made_demo.json").write_text(json.dumps({"channels": [{"channel_id": 0}]}))
    (folder / "made.py").write_text(PURE)
    (folder / "config_logic.py").write_text("FPS = 1\n")
    (tmp_path / "config_algorithm.py").write_text("map_type = {40: 'made'}\n")
    return tmp_path


def built(project: Path) -> dict[str, Any]:
    overrides = plugins.build("made", stream_path="", data={}, port=1, index=0, project=project)
    assert isinstance(overrides, GraphOverrides)
    return dict(overrides.channel)


def test_an_untouched_algorithm_is_loaded_once(project: Path) -> None:
    assert built(project) == built(project)


@pytest.mark.parametrize("edited", ["samples/made/made.py", "samples/made/config_logic.py", "config_algorithm.py"])
def test_an_edit_takes_effect_at_once(edited: str, project: Path) -> None:
    before = built(project)
    text = (project / edited).read_text()
    (project / edited).write_text(text.replace("FPS = 1", "FPS = 25") + "# more\n")
    after = built(project)
    assert after["loaded"] != before["loaded"]
    assert after["fps"] == (25 if "config_logic" in edited else 1)


def test_one_that_an_edit_broke_says_so_and_runs_again_when_mended(project: Path) -> None:
    built(project)
    file = project / "samples" / "made" / "made.py"
    file.write_text(PURE + "raise RuntimeError('half saved')\n")
    with pytest.raises(SampleError, match="half saved"):
        built(project)
    file.write_text(PURE + "# mended\n")
    assert built(project)["fps"] == 1


def test_one_that_is_gone_is_missed(project: Path) -> None:
    built(project)
    (project / "samples" / "made" / "made.py").unlink()
    with pytest.raises(SampleError, match=r"made\.py is missing"):
        built(project)


def test_an_old_one_is_loaded_for_every_call(project: Path) -> None:
    (project / "samples" / "made" / "made.py").write_text(OLD)
    paths = {plugins.build("made", stream_path="", data={}, port=1, index=0, project=project) for _ in range(2)}
    assert len(paths) == 2
