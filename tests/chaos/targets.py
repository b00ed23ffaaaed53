"""Which process is which, and whether a task's processes really live: what a fault aims at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from streamserver.core.leftovers import STATUS_FILE, read_list
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, CourierStatus, EngineStatus
from tests.chaos.world import alive, orphans, parent_of
from tests.e2e.harness import Server


class Role(StrEnum):
    """The processes of a server."""

    GUARD = "guard"
    ARBITER = "web arbiter"
    WORKER = "web worker"
    SUPERVISOR = "supervisor"
    ENGINE = "engine"
    CLIENT = "client"
    COURIER = "courier"


VICTIMS = (Role.ARBITER, Role.WORKER, Role.SUPERVISOR, Role.ENGINE, Role.CLIENT, Role.COURIER)
"""Whom ``kill -9`` meets."""

_WORDS = {
    "streamserver.supervise": Role.SUPERVISOR,
    "streamserver.worker": Role.ENGINE,
    "client.py": Role.CLIENT,
    "streamserver.business.courier": Role.COURIER,
}


@dataclass(frozen=True, slots=True)
class Target:
    """One process; ``key`` is the folder of its task, empty for those that belong to none."""

    pid: int
    role: Role
    key: str = ""


def targets(server: Server) -> list[Target]:
    """Every process of ``server`` that runs now; helpers that engines start are not among them."""
    assert server.process is not None
    found = []
    for pid, line in server.processes().items():
        role = _role(server, pid, line)
        if role is not None and alive(pid):
            found.append(Target(pid, role, _key(pid) if role in (Role.ENGINE, Role.CLIENT) else ""))
    return found


def of_role(server: Server, *roles: Role) -> list[Target]:
    """The processes of these roles."""
    return [target for target in targets(server) if target.role in roles]


def kill(target: Target) -> float:
    """SIGKILL; returns the monotonic time."""
    try:
        os.kill(target.pid, signal.SIGKILL)
    except ProcessLookupError:  # it was faster
        pass
    return time.monotonic()


def sweep(server: Server) -> dict[int, str]:
    """Pid -> command line of what a stopped server has left; kills it."""
    left = orphans(server)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it was faster
            pass
    return left


def _role(server: Server, pid: int, line: str) -> Role | None:
    assert server.process is not None
    if pid == server.process.pid:
        return Role.GUARD
    if "gunicorn" in line:
        return Role.ARBITER if parent_of(pid) == server.process.pid else Role.WORKER
    return next((role for word, role in _WORDS.items() if word in line), None)


def _key(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/cwd")).name
    except OSError:
        return ""


def beats(folder: Path, since_s: float) -> bool:
    """True when engine and client of the task in ``folder`` live, are ready and have beaten since ``since_s``."""
    statuses = (EngineStatus.read(folder / ENGINE_FILE), ClientStatus.read(folder / CLIENT_FILE))
    return all(one is not None and one.ready and one.beat > since_s and alive(one.pid) for one in statuses)


def courier_works(server: Server, since_s: float) -> bool:
    """True when the courier has beaten since ``since_s``, or has nothing to do."""
    status = CourierStatus.read(server.state_dir / STATUS_FILE)
    if status is not None and status.beat > since_s and alive(status.pid):
        return True
    return not read_list(server.state_dir)


def silent(server: Server, names: Collection[str], folders: dict[str, Path], since_s: float) -> list[str]:
    """Those of the tasks ``names`` that do not live and beat; ``folders`` is TaskID -> folder of the newest run."""
    return [name for name in names if name not in folders or not beats(folders[name], since_s)]


def count_by_role(struck: Iterable[Role]) -> str:
    """``engine 40, client 38, …`` in the order of ``VICTIMS``."""
    rows = list(struck)
    return ", ".join(f"{role.value} {rows.count(role)}" for role in VICTIMS if role in rows)
