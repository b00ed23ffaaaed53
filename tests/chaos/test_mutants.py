"""The mutants still fit the code: each edit is found exactly once, and what comes out is Python that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.mutants import Mutant, RottenMutantError, breed, edited
from tests.chaos.row_mutants import TRIALS, Trial
from tests.e2e.harness import PROJECT


@pytest.mark.parametrize("one", TRIALS, ids=lambda one: one.mutant.name)
def test_each_mutant_fits_the_code_and_can_be_compiled(one: Trial) -> None:
    texts = edited(one.mutant, PROJECT)
    assert texts
    for name, text in texts.items():
        assert text != (PROJECT / name).read_text("utf-8")
        compile(text, name, "exec")
        command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "-"]
        names = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
        assert names.returncode == 0, f"it would break off where it should break a promise: {names.stdout}"


def test_a_mutant_is_a_copy_that_leaves_out_what_is_no_part_of_the_project(tmp_path: Path) -> None:
    project = tmp_path / "project"
    for name in ("streamserver/models/a.py", "state/tasks.sqlite", ".git/HEAD", ".venv/bin/python", "models/m.onnx"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("old")
    mutant = Mutant("m", {"streamserver/models/a.py": (("old", "new"),)})
    tree = breed(mutant, project, tmp_path / "tree")
    assert (tree / "streamserver/models/a.py").read_text() == "new"
    assert (project / "streamserver/models/a.py").read_text() == "old"
    assert sorted(path.name for path in tree.iterdir()) == [".venv", "models", "streamserver"]
    assert (tree / ".venv").is_symlink()
    assert (tree / "models").is_symlink()


def test_an_edit_that_does_not_fit_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(RottenMutantError, match=r"a\.py holds 2 times: 'x = 1'"):
        edited(Mutant("m", {"a.py": (("x = 1", "x = 2"),)}), tmp_path)
