"""start.py as a user starts it: web and supervisor for real."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamserver.core import exitcodes
from streamserver.core.settings import PROJECT_DIR
from streamserver.supervise import lock
from tests.supervise.house import is_alive, wait_until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/task/list", b"{}", {"Content-Type": "application/json"}),
            timeout=5,
        ) as reply:
            return b'"Code":0' in reply.read().replace(b" ", b"")
    except (OSError, http.client.HTTPException):
        return False


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def called(pid: int, part: str) -> bool:
    try:
        return part.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def child_called(parent: int, part: str) -> int:
    """The child of start.py that runs ``part`` (not the tether that is about to become it)."""
    children = [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return next((pid for pid in children if called(pid, part) and not called(pid, "tether")), 0)


@contextmanager
def started(state: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, str(PROJECT_DIR / "start.py"), f"--port={port}", f"--state_dir={state}", *options]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=state.parent) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.e2e
def test_web_and_supervisor_come_back_and_leave_nothing_after_sigterm(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    with started(state, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"stream-server: API on http://127.0.0.1:{port}, state in {state}\n"
        wait_until(lambda: answers(port), "the API answers")
        file = lock.lock_file(state)
        wait_until(lambda: lock.holder(file) == str(child_called(process.pid, "streamserver.supervise")), "supervised")
        for part in ("gunicorn", "streamserver.supervise"):
            before = child_called(process.pid, part)
            os.kill(before, signal.SIGKILL)
            wait_until(lambda old=before, part=part: child_called(process.pid, part) not in (0, old), f"{part} is back")
        wait_until(lambda: answers(port), "the API answers again")
        wait_until(lambda: lock.holder(file) == str(child_called(process.pid, "streamserver.supervise")), "supervised")
        everybody = descendants(process.pid)
        process.terminate()
        assert process.wait() == 0
    assert not any(is_alive(pid) for pid in everybody)
    held = lock.acquire(file)
    assert held is not None
    held.release()


@pytest.mark.e2e
def test_nothing_outlives_a_killed_guard_and_the_next_one_starts(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    with started(state, port) as process:
        wait_until(lambda: answers(port), "the API answers")
        everybody = descendants(process.pid)
        process.kill()
        process.wait()
    with started(state, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("stream-server: API on"), "port and lock are free again"
        wait_until(lambda: answers(port), "the API answers again")
        assert not any(is_alive(pid) for pid in everybody)
        process.terminate()
        assert process.wait() == 0


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with started(tmp_path / "state", port) as process:
            out, error = process.communicate()
    assert (process.returncode, out) == (exitcodes.PORT_TAKEN, "")
    assert error.startswith(f"start.py: port {port} on 127.0.0.1 is taken")
    assert "--port" in error
    assert error.count("\n") == 1


def test_a_state_folder_in_use_is_one_clear_line(tmp_path: Path) -> None:
    held = lock.acquire(lock.lock_file(tmp_path / "state"))
    assert held is not None
    with held, started(tmp_path / "state", free_port()) as process:
        _, error = process.communicate()
    assert process.returncode == exitcodes.PORT_TAKEN
    assert error.startswith(f"start.py: process {os.getpid()} already supervises {tmp_path / 'state'}; stop it")
    assert error.count("\n") == 1


def test_a_bad_setting_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("prot: 8001\n")
    with started(tmp_path / "state", free_port(), "--config=bad.yaml") as process:
        _, error = process.communicate()
    assert process.returncode == exitcodes.USAGE
    assert "unknown setting 'prot'; did you mean 'port'?" in error
    assert error.count("\n") == 1


def test_a_damaged_database_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / "tasks.sqlite"
    file.write_bytes(b"no database" * 1000)
    with started(tmp_path / "state", free_port()) as process:
        _, error = process.communicate()
    assert process.returncode == exitcodes.USAGE
    assert error.startswith(f"start.py: the task database {file} cannot be used: file is not a database; put a backup")
    assert error.count("\n") == 1


@pytest.mark.e2e
def test_a_state_folder_that_is_removed_leads_to_a_fresh_start_of_everything(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    with started(state, port) as process:
        wait_until(lambda: answers(port), "the API answers")
        wait_until(
            lambda: lock.holder(lock.lock_file(state)) == str(child_called(process.pid, "streamserver.supervise")),
            "supervised",
        )
        before = [child_called(process.pid, part) for part in ("gunicorn", "streamserver.supervise")]
        shutil.rmtree(state)
        for old, part in zip(before, ("gunicorn", "streamserver.supervise"), strict=True):
            wait_until(lambda old=old, part=part: child_called(process.pid, part) not in (0, old), f"{part} is new")
        wait_until(lambda: answers(port), "the API answers again")
        assert (state / "tasks.sqlite").exists()
        process.terminate()
        _, error = process.communicate()
    assert "supervisor.lock was removed while it was in use" in error


def test_a_second_supervisor_of_the_same_folder_says_who_is_first(tmp_path: Path) -> None:
    held = lock.acquire(lock.lock_file(tmp_path))
    assert held is not None
    environment = {k: v for k, v in os.environ.items() if k != "STREAMSERVER_PARENT_PID"}
    with held:
        done = subprocess.run(
            [sys.executable, "-m", "streamserver.supervise"],
            env={**environment, "STREAMSERVER_STATE_DIR": str(tmp_path)},
            cwd=PROJECT_DIR,
            capture_output=True,
            text=True,
        )
    assert done.returncode == exitcodes.USAGE
    assert done.stderr == f"supervisor: process {os.getpid()} already supervises {tmp_path}\n"
