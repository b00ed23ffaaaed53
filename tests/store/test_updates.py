"""A row that runs gets another request: durable, and the highest revision holds whatever is mended."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamserver.core import failpoints
from streamserver.core.states import TaskState
from streamserver.durable import backup_of
from streamserver.store import TaskRecord, TaskStore, store_url

PROJECT = Path(__file__).parents[2]
OLD = {"TaskID": "t", "Algorithm": [{"Type": 1, "n": 1}]}
NEW = {"TaskID": "t", "Algorithm": [{"Type": 1, "名": "线"}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    opened = TaskStore(store_url(tmp_path))
    yield opened
    opened.close()


def accepted(store: TaskStore, task_id: str = "t") -> TaskRecord:
    return store.create(task_id, "cam", OLD, "old")[0]


def test_an_update_keeps_the_key_and_all_that_the_supervisor_wrote(store: TaskStore) -> None:
    first = accepted(store)
    store.set_state(first.key, TaskState.RUNNING, restarts=2, port=10001)
    read, version = store.find("t"), store.version()
    assert read and read.revision == 1
    updated = store.update(read, NEW, "new")
    assert updated and store.all() == [updated]
    assert (updated.key, updated.revision, updated.request, updated.spec_hash) == (first.key, 2, NEW, "new")
    assert (updated.state, updated.restarts, updated.port, updated.since) == (read.state, 2, 10001, read.since)
    assert store.version() > version
    assert store.create("t", "cam", NEW, "new") == (updated, False)
    assert store.create("t", "cam", OLD, "old")[1], "the request before the update asks for something else"


@pytest.mark.parametrize("meanwhile", ["updated", "deleted", "replaced", "finished"])
def test_what_changed_since_it_was_read_is_not_overwritten(store: TaskStore, meanwhile: str) -> None:
    read = accepted(store)
    if meanwhile == "updated":
        store.update(read, NEW, "another")
    elif meanwhile == "deleted":
        store.delete("t")
    elif meanwhile == "replaced":
        store.create("t", "cam", NEW, "another")
    else:
        store.set_state(read.key, TaskState.FINISHED)
    before, version = store.all(), store.version()
    assert store.update(read, NEW, "new") is None
    assert (store.all(), store.version()) == (before, version)


@pytest.mark.parametrize("lost", ["the row", "the file", "file and journal, older backup", "nothing but the order"])
def test_the_highest_revision_survives_damage(tmp_path: Path, store: TaskStore, lost: str) -> None:
    read = accepted(store)
    store.back_up_if_due(3600, soon_after_change_s=0)
    second = store.update(read, NEW, "new")
    assert second
    third = store.update(second, OLD, "third")
    path, journal = tmp_path / "tasks.sqlite", tmp_path / "tasks.journal"
    if lost == "the row":
        with closing(sqlite3.connect(path, isolation_level=None)) as plain:
            plain.execute("UPDATE tasks SET revision = 1")
    elif lost == "nothing but the order":
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(reversed(lines)))
    store.close()
    if lost != "the row":
        os.truncate(path, 100)
        path.with_name("tasks.sqlite-wal").unlink(missing_ok=True)
    if lost == "file and journal, older backup":
        journal.unlink()
    mended = TaskStore(store_url(tmp_path))
    (row,) = mended.all()
    mended.close()
    expected = read if lost.startswith("file and journal") else third
    assert expected and (row.key, row.revision, row.request) == (read.key, expected.revision, expected.request)


def test_a_deleted_row_stays_deleted_whatever_was_updated_before(tmp_path: Path, store: TaskStore) -> None:
    assert store.update(accepted(store), NEW, "new")
    store.back_up_if_due(3600, soon_after_change_s=0)
    store.delete("t")
    store.close()
    os.truncate(tmp_path / "tasks.sqlite", 100)
    mended = TaskStore(store_url(tmp_path))
    assert mended.list() == [] and [row.revision for row in mended.all()] == [2]
    mended.close()


@pytest.mark.parametrize(("point", "revision"), [("update.before_commit", 1), ("update.committed", 2)])
def test_a_kill_leaves_one_revision_or_the_other_whole(
    tmp_path: Path, store: TaskStore, point: str, revision: int
) -> None:
    accepted(store)
    code = (
        "import sys; from streamserver.store import TaskStore; s = TaskStore(sys.argv[1]);"
        "s.update(s.find('t'), {'TaskID': 't', 'Algorithm': []}, 'new')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, store_url(tmp_path)],
        env={**os.environ, failpoints.VARIABLE: f"{point}=kill"},
        cwd=PROJECT,
        check=False,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL
    store.check()
    assert store.damage is None and [row.revision for row in store.all()] == [revision]


def test_rows_of_version_2_are_read_and_migrated_with_their_checksums(tmp_path: Path, store: TaskStore) -> None:
    read = accepted(store)
    store.back_up_if_due(3600, soon_after_change_s=0)
    store.close()
    for file in (tmp_path / "tasks.sqlite", backup_of(tmp_path / "tasks.sqlite")):
        with closing(sqlite3.connect(file, isolation_level=None)) as plain:
            plain.execute("ALTER TABLE tasks DROP COLUMN revision")
            plain.execute("DELETE FROM schema_history WHERE version = 3")
            plain.execute("INSERT OR REPLACE INTO schema_history VALUES (2, 'older', 0)")
            plain.execute("PRAGMA user_version = 2")
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for name in ("tasks.sqlite", "tasks.sqlite.backup"):
        shutil.copy(tmp_path / name, spoilt / name)
    os.truncate(spoilt / "tasks.sqlite", 100)
    for folder in (tmp_path, spoilt):
        opened = TaskStore(store_url(folder))
        assert opened.all() == [read]
        assert (opened.damage is None) == (folder == tmp_path)
        opened.close()
