"""The tables, their versions, and how connections to them are made."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.url import URL

from streamserver import durable
from streamserver.core.errors import StoreError
from streamserver.core.revision import FIRST

SCHEMA_VERSION = 3
DATABASE = "tasks.sqlite"
WRITES = "writes"

_CONNECTIONS = 16
"""At most, and as many as stay open: who comes in a burst waits for one, which takes less than opening its own."""

_metadata = sa.MetaData()

tasks = sa.Table(
    "tasks",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String),
    sa.Column("task_id", sa.String),
    sa.Column("src_id", sa.String),
    sa.Column("request", sa.Text),
    sa.Column("spec_hash", sa.String),
    sa.Column("desired", sa.String),
    sa.Column("created_at", sa.Float),
    sa.Column("state", sa.String),
    sa.Column("reason", sa.Text),
    sa.Column("since", sa.Float),
    sa.Column("restarts", sa.Integer),
    sa.Column("port", sa.Integer),
    sa.Column("checksum", sa.Integer),
    sa.Column("revision", sa.Integer),
)

counters = sa.Table("counters", _metadata, sa.Column("name", sa.String), sa.Column("value", sa.Integer))

COLUMNS = tuple(column.name for column in tasks.c)
OLDER_COLUMNS = (COLUMNS[:-1], COLUMNS[:-2])
"""Those of version 2, which has no revision, and of version 1, which has no checksum either."""

SIGNED = ("key", "task_id", "src_id", "request", "spec_hash", "desired", "created_at")
"""What the web side writes and ``checksum`` stands for, with ``revision`` once that is above the first."""

_CREATE = f"""
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    key VARCHAR NOT NULL UNIQUE,
    task_id VARCHAR NOT NULL,
    src_id VARCHAR NOT NULL,
    request TEXT NOT NULL,
    spec_hash VARCHAR NOT NULL,
    desired VARCHAR NOT NULL,
    created_at FLOAT NOT NULL,
    state VARCHAR NOT NULL,
    reason TEXT NOT NULL,
    since FLOAT NOT NULL,
    restarts INTEGER NOT NULL,
    port INTEGER NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT {FIRST}
);
CREATE INDEX tasks_by_source ON tasks (src_id);
CREATE UNIQUE INDEX one_running_row_of_a_task_id ON tasks (task_id) WHERE desired = 'running';
CREATE TABLE counters (name VARCHAR PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('{WRITES}', 0), ('schema', {SCHEMA_VERSION});
CREATE TABLE spoilt (id INTEGER PRIMARY KEY, at FLOAT NOT NULL, content TEXT NOT NULL)
"""  # noqa: S608 - names of ours, values are bound  # nosec B608


def checksum_of(values: dict[str, Any]) -> int:
    """What the column ``checksum`` must hold for a row with these values of ``SIGNED``, and of ``revision``.

    A row of the first revision, or without one, has the checksum that version 2 gave it.
    """
    revision = values.get("revision", FIRST)
    signed = [values[name] for name in SIGNED] + ([] if revision == FIRST else [revision])
    content = json.dumps(signed, ensure_ascii=False, default=repr)
    return zlib.crc32(content.encode("utf-8", "surrogateescape"))


def is_sound(values: dict[str, Any]) -> bool:
    """True for a row whose checksum is right."""
    return bool(values["checksum"] == checksum_of(values))


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    """Rows get their checksum. The counter ``schema`` is where programs of version 1 look, and then refuse the file."""
    connection.execute("ALTER TABLE tasks ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE TABLE spoilt (id INTEGER PRIMARY KEY, at FLOAT NOT NULL, content TEXT NOT NULL)")
    connection.execute("UPDATE counters SET value = 2 WHERE name = 'schema'")
    for row in connection.execute(f"SELECT id, {', '.join(SIGNED)} FROM tasks").fetchall():  # noqa: S608 - names of ours, values are bound  # nosec B608
        signed = checksum_of(dict(zip(SIGNED, row[1:], strict=True)))
        connection.execute("UPDATE tasks SET checksum = ? WHERE id = ?", (signed, row[0]))


def _from_2_to_3(connection: sqlite3.Connection) -> None:
    """Rows get their revision, the first."""
    connection.execute(f"ALTER TABLE tasks ADD COLUMN revision INTEGER NOT NULL DEFAULT {FIRST}")
    connection.execute("UPDATE counters SET value = 3 WHERE name = 'schema'")


def _version_in_counters(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM counters WHERE name = 'schema'").fetchone()
    return int(row[0]) if row and isinstance(row[0], int) else 0


def _rows_sound(connection: sqlite3.Connection) -> str:
    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM tasks")  # noqa: S608 - names of ours, values are bound  # nosec B608
    wrong = sum(not is_sound(dict(zip(COLUMNS, row, strict=True))) for row in rows)
    return f"{wrong} tasks have a wrong checksum" if wrong else ""


def schema(committed: Callable[[Path], int] | None = None) -> durable.Schema:
    """What a task database holds; ``committed`` says how far its counter must have come, by what is kept beside it."""
    return durable.Schema(
        version=SCHEMA_VERSION,
        create=_CREATE,
        migrations={1: _from_1_to_2, 2: _from_2_to_3},
        first_version=_version_in_counters,
        rows_sound=_rows_sound,
        counter=f"SELECT value FROM counters WHERE name = '{WRITES}'",  # noqa: S608 - names of ours, values are bound  # nosec B608
        committed=committed,
    )


def store_url(state_path: Path) -> str:
    """The database of a state folder."""
    return str(URL.create("sqlite", database=str(state_path / DATABASE)).render_as_string(hide_password=False))


def path_of(url: str) -> Path:
    """The file behind ``url``.

    Raises:
        StoreError: it names no SQLite file.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise StoreError(
            f"task database {parsed.render_as_string(hide_password=True)}: expected an SQLite file",
            cure="write sqlite:////path/of/tasks.sqlite",
        )
    return Path(parsed.database).absolute()


def make_engine(connect: Callable[[], sqlite3.Connection]) -> Engine:
    """An engine over connections that ``connect`` makes, whose transactions begin by our rules.

    They are ``BEGIN``, or ``BEGIN IMMEDIATE`` with the execution option ``immediate=True``: a transaction that reads
    first and writes then must hold the write lock from its start, or it fails when another process wrote between.
    """
    engine = sa.create_engine(
        "sqlite://", creator=connect, poolclass=sa.pool.QueuePool, pool_size=_CONNECTIONS, max_overflow=0
    )
    sa.event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
