"""Programs started with the system's Python go on under the project's, or say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR

PROGRAMS = ("start.py", "server.py", "client.py")


def run(command: list[str], *, cwd: Path = PROJECT_DIR) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_without_the_packages_says_which_and_what_to_do(program: str) -> None:
    result = run([sys.executable, "-S", program, "--help"])  # -S: no site-packages, here nor after the re-exec
    assert result.returncode == 1
    assert "has no flask" in result.stderr
    assert "run ./start_server.sh" in result.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_systems_python_goes_on_as_the_projects(program: str, tmp_path: Path) -> None:
    if not (PROJECT_DIR / ".venv" / "bin" / "python").exists():
        pytest.skip("the project has no .venv; ./start_server.sh makes one")
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    result = run([str(bare / "bin" / "python"), str(PROJECT_DIR / program), "--help"], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "usage:" in result.stdout
