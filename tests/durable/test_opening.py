"""Opening a durable file: new, old, newer, damaged; and what a kill in the middle leaves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import failpoints
from streamserver.core.errors import StoreError
from streamserver.durable import back_up, backup_of, noted, opening, readable_rows, recent_damage
from tests.durable.things import SCHEMA, SCHEMA_3, add, fill, names, open_database, set_size, spoil

PROJECT = Path(__file__).parents[2]


def test_a_new_file_is_private_durable_and_whole(path: Path) -> None:
    opened = open_database(path, SCHEMA)
    with closing(opened.connection) as connection:
        assert opened.damage is None
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.isolation_level is None
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert not list(path.parent.glob("*.restor*"))


def test_an_old_file_is_migrated_step_by_step_and_keeps_its_rows(path: Path) -> None:
    fill(path, 5)
    opened = open_database(path, SCHEMA_3)
    with closing(opened.connection) as connection:
        assert opened.damage is None
        assert connection.execute("SELECT sum(size) FROM things").fetchone()[0] == sum(
            len(f"thing {n} " * 10) for n in range(5)
        )
        assert [row[0] for row in connection.execute("SELECT version FROM schema_history")] == [1, 2, 3]


def test_a_migration_that_fails_leaves_the_old_file(path: Path) -> None:
    fill(path, 5)
    before = path.read_bytes()

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM things")
        raise sqlite3.OperationalError("a step that fails")

    with pytest.raises(StoreError, match="a step that fails"):
        open_database(path, replace(SCHEMA_3, migrations={1: fails, 2: set_size}))
    assert names(path) == set(range(5))
    with closing(open_database(path, SCHEMA).connection):
        pass
    assert path.read_bytes() == before


def test_another_programs_file_that_bears_an_old_version_is_damage(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE moz_places (id INTEGER PRIMARY KEY); PRAGMA user_version = 1;")
    opened = open_database(path, SCHEMA_3)
    opened.connection.close()
    assert opened.damage is not None and "no such table: things" in opened.damage.reason
    assert opened.damage.moved_to is not None and opened.damage.moved_to.exists()
    assert names(path) == set()


def test_a_newer_file_is_refused_by_name_of_its_program_and_never_moved(path: Path) -> None:
    fill(path, 5, SCHEMA_3)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"schema version 3, written by stream-server \d.*; start stream-server"):
            open_database(path, SCHEMA)
    assert path.read_bytes() == before
    assert not noted(path.parent)


def test_a_flipped_version_number_is_damage_and_no_newer_file(path: Path) -> None:
    fill(path, 5)
    with path.open("r+b") as file:
        file.seek(60)
        file.write(b"\x00\x00\x00\x63")
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and "99" in opened.damage.reason
    assert names(path) == set(range(5))


@pytest.mark.parametrize("backup", [True, False], ids=["with backup", "without"])
@pytest.mark.parametrize("kind", ["page", "truncated", "garbage", "empty", "foreign", "missing"])
def test_a_damaged_file_is_mended_once(path: Path, kind: str, backup: bool) -> None:
    fill(path)
    if backup:
        back_up(path, check=SCHEMA)
        with closing(open_database(path, SCHEMA).connection) as connection:
            add(connection, range(500, 520))
    _damage(path, kind)
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    found = names(path)
    if backup:
        assert opened.damage is not None and opened.damage.salvaged + opened.damage.restored == len(found)
        assert set(range(500)) <= found
    elif kind == "page":
        assert len(found) > 400
    again = open_database(path, SCHEMA)
    again.connection.close()
    assert again.damage is None
    assert names(path) == found
    assert len(noted(path.parent)) == (0 if kind in ("empty", "missing") and not backup else 1)
    if opened.damage is not None and kind != "missing":
        assert opened.damage.moved_to is not None and opened.damage.moved_to.exists()


def _damage(path: Path, kind: str) -> None:
    if kind == "page":
        spoil(path, 7)
    elif kind == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    elif kind == "garbage":
        path.write_bytes(b"no database " * 999)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "missing":
        path.unlink()
    else:
        path.unlink()
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE bookmarks (url TEXT)")
            other.commit()


def test_damage_is_noted_for_people_and_for_readiness(path: Path, tmp_path: Path) -> None:
    fill(path)
    spoil(path, 7)
    damage = open_database(path, SCHEMA)
    damage.connection.close()
    assert noted(path.parent) == [damage.damage] == recent_damage(path.parent)
    assert recent_damage(path.parent, within_s=-1) == []
    assert "rows taken from it" in str(damage.damage)
    with (path.parent / "damage.jsonl").open("ab") as file:
        file.write(b'{"torn')
    assert noted(path.parent) == [damage.damage]


def test_the_damaged_file_lies_where_the_note_says_whatever_the_clock_does_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    spoil(path, 7)
    stamps = count()
    monkeypatch.setattr("time.strftime", lambda _format: f"20261120-{next(stamps):06d}")
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and opened.damage.moved_to is not None and opened.damage.moved_to.exists()


def test_a_log_that_a_killed_mending_left_behind_joins_its_file(path: Path) -> None:
    fill(path)
    spoil(path, 7)
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and opened.damage.moved_to is not None
    path.rename(path.with_name(f"{path.name}.restored"))
    path.with_name(f"{path.name}-wal").write_bytes(b"of the damaged file")
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and opened.damage.moved_to is not None
    moved = opened.damage.moved_to
    assert moved.with_name(f"{moved.name}-wal").read_bytes() == b"of the damaged file"
    assert len(names(path)) > 400


def test_only_three_damaged_files_are_kept(path: Path) -> None:
    for _ in range(5):
        fill(path, 50)
        path.write_bytes(b"no database " * 999)
        open_database(path, SCHEMA).connection.close()
        path.unlink()
    assert len([file for file in path.parent.glob("*.damaged-*") if not file.name.endswith(("-wal", "-shm"))]) == 3


def test_of_large_damaged_files_only_the_newest_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.durable.files._ASIDE_MAX_BYTES", 15_000)
    for size in (1000, 1000, 20_000):
        fill(path, 50)
        path.write_bytes(b"x" * size)
        open_database(path, SCHEMA).connection.close()
    assert [file.stat().st_size for file in path.parent.glob("*.damaged-*") if "-wal" not in file.name] == [20_000]


def test_a_file_that_somebody_has_open_is_not_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamserver.durable.opening.PATIENCE_S", 0.2)
    fill(path)
    with closing(open_database(path, SCHEMA).connection):
        spoil(path, 1)
        with pytest.raises(StoreError, match="another process"):
            open_database(path, SCHEMA)
        assert not list(path.parent.glob("*.damaged-*"))
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None


def test_who_finds_no_file_that_another_makes_and_keeps_open_meanwhile_opens_that_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faster = opening._make_well, list[opening.Opened]()

    def make_well(*arguments: Any) -> Any:
        if not faster:
            monkeypatch.setattr(opening, "_make_well", real)
            faster.append(open_database(path, SCHEMA))
        return real(*arguments)

    monkeypatch.setattr(opening, "_make_well", make_well)
    with closing(open_database(path, SCHEMA).connection) as second:
        add(second, range(3))
    with closing(faster[0].connection):
        assert names(path) == {0, 1, 2}


def test_threads_that_open_a_damaged_file_at_once_mend_it_once(path: Path) -> None:
    fill(path)
    spoil(path, 7)
    gate, reports = threading.Barrier(6), []

    def work() -> None:
        gate.wait()
        opened = open_database(path, SCHEMA)
        reports.append(opened.damage)
        opened.connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 6
    assert len([report for report in reports if report]) == 1 == len(noted(path.parent))


def test_a_folder_that_is_gone_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check that its folder exists"):
        open_database(tmp_path / "gone" / "things.sqlite", SCHEMA)
    assert not (tmp_path / "gone").exists()


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {project!r})
from streamserver.durable import back_up
from tests.durable.things import SCHEMA, SCHEMA_3, open_database
path = Path(sys.argv[2])
if sys.argv[1] == "back_up":
    back_up(path, check=SCHEMA)
else:
    open_database(path, SCHEMA_3 if sys.argv[1] == "migrate" else SCHEMA)
"""


