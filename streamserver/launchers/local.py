"""Processes of this machine: each in a session of its own, watched without a thread, leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from streamserver.core.processes import PARENT_PID_VARIABLE
from streamserver.core.settings import PROJECT_DIR, Settings, to_environment
from streamserver.launchers.base import ProcessSpec

_NICER_BY = 10
_NICEST = 19
_ROTATE_BYTES = 1_000_000
_TRIM_BYTES = 10_000_000

_MALLOC_THRESHOLD = "268435456"
_FIXED_ENVIRONMENT = {
    # Frames of a few megabytes come and go: without these, glibc returns each to the kernel and faults it in again.
    "MALLOC_TRIM_THRESHOLD_": _MALLOC_THRESHOLD,
    "MALLOC_MMAP_THRESHOLD_": _MALLOC_THRESHOLD,
    "MALLOC_ARENA_MAX": "1",  # an arena for each thread would keep 25 to 30 MB of freed frames a task at 1080p
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}


class LocalProcess:
    """A process started by ``LocalLauncher``; the leader of its own process group."""

    def __init__(self, popen: subprocess.Popen[bytes], out_file: Path) -> None:
        self._popen = popen
        self._out_file = out_file

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def poll(self) -> int | None:
        """``None`` while it runs, then its exit code; what it started and left behind is killed first."""
        if self._popen.returncode is None:
            try:
                if self._has_ended():
                    # The dead leader is still unreaped, so its number cannot have been given to another group.
                    self._kill_group()
                    return self._popen.wait()
            except ChildProcessError:  # somebody else waited for it, and kept the exit code
                self._popen.returncode = -signal.SIGKILL
        return self._popen.returncode

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself, unless it has ended."""
        if self._popen.returncode is None:
            os.kill(self._popen.pid, number)

    def kill(self) -> None:
        """SIGKILLs the whole group."""
        if self._popen.returncode is None:
            self._kill_group()

    def trim_output(self) -> None:
        """Empties the output file when it has grown beyond 10 MB; the process goes on appending to it."""
        try:
            if self._out_file.stat().st_size > _TRIM_BYTES:
                os.truncate(self._out_file, 0)
        except FileNotFoundError:
            pass

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill_group(self) -> None:
        try:
            os.killpg(self._popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class LocalLauncher:
    """Starts processes as children of this one.

    Args:
        settings: what every process is to see, whatever its working directory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def start(self, spec: ProcessSpec) -> LocalProcess:
        """Starts one process: own session, no input, output appended to ``spec.out_file``."""
        argv = tether(spec.argv) if spec.foreign else spec.argv
        with _open_output(spec.out_file) as output:
            popen = subprocess.Popen(
                argv,
                cwd=spec.cwd,
                env=self._environment() | dict(spec.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _make_nice(popen.pid)
        return LocalProcess(popen, spec.out_file)

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ,
            **_FIXED_ENVIRONMENT,
            **to_environment(self._settings),
            "PYTHONPATH": path,
            PARENT_PID_VARIABLE: str(os.getpid()),
        }


def _make_nice(pid: int) -> None:
    """Lets the API and the supervisor go before the tasks when the cores are short.

    Each process is a session of its own, so where the kernel groups by session (autogroup) the group's value counts.
    """
    niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + _NICER_BY, _NICEST)
    try:
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
    except OSError:  # it has ended already, or this kernel has no autogroup
        pass


def tether(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line for a program that is not ours: it dies with the process (and thread) that starts it."""
    return (sys.executable, "-S", "-P", "-m", "streamserver.launchers.tether", str(os.getpid()), *argv)


def _open_output(path: Path) -> BinaryIO:
    """Opens for appending, which is what lets ``trim_output`` cut the file under a running process."""
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
