"""Processes of this machine: each in a session of its own, watched without a thread, leaving nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO

from streamserver.core.processes import PARENT_PID_VARIABLE
from streamserver.core.settings import ENV_PREFIX, PROJECT_DIR, Settings, to_environment
from streamserver.launchers.base import ProcessSpec
from streamserver.launchers.nurseries import Nursery

SECRETS = tuple(f"{ENV_PREFIX}{row.name.upper()}" for row in fields(Settings) if row.metadata["secret"])
"""Variables with secrets, which only those who report need: the others get them empty, whatever server.yaml says."""

_NICER_BY = 10
_NICER_WHILE_STARTING_BY = 4
"""A start is short and somebody waits for it, so it goes before what runs."""

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
    # ONNX Runtime would tell its maker of the models that run here, and keep a thread and a database for it.
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}


class LocalProcess:
    """A process started by ``LocalLauncher``: a child of this one, and the leader of its own process group."""

    def __init__(self, pid: int, out_file: Path) -> None:
        self._pid = pid
        self._out_file = out_file
        self._code: int | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def poll(self) -> int | None:
        """``None`` while it runs, then its exit code; what it started and left behind is killed first."""
        if self._code is None:
            try:
                if self._has_ended():
                    # The dead leader is still unreaped, so its number cannot have been given to another group.
                    self._kill_group()
                    self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            except ChildProcessError:  # somebody else waited for it, and kept the exit code
                self._code = -signal.SIGKILL
        return self._code

    def signal(self, number: int) -> None:
        """Sends a signal to the process itself, unless it has ended."""
        if self._code is None:
            os.kill(self._pid, number)

    def kill(self) -> None:
        """SIGKILLs the whole group."""
        if self._code is None:
            self._kill_group()

    def settle(self) -> None:
        """Lets those that start go before it from now on."""
        if self._code is None:
            _make_nice(self._pid, _NICER_BY)

    def trim_output(self) -> None:
        """Empties the output file when it has grown beyond 10 MB; the process goes on appending to it."""
        try:
            if self._out_file.stat().st_size > _TRIM_BYTES:
                os.truncate(self._out_file, 0)
        except FileNotFoundError:
            pass

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill_group(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class LocalLauncher:
    """Starts processes as children of this one.

    Args:
        settings: what every process is to see, whatever its working directory.
        nurseries: keep nurseries and fork from them where a spec names one. Only for a process that adopts orphans
            (``core.processes.adopt_orphans``) and calls ``tend`` again and again.
    """

    def __init__(self, settings: Settings, *, nurseries: bool = False) -> None:
        self._settings = settings
        kinds = (("client",) if settings.engine_binary else ("client", "engine")) if nurseries else ()
        self._nurseries = {kind: self._nursery(kind) for kind in kinds}

    def start(self, spec: ProcessSpec) -> LocalProcess:
        """Starts one process: own session, no input, output appended to ``spec.out_file``."""
        with _open_output(spec.out_file) as output:
            pid = self._fork(spec, output) or self._run(spec, output)
        _make_nice(pid, _NICER_WHILE_STARTING_BY if spec.nursery else _NICER_BY)
        return LocalProcess(pid, spec.out_file)

    def tend(self) -> None:
        """Starts nurseries that are not there."""
        for nursery in self._nurseries.values():
            nursery.tend()

    @property
    def warming(self) -> bool:
        """True while a nursery imports for the first time."""
        return any(nursery.warming for nursery in self._nurseries.values())

    @property
    def helpers(self) -> frozenset[int]:
        """The nurseries."""
        return frozenset(nursery.pid for nursery in self._nurseries.values()) - {0}

    def close(self) -> None:
        """Ends the nurseries, for good."""
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries = {}

    def _nursery(self, kind: str) -> Nursery:
        out_file = self._settings.state_path / "logs" / "nursery.out"
        return Nursery(kind, self._environment(reports=kind == "client"), lambda: _open_output(out_file))

    def _fork(self, spec: ProcessSpec, output: BinaryIO) -> int | None:
        """Its pid if a nursery has forked it; one with an environment of its own is never forked."""
        if spec.nursery not in self._nurseries or spec.env:
            return None
        folder = os.open(spec.cwd, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return self._nurseries[spec.nursery].fork(spec.argv, folder, output.fileno())
        finally:
            os.close(folder)

    def _run(self, spec: ProcessSpec, output: BinaryIO) -> int:
        popen = subprocess.Popen(
            tether(spec.argv) if spec.foreign else spec.argv,
            cwd=spec.cwd,
            env=self._environment(reports=not spec.foreign and spec.nursery != "engine") | dict(spec.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        popen.returncode = 0  # this object is to wait for nobody: LocalProcess does
        return popen.pid

    def _environment(self, *, reports: bool) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ,
            **_FIXED_ENVIRONMENT,
            **to_environment(self._settings),
            "PYTHONPATH": path,
            PARENT_PID_VARIABLE: str(os.getpid()),
            **({} if reports else dict.fromkeys(SECRETS, "")),
        }


def _make_nice(pid: int, by: int) -> None:
    """Lets the API and the supervisor go before the tasks when the cores are short.

    Linux keeps the value for each thread. Each process is a session of its own, so where the kernel groups by session
    (autogroup) the group's value counts.
    """
    niceness = min(os.getpriority(os.PRIO_PROCESS, 0) + by, _NICEST)
    with contextlib.suppress(OSError):  # it has ended already, or this kernel has no autogroup
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def tether(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line for a program that is not ours: it dies with the process (and thread) that starts it."""
    return (sys.executable, "-S", "-P", "-m", "streamserver.launchers.tether", str(os.getpid()), *argv)


def _open_output(path: Path) -> BinaryIO:
    """Opens for appending, which is what lets ``trim_output`` cut the file under a running process."""
    if path.exists() and path.stat().st_size > _ROTATE_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