@pytest.mark.parametrize(
    ("point", "what"),
    [
        ("backup.copied", "back_up"),
        ("backup.renamed", "back_up"),
        ("migrate.step", "migrate"),
        ("migrate.step=kill@2", "migrate"),
        ("restore.moved_aside", "mend"),
    ],
)
def test_a_kill_at_each_step_leaves_a_file_that_opens(path: Path, point: str, what: str) -> None:
    fill(path)
    back_up(path, check=SCHEMA)
    with closing(open_database(path, SCHEMA).connection) as connection:
        add(connection, range(500, 510))
    if what == "mend":
        spoil(path, 7)
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED.format(project=str(PROJECT)), what, str(path)],
        env={**os.environ, failpoints.VARIABLE: point if "=" in point else f"{point}=kill"},
        check=False,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert names(path) >= set(range(500))
    assert len(noted(path.parent)) == (what == "mend")
    assert (opened.damage is not None) == (what == "mend")
    back_up(path, check=SCHEMA)
    assert names(backup_of(path)) == names(path)
    assert not list(path.parent.glob("*.new*")) and not list(path.parent.glob("*.restor*"))


def test_readable_rows_reads_before_after_and_between_broken_pages(path: Path) -> None:
    fill(path, 3000)
    for page in (20, 21, 40, 60):
        spoil(path, page, length=4000)
    with closing(sqlite3.connect(path)) as connection:
        found = [n for n, name in readable_rows(connection, "things", ("n", "name")) if name == f"thing {n} " * 10]
        assert len(found) == len(set(found))
        assert 2700 < len(found) < 3000
        assert list(readable_rows(connection, "things", ("n", "no_such_column"))) == []
        assert list(readable_rows(connection, "no_such_table", ("n",))) == []
        connection.execute("INSERT INTO facts VALUES ('a', 1)")
        assert list(readable_rows(connection, "facts", ("name", "value"))) == [("a", 1)]


