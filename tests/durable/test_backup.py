"""Backups of a durable file that is in use."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from streamserver.core.errors import StoreDamagedError
from streamserver.durable import back_up, backup_due, backup_of
from tests.durable.things import SCHEMA, add, fill, names, open_database, spoil


def test_damage_that_sqlite_cannot_even_put_into_words_is_damage(path: Path) -> None:
    fill(path)
    back_up(path, check=SCHEMA)
    good = backup_of(path).read_bytes()
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA writable_schema = ON")
        plain.execute("UPDATE sqlite_master SET sql = 'nonsense', name = CAST(X'FFC3' AS TEXT) WHERE name = 'facts'")
        plain.commit()
    with closing(sqlite3.connect(path)) as plain, pytest.raises(UnicodeDecodeError):
        plain.execute("SELECT * FROM things")
    with pytest.raises(StoreDamagedError):
        back_up(path, check=SCHEMA)
    assert backup_of(path).read_bytes() == good and not list(path.parent.glob("*.new"))
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and names(path) == set(range(500))


def test_a_lost_wal_is_noticed_by_the_backup(path: Path) -> None:
    with closing(open_database(path, SCHEMA).connection) as connection:
        add(connection, range(10))
        back_up(path, check=SCHEMA)
        copy = path.with_name("copy.sqlite")
        copy.write_bytes(path.read_bytes())  # as it is without its -wal
        backup_of(copy).write_bytes(backup_of(path).read_bytes())
    assert names(copy) == set()
    opened = open_database(copy, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and "commits are missing" in opened.damage.reason
    assert names(copy) == set(range(10))


def test_a_backup_is_one_private_file_and_is_due_after_a_change(path: Path) -> None:
    assert not backup_due(path, 0.0)
    fill(path, 5)
    assert backup_due(path, 3600.0)
    back_up(path, check=SCHEMA)
    assert backup_of(path).stat().st_mode & 0o777 == 0o600
    assert names(backup_of(path)) == set(range(5))
    assert not backup_due(path, 3600.0)
    now = backup_of(path).stat().st_mtime
    os.utime(backup_of(path), (now - 7200, now - 7200))
    assert backup_due(path, 3600.0)
    os.utime(path, (now - 9000, now - 9000))
    assert not backup_due(path, 3600.0), "nothing was written since"
    os.utime(backup_of(path), (now + 10 * 365 * 86400,) * 2)
    assert backup_due(path, 3600.0), "a backup from the future is none"


def test_a_damaged_file_never_replaces_a_good_backup(path: Path) -> None:
    fill(path)
    back_up(path, check=SCHEMA)
    good = backup_of(path).read_bytes()
    spoil(path, 7)
    with pytest.raises(StoreDamagedError):
        back_up(path, check=SCHEMA)
    fill(path.with_name("rows.sqlite"), 3)
    with pytest.raises(StoreDamagedError, match="row 1 is odd"):
        back_up(path.with_name("rows.sqlite"), check=replace(SCHEMA, rows_sound=lambda _: "row 1 is odd"))
    assert backup_of(path).read_bytes() == good
    assert not backup_of(path.with_name("rows.sqlite")).exists()
    assert not list(path.parent.glob("*.new"))


def test_a_backup_is_made_while_others_write(path: Path) -> None:
    fill(path, 2000)
    stop = threading.Event()

    def write() -> None:
        with closing(open_database(path, SCHEMA).connection) as connection:
            n = 2000
            while not stop.is_set():
                add(connection, range(n, n + 1))
                n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            back_up(path, check=SCHEMA)
    finally:
        stop.set()
        writer.join()
    copied = names(backup_of(path))
    assert copied >= set(range(2000))
    assert copied == set(range(len(copied))), "one moment of the file, not a mixture"
