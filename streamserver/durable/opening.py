"""Opens a database so that it can be used, whatever happened to its file: makes it, migrates it, mends it."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from streamserver.core.errors import StoreError
from streamserver.durable import mending
from streamserver.durable import schema as schemas
from streamserver.durable.backup import backup_of
from streamserver.durable.damage import Damage
from streamserver.durable.files import (
    PATIENCE_S,
    TROUBLE,
    Connection,
    HeldError,
    Hold,
    connect,
    connect_to_read,
    is_damage,
    store_error,
)
from streamserver.durable.salvage import Salvage
from streamserver.durable.schema import Schema

_log = logging.getLogger(__name__)

_ROUNDS = 4
_LOOK_AGAIN_S = 0.02


@dataclass(frozen=True)
class Opened:
    """An open database, and what had to be mended for it.

    Attributes:
        connection: for use from any thread, one at a time; transactions are begun by hand.
        damage: what was found and done by this opening; ``None`` when the file was well.
    """

    connection: Connection
    damage: Damage | None


class _Need(Enum):
    NOTHING = "it is well"
    MAKE = "there is none"
    MIGRATE = "it is of an older version"
    MEND = "it is damaged"
    FINISH = "mending it was interrupted"


def open_database(path: Path, schema: Schema, *, salvage: Salvage, complete: mending.Complete | None = None) -> Opened:
    """Opens ``path``; one that is damaged is moved aside, and what can be had of it and its backup goes into a new one.

    Args:
        path: the file; its folder must exist.
        schema: what it holds.
        salvage: copies good rows from a damaged file or a backup.
        complete: called last with the mended file, before anybody uses it; returns how many rows it restored from
            elsewhere and how many are known to be lost.

    Raises:
        StoreError: the file cannot be read or written (permissions, disk, a newer version); it is left as it is.
    """
    plan = mending.Plan(schema, salvage, complete)
    damage, rounds, deadline = None, 0, time.monotonic() + PATIENCE_S
    try:
        while rounds < _ROUNDS:
            connection = _open_if_well(path, schema, mended=damage is not None)
            if connection is not None:
                return Opened(connection, damage)
            try:
                damage = _make_well(path, plan) or damage
                rounds += 1
            except HeldError:  # by whom was faster, made it well and keeps it open; or by one who is to end
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOOK_AGAIN_S)
    except TROUBLE as e:
        raise store_error(path, e) from e
    raise StoreError(f"{path} is damaged again right after it was mended", cure="check the disk")


def _open_if_well(path: Path, schema: Schema, *, mended: bool) -> Connection | None:
    schema = replace(schema, counter="") if mended else schema  # what is missing is known and told
    hold = Hold(path, exclusive=False)
    try:
        if _look(path, schema)[0] is _Need.NOTHING:
            return connect(path, hold=hold)
    except BaseException:
        hold.release()
        raise
    hold.release()
    return None


def _make_well(path: Path, plan: mending.Plan) -> Damage | None:
    with Hold(path, exclusive=True, patience_s=0.0):
        need, reason = _look(path, plan.schema)  # again: another process may have been faster
        if need is _Need.MAKE:
            mending.make(path, plan.schema)
        elif need is _Need.MIGRATE:
            return _migrate(path, plan)
        elif need is _Need.FINISH:
            return mending.finish(path)
        elif need is _Need.MEND:
            return mending.mend(path, plan, reason)
    return None


def _migrate(path: Path, plan: mending.Plan) -> Damage | None:
    """Brings an older file to the newest version; one that only says that it is of an older version is damaged."""
    try:
        with closing(connect(path)) as connection:
            schemas.migrate(connection, plan.schema)
    except sqlite3.DatabaseError as e:
        if is_damage(e):
            return mending.mend(path, plan, str(e))
        raise
    _log.info("%s was brought to schema version %d", path, plan.schema.version)
    return None


def _look(path: Path, schema: Schema) -> tuple[_Need, str]:
    """What has to be done before the file can be used, and for damage, why; changes nothing.

    Raises:
        StoreError: a newer program wrote the file.
        sqlite3.Error, OSError: it cannot be read, and not because it is damaged.
    """
    if mending.is_interrupted(path):
        return _Need.FINISH, ""
    try:
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        return _need_of_none(path, schema, "the file is missing")
    if size_bytes == 0:
        return _need_of_none(path, schema, "the file is empty")
    try:
        with closing(connect_to_read(path)) as connection:
            return _look_inside(connection, path, schema, size_bytes)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as e:
        if is_damage(e):
            return _Need.MEND, str(e)
        raise


def _look_inside(connection: sqlite3.Connection, path: Path, schema: Schema, size_bytes: int) -> tuple[_Need, str]:
    version = schemas.require_known(connection, schema, path)
    if version == 0:
        return _need_of_none(path, schema, "the file has no tables")
    schemas.require_whole(connection, size_bytes)
    if version < schema.version:
        return _Need.MIGRATE, ""
    schemas.require_shape(connection, schema)
    if schema.counter:
        found, known = _counted(connection, schema), _known_commits(path, schema)
        if known > found:
            reason = f"{known - found} commits are missing: its -wal is gone or spoilt, or an old copy was put here"
            return _Need.MEND, reason
    return _Need.NOTHING, ""


def _need_of_none(path: Path, schema: Schema, reason: str) -> tuple[_Need, str]:
    """A file without content is new, unless there is something that was in it."""
    known = schema.committed(path) if schema.committed is not None else 0
    return (_Need.MEND, reason) if known or backup_of(path).exists() else (_Need.MAKE, "")


def _counted(connection: sqlite3.Connection, schema: Schema) -> int:
    row = connection.execute(schema.counter).fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def _known_commits(path: Path, schema: Schema) -> int:
    """How far the counter must have come, by what is kept elsewhere and by the backup."""
    known = schema.committed(path) if schema.committed is not None else 0
    backup = backup_of(path)
    if backup.exists():
        with suppress(sqlite3.Error), closing(connect_to_read(backup, without_wal=True)) as connection:
            known = max(known, _counted(connection, schema))
    return known
