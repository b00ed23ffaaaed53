"""Replaces a damaged (or missing) file by a new one with what can be had of it; a kill at any step loses nothing.

The new file is built under another name and is complete before the damaged one is touched:
``<file>.restoring`` is being filled, ``<file>.restored`` is complete, then the damaged file is moved aside and the new
one takes its name. Everything here runs under the exclusive ``Hold``.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from streamserver.core import failpoints
from streamserver.core.files import sync_folder
from streamserver.durable import damage as notes
from streamserver.durable import schema as schemas
from streamserver.durable.backup import backup_of
from streamserver.durable.damage import Damage
from streamserver.durable.files import (
    beside,
    connect_to_read,
    forget_old_aside,
    make_private,
    move_aside,
    name_aside,
    remove,
    sync_file,
)
from streamserver.durable.salvage import Salvage
from streamserver.durable.schema import Schema

_log = logging.getLogger(__name__)

Complete = Callable[[sqlite3.Connection], tuple[int, int]]
"""Gets the mended file last; returns how many rows it restored from elsewhere and how many are known to be lost."""


_STRANGE = (sqlite3.Error, OSError, ValueError, TypeError, KeyError, ArithmeticError)
"""What the content of a damaged file may lead to."""


@dataclass(frozen=True)
class Plan:
    """How a file is mended: its schema and who knows its rows."""

    schema: Schema
    salvage: Salvage
    complete: Complete | None = None


def make(path: Path, schema: Schema) -> None:
    """Makes a new file, complete at once; raises ``sqlite3.Error`` and ``OSError``."""
    _build(path, Plan(schema, lambda _source, _target: 0), sources=False)
    _take_name(path)


def mend(path: Path, plan: Plan, reason: str) -> Damage:
    """Makes the file anew with what can be had; raises ``sqlite3.Error`` and ``OSError`` with the old one in place."""
    salvaged, restored, lost = _build(path, plan, sources=True)
    _renew_backup(path)
    there = any(beside(path, suffix).exists() for suffix in ("", "-wal"))
    to = name_aside(path)
    damage = Damage(path, to if there else None, reason, salvaged, restored, lost, time.time())
    notes.note(damage)  # now, for after the next step nothing would be noticed
    move_aside(path, to)
    failpoints.hit("restore.moved_aside")
    _take_name(path)
    forget_old_aside(path)
    return damage


def is_interrupted(path: Path) -> bool:
    """True when ``mend`` had moved the damaged file aside and was ended before the new one had its name."""
    return restored_of(path).exists() and not path.exists()


def finish(path: Path) -> Damage | None:
    """Does what was left to do; returns what the interrupted ``mend`` noted."""
    mine = [damage for damage in notes.noted(path.parent) if damage.file == path]
    last = mine[-1] if mine else None
    # a -wal of the damaged file must not be read with the new one, but stays with its file
    move_aside(path, last.moved_to if last and last.moved_to else name_aside(path))
    _take_name(path)
    forget_old_aside(path)
    return last


def restored_of(path: Path) -> Path:
    """Where the new file lies when it is complete."""
    return beside(path, ".restored")


def _take_name(path: Path) -> None:
    restored_of(path).replace(path)
    sync_folder(path.parent)
    with suppress(OSError):  # the folder above may not be ours to read
        sync_folder(path.parent.parent)


def _build(path: Path, plan: Plan, *, sources: bool) -> tuple[int, int, int]:
    """Fills ``.restoring`` and renames it ``.restored``; returns rows salvaged, restored, lost."""
    new = beside(path, ".restoring")
    remove(new)
    remove(restored_of(path))
    make_private(new)
    salvaged = restored = lost = 0
    with closing(sqlite3.connect(new, isolation_level=None, check_same_thread=False)) as target:
        schemas.build(target, plan.schema)
        if sources:
            target.execute("BEGIN IMMEDIATE")
            salvaged = _take(path, target, plan) + _take(path, target, plan, without_wal=True)
            restored = _take_backup(path, target, plan)
            if plan.complete is not None:
                more, lost = plan.complete(target)
                restored += more
            target.execute("COMMIT")
        target.execute("PRAGMA journal_mode = WAL").fetchone()
    sync_file(new)
    new.replace(restored_of(path))
    sync_folder(path.parent)
    return salvaged, restored, lost


def _renew_backup(path: Path) -> None:
    """The backup was used up: all of it that is good is in the new file, and what is not must not be met again."""
    backup, new = backup_of(path), beside(path, ".backup.new")
    if not backup.exists():
        return
    if restored_of(path).stat().st_size > schemas.FULL_CHECK_BYTES:
        backup.unlink()
        return
    remove(new)
    make_private(new)
    shutil.copyfile(restored_of(path), new)
    sync_file(new)
    new.replace(backup)


def _take(path: Path, target: sqlite3.Connection, plan: Plan, *, without_wal: bool = False) -> int:
    if not path.exists() or path.stat().st_size == 0:
        return 0
    if without_wal and not beside(path, "-wal").exists():
        return 0
    try:
        with closing(connect_to_read(path, without_wal=without_wal)) as source:
            return plan.salvage(source, target)
    except _STRANGE as e:
        return _give_up(path, target, e)


def _take_backup(path: Path, target: sqlite3.Connection, plan: Plan) -> int:
    """Rows of the backup, brought to the newest version in memory first."""
    backup = backup_of(path)
    if not backup.exists():
        return 0
    try:
        with closing(connect_to_read(backup, without_wal=True)) as source:
            return plan.salvage(source, target) if _is_newest(source, plan.schema) else _take_old(source, target, plan)
    except _STRANGE as e:
        return _give_up(backup, target, e)


def _give_up(source: Path, target: sqlite3.Connection, error: Exception) -> int:
    """Whatever a damaged file holds, what else there is must be restored; but a target that is full is no new file."""
    full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    if full or not target.in_transaction:
        raise error
    _log.warning("%s: nothing more could be read: %s", source, error)
    return 0


def _is_newest(source: sqlite3.Connection, schema: Schema) -> bool:
    with suppress(sqlite3.Error):
        return schemas.version_of(source, schema) == schema.version
    return True


def _take_old(source: sqlite3.Connection, target: sqlite3.Connection, plan: Plan) -> int:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        source.backup(copy)
        schemas.migrate(copy, plan.schema)
        return plan.salvage(copy, target)
