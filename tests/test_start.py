"""start.py as a user starts it: web and supervisor for real."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import exitcodes
from streamserver.core.settings import PROJECT_DIR
from streamserver.supervise import lock
from streamserver.supervise.pulse import children_of
from tests.servers.ports import free_port
from tests.supervise.house import is_alive, wait_until

_CALM = {"STREAMSERVER_NURSERIES": "false", "STREAMSERVER_HEARTBEAT_TIMEOUT_S": "60"}
"""No task is ever started here, and on a busy machine nobody is taken for hung who only waits for a core."""


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}/task/list", b"{}", {"Content-Type": "application/json"}),
            timeout=30,
        ) as reply:
            return b'"Code":0' in reply.read().replace(b" ", b"")
    except (OSError, http.client.HTTPException):
        return False


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # that thread has ended, another one has its children
            return descendants(pid)
        for child in map(int, children):
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


def asked(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, dict[str, Any]]:
    """Status and content of a GET; 0 and nothing where nobody answers."""
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return 0, {}


def is_another(parent: int, part: str, before: int) -> bool:
    """Whether a child that runs ``part`` has taken the place of ``before``."""
    return child_called(parent, part) not in (0, before)


@contextmanager
def started(
    state: Path, port: int, *options: str, stderr: Path | None = None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """start.py; its stderr is a pipe, or a file where a test runs for long."""
    argv = [sys.executable, str(PROJECT_DIR / "start.py"), f"--port={port}", f"--state_dir={state}", *options]
    with ExitStack() as stack:
        errors = stack.enter_context(stderr.open("w")) if stderr else subprocess.PIPE
        process = stack.enter_context(
            subprocess.Popen(
                argv,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=state.parent,
                env=os.environ | _CALM | variables,
            )
        )
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
            wait_until(partial(is_another, process.pid, part, before), f"{part} is back")
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
        wait_until(lambda: not any(is_alive(pid) for pid in everybody), "nobody of the first is left")
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


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--config=none.yaml"], "--config: there is no file '{folder}/none.yaml'; correct the path"),
        (["--state_dir=/proc/none"], "the state folder /proc/none cannot be used: No such file or directory; mend"),
    ],
)
def test_what_is_not_there_is_one_clear_line(tmp_path: Path, options: list[str], problem: str) -> None:
    with started(tmp_path / "state", free_port(), *options) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == exitcodes.USAGE
    assert problem.format(folder=tmp_path) in error
    assert error.count("\n") == 1


@pytest.mark.e2e
def test_a_damaged_database_is_moved_aside_and_told_by_readyz(tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    state.mkdir()
    (state / "tasks.sqlite").write_bytes(b"no database" * 1000)
    with started(state, port, stderr=tmp_path / "err") as process:
        wait_until(lambda: answers(port), "the API answers")
        wait_until(lambda: asked(port, "/readyz")[0] == 200, "it is ready")
        notes = str(asked(port, "/readyz")[1]["Notes"])
        process.terminate()
        assert process.wait() == 0
    assert "tasks.sqlite" in notes
    assert [file.read_bytes() for file in state.glob("tasks.sqlite.damaged-*[0-9]")] == [b"no database" * 1000]


@pytest.mark.e2e
def test_a_web_process_that_hangs_is_found_and_replaced(tmp_path: Path) -> None:
    """Its worker, then its arbiter is stopped; after each, the API answers again, from another process."""
    port, state = free_port(), tmp_path / "state"
    with started(state, port, stderr=tmp_path / "err") as process:
        wait_until(lambda: asked(port, "/readyz")[0] == 200, "ready")
        arbiter = child_called(process.pid, "gunicorn")
        (worker,) = children_of(arbiter)
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: not is_alive(worker), "the stopped worker is killed")
        wait_until(lambda: asked(port, "/livez")[0] == 200, "it answers")
        assert child_called(process.pid, "gunicorn") == arbiter, "the arbiter started another worker"
        os.kill(arbiter, signal.SIGSTOP)
        wait_until(lambda: child_called(process.pid, "gunicorn") not in (0, arbiter), "another arbiter")
        wait_until(lambda: asked(port, "/livez")[0] == 200, "it answers again")
        process.terminate()
        assert process.wait() == 0


@pytest.mark.e2e
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost"])
def test_whatever_the_address_systemd_hears_that_it_is_ready_and_alive(host: str, tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    address = f"\0stream-server-test-{os.getpid()}-{port}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(90)
        variables = {"NOTIFY_SOCKET": f"@{address[1:]}", "WATCHDOG_USEC": "3000000", "STREAMSERVER_AUTH": "off"}
        with started(state, port, f"--host={host}", stderr=tmp_path / "err", **variables) as process:
            said = [manager.recv(200)]
            while not said[-1].startswith(b"READY=1"):
                said.append(manager.recv(200))
            loopback = "::1" if host == "::" else "127.0.0.1"
            assert asked(port, "/readyz", loopback)[1]["Checks"]["supervisor"]["Ok"]
            assert set(said[:-1]) <= {b"WATCHDOG=1"}
            while manager.recv(200) != b"WATCHDOG=1":
                pass
            process.terminate()
            while manager.recv(200) != b"STOPPING=1":
                pass
            assert process.wait() == 0


def unshare_works() -> bool:
    """Whether a namespace of processes can be made here."""
    return subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True).returncode == 0


@pytest.mark.e2e
def test_as_the_first_process_of_a_container_it_buries_orphans_and_ends_cleanly(tmp_path: Path) -> None:
    if not unshare_works():
        pytest.skip("no right to make a namespace")
    port, state = free_port(), tmp_path / "state"
    orphan = "(sleep 1 & exec setsid sleep 0.5) & exec"
    start = f"{sys.executable} {PROJECT_DIR / 'start.py'} --port={port} --state_dir={state}"
    argv = ["unshare", "-pf", "--mount-proc", "sh", "-c", f"{orphan} {start}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as outside:
        try:
            wait_until(lambda: asked(port, "/readyz")[0] == 200, "ready")
            (first,) = children_of(outside.pid)
            assert called(first, "start.py")
            web = child_called(first, "gunicorn")
            os.kill(web, signal.SIGKILL)
            wait_until(lambda: child_called(first, "gunicorn") not in (0, web), "web is back")
            wait_until(lambda: not any(is_zombie(pid) for pid in children_of(first)), "no zombies")
            wait_until(lambda: not any(called(pid, "sleep") for pid in children_of(first)), "orphans are buried")
            everybody = descendants(outside.pid)
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(first, number)
            assert outside.wait() == 0
        finally:
            outside.kill()
    assert not any(is_alive(pid) for pid in everybody)


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "Z"
    except OSError:
        return False


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
        shutil.rmtree(state.rename(state.with_name("gone")))  # in one step, for the server writes into it
        for old, part in zip(before, ("gunicorn", "streamserver.supervise"), strict=True):
            wait_until(partial(is_another, process.pid, part, old), f"{part} is new")
        wait_until(lambda: answers(port), "the API answers again")
        assert (state / "tasks.sqlite").exists()
        process.terminate()
        _, error = process.communicate()
    assert "the state folder was removed or replaced; all start anew" in error


def test_a_supervisor_whose_folder_goes_while_it_starts_asks_for_a_fresh_start(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom streamserver.supervise import __main__ as program, folders\n"
        "def late(path):\n    os.rename(path, f'{path}.gone')\n    os.listdir(path)\n"
        "folders.tighten = late\nsys.exit(program.main())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "STREAMSERVER_PARENT_PID"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "STREAMSERVER_STATE_DIR": str(tmp_path / "state")},
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
    )
    assert done.returncode == exitcodes.STATE_LOST, done.stderr
    assert "supervisor.lock was removed while it was in use" in done.stderr


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
