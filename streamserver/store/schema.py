"""The tables, and how a connection to them is opened."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.url import URL

from streamserver.core.errors import StoreError

SCHEMA_VERSION = 1

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another process's transaction."""

_CONNECTIONS = 16

_metadata = sa.MetaData()

tasks = sa.Table(
    "tasks",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String, nullable=False, unique=True),
    sa.Column("task_id", sa.String, nullable=False),
    sa.Column("src_id", sa.String, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("spec_hash", sa.String, nullable=False),
    sa.Column("desired", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("restarts", sa.Integer, nullable=False, default=0),
    sa.Column("port", sa.Integer, nullable=False, default=0),
)

sa.Index("tasks_by_source", tasks.c.src_id)
sa.Index(
    "one_running_row_of_a_task_id",
    tasks.c.task_id,
    unique=True,
    sqlite_where=tasks.c.desired == "running",
    postgresql_where=tasks.c.desired == "running",
)

counters = sa.Table(
    "counters",
    _metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Integer, nullable=False),
)

WRITES = "writes"
SCHEMA = "schema"


def store_url(state_path: Path) -> str:
    """The database of a state folder."""
    return str(URL.create("sqlite", database=str(state_path / "tasks.sqlite")).render_as_string(hide_password=False))


def open_engine(url: str) -> Engine:
    """An engine on ``url`` whose transactions begin by our rules; a new SQLite file is readable by its owner only.

    Transactions are ``BEGIN``, or ``BEGIN IMMEDIATE`` with the execution option ``immediate=True``: a transaction that
    reads first and writes then must hold the write lock from its start, or it fails when another process wrote between.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        _make_private(parsed)
        engine = sa.create_engine(parsed, pool_size=_CONNECTIONS, connect_args={"timeout": BUSY_TIMEOUT_S})
        sa.event.listen(engine, "connect", _prepare_connection)
        sa.event.listen(engine, "begin", _begin)
        return engine
    return sa.create_engine(parsed, pool_size=_CONNECTIONS)


def prepare(engine: Engine) -> None:
    """Makes the tables where there are none and checks their version; safe when two processes start at once.

    Raises:
        StoreError: the file was written by another version of this program.
    """
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        _metadata.create_all(connection)
        for name, value in ((SCHEMA, SCHEMA_VERSION), (WRITES, 0)):
            if connection.scalar(sa.select(counters.c.value).where(counters.c.name == name)) is None:
                connection.execute(counters.insert().values(name=name, value=value))
        found = connection.scalar(sa.select(counters.c.value).where(counters.c.name == SCHEMA))
    if found != SCHEMA_VERSION:
        raise StoreError(
            f"task database {engine.url.database}: expected schema version {SCHEMA_VERSION}, got {found}",
            cure="start the version of stream-server that wrote it, or move the file away and create the tasks again",
        )


def _make_private(url: URL) -> None:
    """The file holds addresses with passwords; SQLite gives its side files the same permissions."""
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _prepare_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, below
    connection.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous=FULL")


def _use_write_ahead_log(connection: Any) -> None:
    """Switches a new file to WAL; SQLite does not apply the busy timeout to this step, so we wait here."""
    import sqlite3

    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
