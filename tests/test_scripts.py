"""start_server.sh as a newcomer meets it, with a stand-in for Python that only notes what it is asked; and the demo."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR

STAND_IN = f"""#!/bin/bash
# Python 3.11 as far as tools/venv.sh can tell. FAKE_OLD is too old, FAKE_OFFLINE has no package index.
echo "$*" >> "$FAKE_LOG"
case "$1 $2" in
  "-c import fcntl"*) exec {sys.executable} "$@" ;;
  "-c "*) [ -z "${{FAKE_OLD:-}}" ] && [ ! -e "$(dirname "$0")/without-pip" ] ;;
  "-m venv") rm -rf .venv && mkdir -p .venv/bin && cp "$FAKE_PYTHON" .venv/bin/python ;;
  "-m pip") [ -z "${{FAKE_OFFLINE:-}}" ] ;;
  *) echo "started in $PWD with: $*" ;;
esac
"""


class Newcomer:
    """A checkout under a path with a space, and somebody who calls its scripts from another folder."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "a project"
        (self.project / "tools").mkdir(parents=True)
        for name in ("start_server.sh", "tools/venv.sh", "requirements.txt", "requirements-nodeps.txt"):
            shutil.copy2(PROJECT_DIR / name, self.project / name)
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.python = folder / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        self.log = folder / "log"

    def start(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Calls start_server.sh with ``variables`` in the environment."""
        fakes = {"PYTHON": str(self.python), "FAKE_PYTHON": str(self.python), "FAKE_LOG": str(self.log)}
        return subprocess.run(
            [self.project / "start_server.sh", *arguments],
            cwd=self.elsewhere,
            env={"PATH": os.environ["PATH"], **fakes, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def asked(self, what: str) -> int:
        """How often Python was asked for something that begins so."""
        return sum(line.startswith(what) for line in self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


INSTALL = "-m pip install --quiet --disable-pip-version-check -r"
INSTALL_BARE = "-m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.txt"


def test_packages_are_installed_at_the_first_start_and_when_a_pin_changes(newcomer: Newcomer) -> None:
    for _ in range(2):
        assert newcomer.start().returncode == 0
    assert [newcomer.asked(what) for what in ("-m venv", INSTALL, INSTALL_BARE)] == [1, 1, 1]
    with (newcomer.project / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    assert newcomer.start().returncode == 0
    assert [newcomer.asked(what) for what in ("-m venv", INSTALL, INSTALL_BARE)] == [1, 2, 2]


def test_paths_in_options_count_from_where_the_caller_stands(newcomer: Newcomer) -> None:
    plain, demo = newcomer.start("0", "--state_dir", "here"), newcomer.start("--demo", "--video", "clip.mp4")
    assert plain.stdout.endswith(
        f"started in {newcomer.elsewhere} with: {newcomer.project}/start.py --state_dir here\n"
    )
    assert demo.stdout.endswith(
        f"started in {newcomer.elsewhere} with: -P -m streamserver.demo --demo --video clip.mp4\n"
    )


def test_the_script_may_be_called_through_a_link(newcomer: Newcomer) -> None:
    script = newcomer.project / "start_server.sh"
    script.rename(newcomer.project / "real.sh")
    (newcomer.project / "tools" / "link").symlink_to("../real.sh")
    script.symlink_to("tools/link")
    assert f"{newcomer.project}/start.py" in newcomer.start().stdout


def test_a_python_that_is_too_old_is_named_with_the_cure(newcomer: Newcomer) -> None:
    result = newcomer.start(FAKE_OLD="1")
    assert result.returncode == 1
    assert f"'{newcomer.python}' is none" in result.stderr
    assert "PYTHON=/path/to/python3.11" in result.stderr


def test_without_a_package_index_nothing_starts_and_the_next_call_tries_again(newcomer: Newcomer) -> None:
    offline = newcomer.start(FAKE_OFFLINE="1")
    assert offline.returncode == 1
    assert "is a package index reachable?" in offline.stderr
    assert "started" not in offline.stdout
    assert "started" in newcomer.start().stdout


def test_a_venv_whose_making_was_interrupted_is_made_anew(newcomer: Newcomer) -> None:
    unfinished = newcomer.project / ".venv" / "bin"
    unfinished.mkdir(parents=True)
    shutil.copy2(newcomer.python, unfinished / "python")
    (unfinished / "without-pip").touch()
    assert "started" in newcomer.start().stdout
    assert newcomer.asked("-m venv") == 1


def test_a_folder_that_cannot_be_written_is_named(newcomer: Newcomer) -> None:
    (newcomer.project / ".venv.lock").mkdir()  # root may write everywhere, but not to a folder
    result = newcomer.start()
    assert result.returncode == 1
    assert f"{newcomer.project} cannot be written" in result.stderr


def test_two_first_starts_at_once_install_once(newcomer: Newcomer) -> None:
    fakes = {"PYTHON": str(newcomer.python), "FAKE_PYTHON": str(newcomer.python), "FAKE_LOG": str(newcomer.log)}
    both = [
        subprocess.Popen(
            [newcomer.project / "start_server.sh"],
            env={"PATH": os.environ["PATH"], **fakes},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert all("started" in process.communicate(timeout=60)[0] for process in both)
    assert newcomer.asked(INSTALL) == 1


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["terminated", "killed"])
def test_a_demo_that_is_ended_leaves_no_server_behind(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--output", str(output)]
    demo = subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: bool(processes_of(output) - {demo.pid}))
        demo.send_signal(number)
        demo.wait(120)
        wait_until(lambda: not processes_of(output))
    finally:
        demo.kill()
        demo.wait()


def processes_of(output: Path) -> set[int]:
    """Those that have a state folder under ``output`` in their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"STREAMSERVER_STATE_DIR={output}".encode() in entry.read_bytes():
                found.add(int(entry.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.1)


def test_an_address_with_a_password_need_not_stand_on_the_command_line() -> None:
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--video", "-"]
    result = subprocess.run(command, cwd=PROJECT_DIR, input="no.mp4\n", capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "address of the stream: ")
    assert "--video: 'no.mp4' is no file" in result.stderr


def test_a_line_that_is_none_is_refused_with_an_example() -> None:
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--line", "1,2,3"]
    result = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "'1,2,3' is no line; write four pixel numbers, e.g. 320,0,320,360" in result.stderr


def test_an_output_folder_that_cannot_be_made_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "streamserver.demo", "--demo", "--output", str(tmp_path / "file" / "out")]
    result = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.endswith("file/out: Not a directory; choose another folder with --output\n")
