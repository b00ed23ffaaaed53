"""Versions of a file's tables: what a new file gets, how an old one becomes new, whether a file is as it should be."""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import streamserver
from streamserver.core import failpoints
from streamserver.core.errors import StoreError
from streamserver.durable.files import transaction

HISTORY = "schema_history"
"""Our own table in each file: which version of this program made or migrated it, and when."""

FULL_CHECK_BYTES = 64_000_000
"""Larger files are not read through at opening: that takes seconds a gigabyte; the rows' checksums stand for them."""

_HISTORY_SQL = f"CREATE TABLE IF NOT EXISTS {HISTORY} (version INTEGER PRIMARY KEY, program TEXT, at REAL);"


class WrongShapeError(sqlite3.DatabaseError):
    """A file that SQLite can read but that is not what its schema says."""

    sqlite_errorcode = sqlite3.SQLITE_NOTADB


@dataclass(frozen=True)
class Schema:
    """What a file of one kind holds.

    Attributes:
        version: the newest; 1 for the first.
        create: an SQL script that makes all tables of the newest version, without ``BEGIN`` and ``COMMIT``; it runs in
            one transaction, in a file with ``auto_vacuum = INCREMENTAL``.
        migrations: from version n to n + 1; they run inside one transaction and must not end it.
        tables: names that must be there; all that ``create`` makes unless given. Each must have its columns.
        first_version: the version of a file from before ``PRAGMA user_version`` was kept, told by its content.
        rows_sound: why a copy of the file must not become the backup ("" when it may), e.g. the rows' checksums.
        counter: SQL that gives a number which grows with the commits; "" for none.
        committed: that number as it must be at least, from what is kept beside the file (its path is given).
    """

    version: int
    create: str
    migrations: Mapping[int, Callable[[sqlite3.Connection], None]] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    first_version: Callable[[sqlite3.Connection], int] | None = None
    rows_sound: Callable[[sqlite3.Connection], str] | None = None
    counter: str = ""
    committed: Callable[[Path], int] | None = None


def build(connection: sqlite3.Connection, schema: Schema) -> None:
    """Makes the tables in an empty file; raises ``sqlite3.Error``."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.executescript(f"BEGIN IMMEDIATE; {schema.create}; {_HISTORY_SQL}")
    _stamp(connection, schema.version)
    connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection, schema: Schema) -> None:
    """Brings an older file to the newest version in one transaction; raises ``sqlite3.Error``."""
    with transaction(connection):
        for version in range(version_of(connection, schema), schema.version):
            schema.migrations[version](connection)
            connection.execute(_HISTORY_SQL)
            _stamp(connection, version + 1)
            failpoints.hit("migrate.step")


def _stamp(connection: sqlite3.Connection, version: int) -> None:
    row = (version, streamserver.__version__, time.time())
    connection.execute(f"INSERT OR REPLACE INTO {HISTORY} VALUES (?, ?, ?)", row)  # noqa: S608 - names of ours, values are bound  # nosec B608
    connection.execute(f"PRAGMA user_version = {version}")


def version_of(connection: sqlite3.Connection, schema: Schema) -> int:
    """The version of the file's tables; 0 for a file without tables.

    Raises:
        WrongShapeError: the file's two notes of its version differ.
        sqlite3.Error: it cannot be read.
    """
    noted = int(connection.execute("PRAGMA user_version").fetchone()[0])
    names = tables_of(connection)
    if HISTORY in names:
        stamped = connection.execute(f"SELECT max(version) FROM {HISTORY}").fetchone()[0]  # noqa: S608 - names of ours, values are bound  # nosec B608
        if stamped != noted:
            raise WrongShapeError(f"its header says schema version {noted}, its history {stamped}")
        return noted
    if noted == 0 and names and schema.first_version is not None:
        return schema.first_version(connection)
    return noted if names else 0


def require_known(connection: sqlite3.Connection, schema: Schema, path: Path) -> int:
    """As ``version_of``, for a version that can be used or migrated; 0 for a file without tables.

    Raises:
        StoreError: a newer program wrote the file.
        WrongShapeError: no program of ours wrote such a version.
    """
    version = version_of(connection, schema)
    if version > schema.version and HISTORY in tables_of(connection):
        program = connection.execute(f"SELECT program FROM {HISTORY} WHERE version = ?", (version,)).fetchone()[0]  # noqa: S608 - names of ours, values are bound  # nosec B608
        raise StoreError(
            f"{path}: schema version {version}, written by stream-server {program}; this is {streamserver.__version__} "
            f"and knows versions up to {schema.version}",
            cure=f"start stream-server {program} or newer; the file is left as it is",
        )
    ways = {0, schema.version, *schema.migrations}
    if version not in ways or (version == 0 and tables_of(connection)):
        raise WrongShapeError(f"schema version {version} is none of ours")
    return version


def require_whole(connection: sqlite3.Connection, size_bytes: int) -> None:
    """Raises ``sqlite3.DatabaseError`` (``is_damage`` holds) when SQLite finds the file or an index inconsistent."""
    if size_bytes > FULL_CHECK_BYTES:
        return
    found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if found != "ok":
        raise WrongShapeError(f"integrity check: {' '.join(found.split())[:200]}")


def require_shape(connection: sqlite3.Connection, schema: Schema) -> None:
    """Raises ``WrongShapeError`` when a table or a column is missing."""
    for table, columns in _shape(schema.create).items():
        if schema.tables and table not in schema.tables:
            continue
        if missing := columns - _columns(connection, table):
            raise WrongShapeError(f"table {table} has no {', '.join(sorted(missing))}")


@functools.cache
def _shape(create: str) -> dict[str, frozenset[str]]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(create)
        return {table: frozenset(_columns(connection, table)) for table in tables_of(connection)}
    finally:
        connection.close()


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Names of the file's tables, SQLite's own left out."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return {str(name) for (name,) in connection.execute(query)}


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in connection.execute(f"PRAGMA table_info([{table}])")}