def test_a_disk_that_is_full_while_mending_leaves_the_damaged_file(path: Path) -> None:
    fill(path)
    spoil(path, 7)
    before = path.read_bytes()

    def salvage(_source: sqlite3.Connection, target: sqlite3.Connection) -> int:
        target.execute("PRAGMA max_page_count = 8")
        for n in range(1000):
            target.execute("INSERT INTO things (n, name) VALUES (?, ?)", (n, "x" * 100))
        return 1000

    with pytest.raises(StoreError, match="disk is full"):
        open_database(path, SCHEMA, salvage=salvage)
    assert path.read_bytes() == before
    assert not noted(path.parent) and not list(path.parent.glob("*.damaged-*"))
    opened = open_database(path, SCHEMA)
    opened.connection.close()
    assert opened.damage is not None and opened.damage.salvaged > 400


def test_a_salvage_that_stumbles_over_the_content_costs_only_the_rest(path: Path) -> None:
    fill(path)
    back_up(path, check=SCHEMA)
    spoil(path, 7)
    calls: list[int] = []

    def salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("what is this?")
        rows = list(readable_rows(source, "things", ("n", "name")))
        return target.executemany("INSERT OR IGNORE INTO things VALUES (?, ?)", rows).rowcount

    opened = open_database(path, SCHEMA, salvage=salvage)
    opened.connection.close()
    assert opened.damage is not None and names(path) == set(range(500))
