"""Opens the file of an outbox and has it mended where it is damaged."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamserver.core.errors import StoreError
from streamserver.core.files import HeldFile
from streamserver.durable import mending as durable_mending
from streamserver.durable import open_database
from streamserver.durable.files import Hold
from streamserver.outbox import memories, mending
from streamserver.outbox.records import Counters
from streamserver.outbox.rows import read_counters
from streamserver.outbox.schema import SCHEMA

_PATIENCE_S = 1.0
_LOOK_S = 0.02


class Ownership(HeldFile):
    """Keeps a second process from delivering what one has under way. The kernel drops it with the process.

    Where the lock file cannot be made, as on a full disk, alarms matter more.

    Args:
        path: the outbox's file.

    Raises:
        StoreError: another process, or another ``Outbox`` of this one, has it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(None)
        try:
            self._descriptor = os.open(f"{path}.owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while not self._take():
            if time.monotonic() > deadline:
                self.release()
                raise StoreError(
                    f"{path}: another process delivers its alarms",
                    cure=f"end that process ('fuser {path}' names it); it is tried again",
                )
            time.sleep(_LOOK_S)

    def _take(self) -> bool:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            pass
        return True


def open_file(path: Path, known: Callable[[], Counters], damage: str) -> sqlite3.Connection:
    """A connection to the outbox's file, as it should be.

    Args:
        path: the file.
        known: the counters as far as others know them.
        damage: why the file has to be mended, although it may look well; empty to find out.

    Raises:
        StoreError: it cannot be opened.
    """

    def complete(target: sqlite3.Connection) -> tuple[int, int]:
        before = read_counters(target).lost
        mending.balance(target, known())
        memories.tell(target, path)
        return 0, read_counters(target).lost - before

    schema = replace(SCHEMA, committed=lambda _path: known().events)
    opened = open_database(path, schema, salvage=mending.salvage, complete=complete)
    if damage and opened.damage is None:
        opened.connection.close()
        with Hold(path, exclusive=True):
            durable_mending.mend(path, durable_mending.Plan(schema, mending.salvage, complete), damage)
        opened = open_database(path, schema, salvage=mending.salvage, complete=complete)
    opened.connection.text_factory = lambda text: text.decode("utf-8", "replace")
    # Debian's SQLite else writes zeros over each picture that was delivered: as much to the disk as the alarm itself.
    opened.connection.execute("PRAGMA secure_delete = FAST").fetchone()
    return opened.connection
