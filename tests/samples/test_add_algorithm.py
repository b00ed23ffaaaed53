from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.settings import PROJECT_DIR
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the script needs."""
    folder = tmp_path / "a project"
    shutil.copytree(
        PROJECT_DIR / "samples", folder / "samples", ignore=shutil.ignore_patterns("__pycache__", "yolov5", "license*")
    )
    (folder / "config_algorithm.py").write_text(
        "map_type = {\n    1: 'tripwire',  # persons\n    6: 'area_intrusion'\n}\n"
    )
    return folder


@pytest.fixture(autouse=True)
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy has no ``.venv``: its ``python3`` is this one, not a script of pyenv that looks for one each time."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def add(project: Path, *arguments: str, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    command = [str(project / "samples" / "add_algorithm.sh"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def snapshot(project: Path) -> dict[str, bytes]:
    files = [p for p in project.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {str(p.relative_to(project)): p.read_bytes() for p in files}


def test_a_new_algorithm_runs_at_once(project: Path) -> None:
    before = snapshot(project)
    done = add(project, "helmet_check", "21")
    assert (done.returncode, done.stderr) == (0, "")
    assert plugins.known_types(project=project)[21] == "helmet_check"
    body = frames.bodies(99)["new"]
    built = plugins.build("helmet_check", stream_path="", data=frames.task(body), port=10001, index=0, project=project)
    assert isinstance(built, GraphOverrides)
    algorithm = plugins.load("helmet_check", project=project)
    state = algorithm.new_state({"TrackInterval": 2})
    names: list[Any] = []
    for sequence in range(3):
        algorithm.logic(frames.frame(sequence, {7: (10, 20, 60, 90)}), names, [], state)
    assert names == ["7"]
    after = snapshot(project)
    changed = {name for name in after if after[name] != before.get(name)}
    assert all(name == "config_algorithm.py" or name.startswith("samples/helmet_check/") for name in changed)
    assert set(before) <= set(after)


def test_its_files_name_it_and_nothing_of_what_they_were_made_from(project: Path) -> None:
    add(project, "helmet_check", "21")
    folder = project / "samples" / "helmet_check"
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config", "config_logic.py", "helmet_check.py"]
    for file in folder.rglob("*.*"):
        assert "template" not in file.name
        if file.is_file():
            assert "template" not in file.read_text("utf-8") and "TYPE_NUMBER" not in file.read_text("utf-8")
    assert (folder / "README.md").read_text("utf-8").startswith("# helmet_check (Type 21)")


def test_the_same_call_again_changes_nothing(project: Path) -> None:
    add(project, "helmet_check", "21")
    before = snapshot(project)
    done = add(project, "helmet_check", "21")
    assert done.returncode == 0 and "already there" in done.stdout
    assert snapshot(project) == before


def test_what_an_interrupted_call_left_out_is_made_up_for(project: Path) -> None:
    add(project, "helmet_check", "21")
    complete = snapshot(project)
    shutil.rmtree(project / "samples" / "helmet_check")
    assert add(project, "helmet_check", "21").returncode == 0
    assert snapshot(project) == complete
    (project / "config_algorithm.py").write_text("map_type = {1: 'tripwire'}\n")
    assert add(project, "helmet_check", "21").returncode == 0
    assert plugins.known_types(project=project) == {1: "tripwire", 21: "helmet_check"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "usage: add_algorithm.sh <name> <type>"),
        (("helmet",), "usage: add_algorithm.sh <name> <type>"),
        (("helmet", "21", "x"), "usage: add_algorithm.sh <name> <type>"),
        (("Helmet", "21"), "'Helmet' is no name; use lower-case letters"),
        (("2helmet", "21"), "'2helmet' is no name"),
        (("../helmet", "21"), "'../helmet' is no name"),
        (("hel met", "21"), "'hel met' is no name"),
        (("hélmet", "21"), "'hélmet' is no name"),
        (("", "21"), "'' is no name"),
        (("import", "21"), "'import' is a Python keyword"),
        (("template", "21"), "choose another name"),
        (("config_logic", "21"), "'config_logic' is a file of every algorithm"),
        (("helmet", "0"), "'0' is no number; use a whole number from 1"),
        (("helmet", "-3"), "'-3' is no number"),
        (("helmet", "1.5"), "'1.5' is no number"),
        (("helmet", "1)"), "is no number"),
        (("helmet", "6"), "type 6 is taken by 'area_intrusion'"),
        (("tripwire", "21"), "'tripwire' is there already, as type 1"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    arguments: tuple[str, ...], expected: str, project: Path
) -> None:
    before = snapshot(project)
    done = add(project, *arguments)
    assert done.returncode != 0 and expected in done.stderr and done.stdout == ""
    assert snapshot(project) == before


def test_a_folder_that_is_no_algorithm_is_not_touched(project: Path) -> None:
    (project / "samples" / "helmet").mkdir()
    (project / "samples" / "helmet" / "notes.txt").write_text("mine")
    before = snapshot(project)
    done = add(project, "helmet", "21")
    assert done.returncode == 1 and "samples/helmet is taken" in done.stderr
    assert snapshot(project) == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("map_type={1:'a', 2:'b'}\n", "map_type={1:'a', 2:'b', 21: 'helmet'}\n"),
        ("map_type={}\nx = 1\n", 'map_type={21: "helmet"}\nx = 1\n'),
        ("map_type = {\n}\n", 'map_type = {21: "helmet"\n}\n'),
        (
            'map_type = {\n    1: "a",  # one, 1\n    2: "b",\n}\n',
            'map_type = {\n    1: "a",  # one, 1\n    2: "b",\n    21: "helmet",\n}\n',
        ),
        (
            "map_type = {\n  1: 'a',\n  2: 'b'  # last\n}  # end\n",
            "map_type = {\n  1: 'a',\n  2: 'b',\n  21: 'helmet'  # last\n}  # end\n",
        ),
        ("map_type = {1: 'a',}\r\n", "map_type = {1: 'a', 21: 'helmet',}\r\n"),
        ("# 越线\nmap_type: dict = {1: 'a'}", "# 越线\nmap_type: dict = {1: 'a', 21: 'helmet'}"),
        ("名 = '越线'; map_type = {1: 'a'}\n", "名 = '越线'; map_type = {1: 'a', 21: 'helmet'}\n"),
    ],
)
def test_the_entry_keeps_the_files_formatting(before: str, after: str, project: Path) -> None:
    config = project / "config_algorithm.py"
    config.write_bytes(before.encode())
    config.chmod(0o640)
    done = add(project, "helmet", "21")
    assert (done.returncode, done.stderr) == (0, "")
    assert config.read_bytes().decode() == after
    assert config.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ["map_type = make()\n", "map_type = {", "map_type = {1: name}\n"])
def test_a_table_that_cannot_be_read_is_left_to_the_user(text: str, project: Path) -> None:
    (project / "config_algorithm.py").write_text(text)
    before = snapshot(project)
    done = add(project, "helmet", "21")
    assert done.returncode != 0 and "config_algorithm.py" in done.stderr
    assert snapshot(project) == before


def test_two_calls_at_once_both_count(project: Path) -> None:
    script = str(project / "samples" / "add_algorithm.sh")
    calls = [subprocess.Popen([script, f"zone{i}", str(50 + i)], stdout=subprocess.DEVNULL) for i in range(4)]
    assert [call.wait(120) for call in calls] == [0] * 4
    known = plugins.known_types(project=project)
    assert {known[50 + i] for i in range(4)} == {f"zone{i}" for i in range(4)}


def test_modules_of_the_folder_one_stands_in_are_not_taken_for_pythons(project: Path, tmp_path: Path) -> None:
    for name in ("ast", "fcntl", "keyword", "shutil"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')\n")
    done = add(project, "helmet", "21", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_project_can_be_named(project: Path) -> None:
    done = subprocess.run(
        [PROJECT_DIR / "samples" / "add_algorithm.sh", "helmet", "21"],
        env=os.environ | {"STREAMSERVER_PROJECT": str(project)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert plugins.known_types(project=project)[21] == "helmet"
