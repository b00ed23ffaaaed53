"""What the cases of the row ``damage`` have in common: a process of its own for each opening, and the verdict."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PATIENCE_S = 120.0
_NOBODY = 65534


@dataclass(slots=True)
class Found:
    """What became of one damaged file.

    Attributes:
        told: the kind of damage, for complaints.
        bare: neither backup nor journal was left beside it.
        outcome: ``harmless`` (nobody noticed and nothing is missing), ``mended`` or ``refused``.
        salvaged: rows that were taken from the damaged file.
        restored: rows that were taken from what lay beside it.
        lost: rows that are missing and were counted.
        unnoticed: rows that are missing, and nothing says so.
        wrong: rows whose content is not what was written.
    """

    told: str
    bare: bool = False
    outcome: str = "harmless"
    salvaged: int = 0
    restored: int = 0
    lost: int = 0
    unnoticed: int = 0
    wrong: int = 0
    complaints: list[str] = field(default_factory=list)


def in_child(work: Callable[[], dict[str, Any]], *, as_nobody: bool = False) -> dict[str, Any]:
    """Runs ``work`` in a forked process, so that a crash of SQLite is one answer among others.

    Returns:
        What ``work`` returned; ``{"raised": …, "cure": …}`` for an exception, ``{"died": status}`` for a crash.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _child(work, writing, as_nobody)
    os.close(writing)
    try:
        answer = _read(reading, pid)
    finally:
        os.close(reading)
        _, status = os.waitpid(pid, 0)
    return json.loads(answer) if status == 0 and answer else {"died": status}


def _child(work: Callable[[], dict[str, Any]], writing: int, as_nobody: bool) -> None:
    status = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)
        if as_nobody and os.getuid() == 0:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        answer = _answer(work)
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        status = 0
    except BaseException:  # noqa: BLE001  nothing may leave the child but its status
        traceback.print_exc(file=sys.stdout)
    finally:
        os._exit(status)


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except Exception as e:  # noqa: BLE001  which one it is, is the question
        return {"raised": f"{type(e).__name__}: {e}", "cure": getattr(e, "cure", None), "trace": traceback.format_exc()}


def _read(reading: int, pid: int) -> bytes:
    answer = b""
    while True:
        if not select.select([reading], [], [], _PATIENCE_S)[0]:
            os.kill(pid, signal.SIGKILL)
            return b""
        part = os.read(reading, 65536)
        if not part:
            return answer
        answer += part


def copy_files(source: Path, target: Path) -> None:
    """A state folder as a killed machine leaves it: with -wal, without -shm."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm", "*.lock"))


def problem_of(answer: dict[str, Any]) -> str:
    """Why an opening must not have ended so; "" when it may."""
    if "died" in answer:
        return f"the process died (status {answer['died']})"
    if "raised" in answer and not answer["cure"]:
        return f"{answer['raised'][:200]} without a cure; {answer['trace'][-300:]}"
    return ""
