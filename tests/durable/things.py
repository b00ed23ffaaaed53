"""A small durable file for these tests: how it is made, filled, read and spoilt."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from streamserver import durable
from streamserver.durable import Connection, Schema, readable_rows

CREATE = """
CREATE TABLE things (n INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
SCHEMA = Schema(version=1, create=CREATE, counter="SELECT max(n) FROM things")


def _add_size(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 0")


def set_size(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE things SET size = length(name)")


SCHEMA_3 = Schema(
    version=3,
    create=CREATE.replace("name TEXT NOT NULL)", "name TEXT NOT NULL, size INTEGER NOT NULL DEFAULT 0)"),
    migrations={1: _add_size, 2: set_size},
)


def copy_tables(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    """The salvage of a file whose rows have no checksums: every readable row of its tables."""
    taken = 0
    for table in ("things", "facts"):
        columns = [str(row[1]) for row in target.execute(f"PRAGMA table_info([{table}])")]
        marks = ", ".join("?" * len(columns))
        for row in readable_rows(source, table, columns):
            with suppress(sqlite3.Error, UnicodeEncodeError):
                taken += target.execute(f"INSERT OR IGNORE INTO [{table}] VALUES ({marks})", row).rowcount
    return taken


open_database = partial(durable.open_database, salvage=copy_tables)


def fill(path: Path, number: int = 500, schema: Schema = SCHEMA) -> None:
    with closing(open_database(path, schema).connection) as connection:
        add(connection, range(number))


def add(connection: Connection, numbers: range) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for n in numbers:
        connection.execute("INSERT INTO things (n, name) VALUES (?, ?)", (n, f"thing {n} " * 10))
    connection.execute("COMMIT")


def names(path: Path) -> set[int]:
    with closing(sqlite3.connect(path)) as connection:
        return {n for n, name in connection.execute("SELECT n, name FROM things") if name == f"thing {n} " * 10}


def spoil(path: Path, page: int, *, length: int = 200) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * page)
        file.write(b"\xaa" * length)
