"""The form of an outbox file: tables, states, checksums, and the way from older versions."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from streamserver.durable import Schema
from streamserver.outbox import memories

VERSION = 3

WAITING, DEAD, DELIVERED, DROPPED = range(4)
"""States of an alarm. Those below ``DELIVERED`` have a body."""

CLAIMED = float("inf")
"""The next try of an alarm that somebody is delivering."""

_TABLES_2 = """
CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_key TEXT UNIQUE,
    algorithm INTEGER NOT NULL,
    created REAL NOT NULL,
    born REAL NOT NULL,
    size INTEGER NOT NULL,
    body_sum INTEGER NOT NULL,
    state INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT ''
);
CREATE TABLE bodies (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE INDEX pending ON events (next_try) WHERE state = 0;
CREATE INDEX held ON events (n) WHERE state < 2;
CREATE TABLE counters (name TEXT NOT NULL UNIQUE, value INTEGER NOT NULL, seal INTEGER NOT NULL);
CREATE TABLE facts (name TEXT NOT NULL UNIQUE, value NOT NULL);
"""
_TABLES = f"{_TABLES_2}{memories.CREATE};"
# Bodies lie apart, so that a row changes its state without its 50 kB being read and written.

SEALED = "n, id, event_key, algorithm, created, born, size, body_sum, state"
"""The columns of ``events`` that ``seal`` covers, in its order."""

HELD_BODIES = "SELECT n, body_sum, body FROM events LEFT JOIN bodies USING (n) WHERE state < 2"
"""Rows that need their bodies, with the bodies."""

COLUMNS = f"{SEALED}, seal, attempts, refusals, archived, error"
"""What makes up a row, but for ``next_try``, which holds for one boot only."""


def seal(row: tuple[object, ...]) -> int:
    """The checksum over the columns ``SEALED`` of one row; a flipped state shows too."""
    return zlib.crc32(repr(row).encode("utf-8", "backslashreplace"))


def counter_seal(name: str, value: int) -> int:
    """The checksum of one row of ``counters``."""
    return zlib.crc32(f"{name}={value}".encode())


def statements(script: str) -> Iterator[str]:
    """The statements of ``script`` one by one, for ``executescript`` would commit the transaction around it."""
    return (text.strip() for text in script.split(";") if text.strip())


def from_version_1(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows of version 1 (its columns ``COLUMNS_1``) as values of ``COLUMNS``; what waits is due at once."""
    states = {None: WAITING, "delivered": DELIVERED}
    for n, event_id, key, algorithm, created, size, checksum, outcome, attempts, archived, error in rows:
        sealed = (n, event_id, key, algorithm, created, 0.0, size, checksum, states.get(outcome, DROPPED))
        yield (*sealed, seal(sealed), attempts, 0, archived, error)


COLUMNS_1 = "n, id, event_key, algorithm, created, size, checksum, outcome, attempts, archived, error"
"""What version 1 had, but for the body."""

INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of ours, values are bound  # nosec B608


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    """Bodies move to a table of their own, and rows get their seals. Nothing is dropped."""
    connection.execute("DROP INDEX IF EXISTS pending")
    connection.execute("ALTER TABLE events RENAME TO events_1")
    connection.execute("ALTER TABLE counters RENAME TO counters_1")
    for statement in statements(_TABLES_2):
        connection.execute(statement)
    connection.executemany(INSERT, from_version_1(connection.execute(f"SELECT {COLUMNS_1} FROM events_1")))  # noqa: S608 - names of ours, values are bound  # nosec B608
    connection.execute("INSERT INTO bodies SELECT n, body FROM events_1 WHERE done IS NULL AND body IS NOT NULL")
    for name, value in connection.execute("SELECT name, value FROM counters_1").fetchall():
        connection.execute("INSERT INTO counters VALUES (?, ?, ?)", (name, value, counter_seal(name, value)))
    connection.execute("DROP TABLE events_1")
    connection.execute("DROP TABLE counters_1")


def _from_2_to_3(connection: sqlite3.Connection) -> None:
    """What algorithms remember gets its table."""
    connection.execute(memories.CREATE)


def _unsound(connection: sqlite3.Connection) -> str:
    for row in connection.execute(f"SELECT {SEALED}, seal FROM events"):  # noqa: S608 - names of ours, values are bound  # nosec B608
        if seal(row[:-1]) != row[-1]:
            return f"the checksum of row {row[0]} is wrong"
    for n, body_sum, body in connection.execute(HELD_BODIES):
        if not isinstance(body, bytes) or zlib.crc32(body) != body_sum:
            return f"the body of row {n} is wrong"
    return memories.unsound(connection)


SCHEMA = Schema(
    version=VERSION,
    create=_TABLES,
    migrations={1: _from_1_to_2, 2: _from_2_to_3},
    tables=("events", "bodies", "counters", "facts", "memories"),
    rows_sound=_unsound,
    counter="SELECT coalesce(max(value), 0) FROM counters WHERE name = 'events'",
)
