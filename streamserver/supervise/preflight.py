"""What keeps a server from being started here, found before anything runs: one clear line instead of a crash loop."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from streamserver.core.errors import StoreError
from streamserver.core.settings import ENV_PREFIX, Settings
from streamserver.supervise import lock, ports

_PREDECESSOR_S = 3.0
"""Time for what a killed predecessor left behind to disappear."""

_DATABASE = "tasks.sqlite"


def obstacle(chosen: Settings) -> str:
    """Why nothing can be started with these settings, with the cure; empty when it can.

    Raises:
        StoreError: the task database is damaged.
        OSError: the state folder cannot be written.
    """
    if not _soon(lambda: ports.can_listen(chosen.host, chosen.port)):
        return (
            f"port {chosen.port} on {chosen.host} is taken (or the address is not this machine's); stop the program "
            f"that listens there, or choose another with --port or {ENV_PREFIX}PORT"
        )
    file = lock.lock_file(chosen.state_path)
    if not _soon(lambda: _is_free(file)):
        return (
            f"process {lock.holder(file)} already supervises {chosen.state_path}; stop it, or choose another folder "
            f"with --state_dir or {ENV_PREFIX}STATE_DIR"
        )
    _require_sound(chosen.state_path / _DATABASE)
    return ""


def _require_sound(database: Path) -> None:
    """Looks at the task database by itself: SQLAlchemy would cost the guard 20 MB for as long as it lives."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as e:
        found = str(e)
    if found != "ok":
        raise StoreError(
            f"the task database {database} cannot be used: {found}",
            cure="put a backup in its place, or move it away (with its -wal and -shm) and create the tasks again: "
            "tasks/*/request.json beside it are what they were",
        )


def _is_free(file: Path) -> bool:
    held = lock.acquire(file)
    if held is None:
        return False
    held.release()
    return True


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _PREDECESSOR_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
