"""Named places where a test can break a process: ``hit`` does nothing unless the environment says so.

``STREAMSERVER_FAILPOINTS`` is a list of ``name=action``, separated by commas. Actions:

- ``kill``: SIGKILL to this process,
- ``stop``: SIGSTOP to this process,
- ``full``: ``OSError`` ENOSPC,
- ``sleep:<seconds>``.

``name=action@n`` acts when the point is reached for the n-th time (default 1) and never again. Processes that are
started anew have the same environment, so the count is kept in the folder ``STREAMSERVER_FAILPOINTS_DIR``, one file a
point, where each hit adds one byte; without the folder each process counts for itself.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "STREAMSERVER_FAILPOINTS"
DIR_VARIABLE = "STREAMSERVER_FAILPOINTS_DIR"

NAMES = (
    # accept and delete (web)
    "accept.checked",
    "accept.before_commit",
    "accept.committed",
    "delete.before_commit",
    "delete.committed",
    # update (web, supervisor, then engine and client)
    "update.before_commit",
    "update.committed",
    "update.begun",
    "update.written",
    "update.noted",
    "update.read",
    "update.taken",
    # start, stop (supervisor)
    "start.chosen",
    "start.prepared",
    "start.client_spawned",
    "start.spawned",
    "state.before_save",
    "stop.drained",
    "stop.folder_removed",
    "stop.purged",
    # raise and commit (client; push.* in the engine)
    "push.before",
    "push.answered",
    "raise.logic_done",
    "raise.built",
    "commit.before",
    "commit.after",
    # post and acknowledge (client, courier)
    "post.claimed",
    "post.answered",
    "post.acknowledged",
    # upkeep of the databases
    "backup.copied",
    "backup.renamed",
    "migrate.step",
    "restore.moved_aside",
)
"""Every point there is, in the order of an alarm's life; ``hit`` refuses other names when points are switched on."""


@dataclass(frozen=True, slots=True)
class _Plan:
    action: str
    at: int


class FailPoints:
    """What the environment asks for.

    Args:
        environment: where the two variables are read.

    Raises:
        ValueError: the list cannot be read, or names a point that does not exist.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        text = environment.get(VARIABLE, "")
        self._plans = dict(_parse(item.strip()) for item in text.split(",") if item.strip())
        folder = environment.get(DIR_VARIABLE, "")
        self._folder = Path(folder) if folder else None
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hit(self, name: str) -> None:
        """Acts if ``name`` is due now.

        Raises:
            OSError: ENOSPC, when the action is ``full``.
        """
        if not self._plans:
            return
        if name not in NAMES:
            raise ValueError(f"there is no fail-point {name!r}")
        plan = self._plans.get(name)
        if plan is not None and self._count(name) == plan.at:
            _act(name, plan.action)

    def _count(self, name: str) -> int:
        with self._lock:
            self._counts[name] += 1
            if self._folder is None:
                return self._counts[name]
            with (self._folder / name).open("ab") as file:
                file.write(b".")
                file.flush()
                return file.tell()


def _parse(item: str) -> tuple[str, _Plan]:
    name, _, rest = item.partition("=")
    action, _, at = rest.partition("@")
    kind = action.partition(":")[0]
    if name not in NAMES or kind not in ("kill", "stop", "full", "sleep") or (at and not at.isdigit()):
        raise ValueError(f"{VARIABLE}: {item!r} is no 'name=action@n'")
    return name, _Plan(action, int(at or 1))


def _act(name: str, action: str) -> None:
    kind, _, value = action.partition(":")
    if kind == "sleep":
        time.sleep(float(value))
    elif kind == "full":
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (fail-point {name})")
    else:
        os.kill(os.getpid(), signal.SIGKILL if kind == "kill" else signal.SIGSTOP)


_points = FailPoints(os.environ)


def hit(name: str) -> None:
    """Breaks this process here if the environment asks for it; see the module."""
    _points.hit(name)
