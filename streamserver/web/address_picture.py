"""One picture of an address that no task reads: from a process of its own, for web never loads a decoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from streamserver.core.errors import PreviewError, SourceError
from streamserver.core.processes import PARENT_PID_VARIABLE
from streamserver.core.secrets import hide, register
from streamserver.core.settings import PROJECT_DIR, Settings, to_environment

MAX_AT_ONCE = 2
LIMIT_S = 15.0

_COMMAND = (sys.executable, "-m", "streamserver.media.snapshot")
_NICER_BY = 10
_TICK_S = 1.0
_LONGEST_REASON = 500

_turns = threading.BoundedSemaphore(MAX_AT_ONCE)


def take_picture(
    source: Mapping[str, str],
    settings: Settings,
    *,
    waits: Callable[[], bool] = lambda: True,
    command: Sequence[str] = _COMMAND,
    limit_s: float = LIMIT_S,
) -> bytes:
    """A JPEG of what an address shows now.

    Args:
        source: ``address``, ``source_type``, ``transport`` and ``decoder``; goes to the process' standard input, so
            that no password stands in a list of processes.
        settings: what the process is to see.
        waits: called about once a second; False for "nobody waits any more".
        command: the process.
        limit_s: after so long it is killed.

    Raises:
        SourceError: there is none; says why, without secrets.
        PreviewError: too many ask at the same time.
    """
    if not _turns.acquire(blocking=False):
        raise PreviewError(f"{MAX_AT_ONCE} snapshots of addresses are being taken already", cure="try again in a while")
    try:
        register(source["address"])
        return _run(command, json.dumps(dict(source)).encode() + b"\n", settings, waits, limit_s)
    finally:
        _turns.release()


def _run(
    command: Sequence[str], question: bytes, settings: Settings, waits: Callable[[], bool], limit_s: float
) -> bytes:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT_DIR,
        env=_environment(settings),
        start_new_session=True,
    ) as process:
        try:
            _make_nice(process.pid)
            jpeg, said = _communicate(process, question, waits, limit_s)
        finally:
            process.kill()
    if process.returncode == 0 and jpeg:
        return jpeg
    raise SourceError(f"no picture of this address: {_reason(said)}")


def _communicate(
    process: subprocess.Popen[bytes], question: bytes, waits: Callable[[], bool], limit_s: float
) -> tuple[bytes, bytes]:
    """What it wrote to standard output and to standard error."""
    left_s, first = limit_s, True
    while True:
        try:
            return process.communicate(question if first else None, timeout=min(_TICK_S, max(0.01, left_s)))
        except subprocess.TimeoutExpired:
            left_s, first = left_s - _TICK_S, False
            if left_s <= 0:
                raise SourceError(f"no picture of this address came within {limit_s:g} s") from None
            if not waits():
                raise PreviewError("the server ends, or nobody waits any more", cure="try again") from None


def _reason(said: bytes) -> str:
    """The last line of what the process said, without secrets."""
    lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return hide(lines[-1].strip())[:_LONGEST_REASON] if lines else "the process that reads it ended"


def _environment(settings: Settings) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        **to_environment(settings),
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        PARENT_PID_VARIABLE: str(os.getpid()),
    }


def _make_nice(pid: int) -> None:
    """Lets the API and the tasks go first where cores are short."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, min(os.getpriority(os.PRIO_PROCESS, 0) + _NICER_BY, 19))
    except OSError:
        pass  # it has ended already
