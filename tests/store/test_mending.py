"""The task store when its file is old, damaged or changed under it."""

from __future__ import annotations

import json
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
from streamserver.core.errors import StoreDamagedError, StoreError
from streamserver.core.states import TaskState
from streamserver.durable import backup_of
from streamserver.store import Desired, StateChange, TaskStore, recent_damage, store_url
from streamserver.store.schema import SCHEMA_VERSION

PROJECT = Path(__file__).parents[2]
OLD = PROJECT / "tests" / "fixtures" / "databases" / "tasks_v1.sqlite"
REQUEST = {"TaskID": "t", "名": "线", "Algorithm": [{"Type": 1}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    opened = TaskStore(store_url(tmp_path))
    for number in range(4):
        opened.create(f"t{number}", "cam", REQUEST | {"n": number}, f"h{number}")
    yield opened
    opened.close()


def _plain(tmp_path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite", isolation_level=None)) as plain:
        for statement in statements:
            plain.execute(statement)


def _names(store: TaskStore) -> set[str]:
    return {row.task_id for row in store.list()}


def _spoil_file(tmp_path: Path) -> None:
    path = tmp_path / "tasks.sqlite"
    _plain(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.truncate(100)


def test_a_file_of_version_1_keeps_its_tasks(tmp_path: Path) -> None:
    shutil.copyfile(OLD, tmp_path / "tasks.sqlite")
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is None
    rows = {row.task_id: row for row in opened.all()}
    assert [(name, row.state, row.reason, row.port, row.restarts, row.desired) for name, row in rows.items()] == [
        ("车道 1", TaskState.RUNNING, "", 10001, 2, Desired.RUNNING),
        ("file-2", TaskState.FINISHED, "the file has ended", 10002, 0, Desired.RUNNING),
        ("Tür öffnen", TaskState.FAILED, "/videos/日本.mp4: no such file", 0, 0, Desired.RUNNING),
        ("gone 😀", TaskState.STOPPING, "", 10004, 0, Desired.DELETED),
    ]
    for name, row in rows.items():
        assert (row.src_id, row.spec_hash, row.request["TaskID"]) == (f"摄像头 {name}", f"hash of {name}", name)
    assert opened.version() == 5
    assert opened.create("车道 1", rows["车道 1"].src_id, {}, "hash of 车道 1") == (rows["车道 1"], False)
    assert opened.delete("file-2")
    opened.close()


def test_a_migrated_file_has_the_tables_of_a_new_one(tmp_path: Path, store: TaskStore) -> None:
    (tmp_path / "old").mkdir()
    shutil.copyfile(OLD, tmp_path / "old" / "tasks.sqlite")
    TaskStore(store_url(tmp_path / "old")).close()
    shapes = []
    for folder in (tmp_path, tmp_path / "old"):
        with closing(sqlite3.connect(folder / "tasks.sqlite")) as plain:
            tables = ("tasks", "counters", "spoilt")
            shapes.append([plain.execute(f"PRAGMA table_info({table})").fetchall() for table in tables])
            names = plain.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY 2")
            shapes[-1].append(names.fetchall())
    columns = [[[column[1:3] for column in table] for table in shape[:3]] + shape[3:] for shape in shapes]
    assert columns[0] == columns[1]


@pytest.mark.parametrize("migrated", [True, False])
def test_a_program_of_version_1_refuses_the_file(tmp_path: Path, migrated: bool) -> None:
    if migrated:
        shutil.copyfile(OLD, tmp_path / "tasks.sqlite")
    TaskStore(store_url(tmp_path)).close()
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite")) as plain:
        found = plain.execute("SELECT value FROM counters WHERE name = 'schema'").fetchone()
    assert found == (SCHEMA_VERSION,), "it looks there, or it would write rows without checksums, which count as spoilt"


def test_a_kill_during_the_migration_leaves_the_old_file(tmp_path: Path) -> None:
    shutil.copyfile(OLD, tmp_path / "tasks.sqlite")
    code = "import sys; from streamserver.store import TaskStore; TaskStore(sys.argv[1])"
    ended = subprocess.run(
        [sys.executable, "-c", code, store_url(tmp_path)],
        env={**os.environ, failpoints.VARIABLE: "migrate.step=kill"},
        cwd=PROJECT,
        check=False,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is None and len(opened.all()) == 4
    opened.close()


@pytest.mark.parametrize("statement", ["request = '{}'", "desired = 'deleted'", "task_id = 't9'", "key = 'x'"])
def test_a_row_that_changed_by_itself_is_restored_while_the_others_go_on(
    tmp_path: Path, store: TaskStore, statement: str
) -> None:
    before = store.all()
    _plain(tmp_path, f"UPDATE tasks SET {statement} WHERE task_id = 't1'")
    assert {row.key: row for row in store.all()} == {row.key: row for row in before}
    assert store.damage is not None and (store.damage.restored, store.damage.lost) == (1, 0)
    assert len(recent_damage(tmp_path)) == 1
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite")) as plain:
        (content,) = plain.execute("SELECT content FROM spoilt").fetchone()
    assert json.loads(content)["created_at"] == before[1].created_at


def test_a_row_that_nothing_knows_is_put_aside_and_counted(tmp_path: Path, store: TaskStore) -> None:
    (tmp_path / "tasks.journal").unlink()
    _plain(tmp_path, "UPDATE tasks SET request = '{}' WHERE task_id = 't1'")
    assert _names(store) == {"t0", "t2", "t3"}
    assert store.damage is not None and (store.damage.restored, store.damage.lost) == (0, 1)
    assert "1 rows had a wrong checksum, of the tasks 't1'" in store.damage.reason
    assert store.create("t1", "cam", REQUEST, "h1")[1]


@pytest.mark.parametrize("left", [("request.json", '{"TaskID": "t1", "Algorithm": []}'), ("outbox.sqlite", "")])
def test_alarms_of_a_row_that_nothing_knows_are_still_delivered(
    tmp_path: Path, store: TaskStore, left: tuple[str, str]
) -> None:
    keys = {row.task_id: row.key for row in store.all()}
    folder = tmp_path / "tasks" / keys["t1"]
    folder.mkdir(parents=True)
    (folder / left[0]).write_text(left[1])
    (tmp_path / "tasks.journal").unlink()
    _plain(tmp_path, "UPDATE tasks SET request = '{}' WHERE task_id = 't1'")
    assert _names(store) == {"t0", "t2", "t3"}
    assert [(row.key, row.request["Algorithm"]) for row in store.all() if row.desired is Desired.DELETED] == [
        (folder.name, [])
    ]


def test_a_folder_that_no_row_knows_is_given_one_so_that_its_alarms_are_delivered(
    tmp_path: Path, store: TaskStore
) -> None:
    row = store.create("t5", "cam", REQUEST, "h5")[0]
    folder = tmp_path / "tasks" / row.key
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps(REQUEST | {"TaskID": "t5"}))
    (folder.parent / "0123").mkdir()
    _plain(tmp_path, "DELETE FROM tasks WHERE task_id = 't5'")  # as in an old copy of the database
    store.close()
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is None
    assert [(row.key, row.task_id) for row in opened.all() if row.desired is Desired.DELETED] == [(row.key, "t5")]
    opened.close()


def test_a_database_without_tasks_takes_no_folder_for_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "tasks" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps(REQUEST))
    opened = TaskStore(store_url(tmp_path))
    assert opened.all() == []
    opened.close()


@pytest.mark.parametrize("column", ["state", "reason", "since", "restarts", "port"])
def test_what_the_supervisor_wrote_is_read_as_well_as_it_can_be(tmp_path: Path, store: TaskStore, column: str) -> None:
    _plain(tmp_path, f"UPDATE tasks SET {column} = X'FF00FF' WHERE task_id = 't1'")
    row = store.find("t1")
    assert row is not None and row.request == REQUEST | {"n": 1}
    assert (row.state, row.restarts, row.port) == (TaskState.PENDING, 0, 0)
    store.set_state(row.key, TaskState.RUNNING, port=1)
    assert store.damage is None


@pytest.mark.parametrize("left", ["journal", "backup", "both"])
def test_a_damaged_file_is_put_together_again(tmp_path: Path, store: TaskStore, left: str) -> None:
    store.back_up_if_due(0.0, soon_after_change_s=0.0)
    gone, purged = store.find("t2"), store.find("t3")
    assert gone and purged
    store.delete("t2")
    store.delete("t3")
    store.purge(purged.key)
    store.create("t4", "cam", REQUEST, "h4")
    version = store.version()
    if left == "backup":
        store.back_up_if_due(0.0, soon_after_change_s=0.0)
        (tmp_path / "tasks.journal").unlink()
    elif left == "journal":
        backup_of(tmp_path / "tasks.sqlite").unlink()
    store.close()
    _spoil_file(tmp_path)
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is not None and opened.damage.lost == 0
    assert _names(opened) == {"t0", "t1", "t4"}
    assert [row.key for row in opened.all() if row.desired is Desired.DELETED] == [gone.key]
    assert opened.version() > version
    assert opened.create("t1", "cam", {}, "h1")[1] is False
    opened.close()
    again = TaskStore(store_url(tmp_path))
    assert again.damage is None
    again.close()


def test_a_task_with_a_folder_and_nothing_else_is_lost_but_its_alarms_are_not(tmp_path: Path, store: TaskStore) -> None:
    rows = store.all()
    for row in rows:
        (tmp_path / "tasks" / row.key).mkdir(parents=True)
    (tmp_path / "tasks" / rows[0].key / "request.json").write_text(json.dumps(rows[0].request))
    store.close()
    _spoil_file(tmp_path)
    (tmp_path / "tasks.journal").unlink()
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is not None and opened.damage.lost == 4
    assert opened.list() == []
    assert [(row.key, row.request, row.desired) for row in opened.all()] == [
        (rows[0].key, rows[0].request, Desired.DELETED)
    ]
    opened.close()


def test_a_lost_wal_is_noticed_and_made_good(tmp_path: Path, store: TaskStore) -> None:
    other = tmp_path / "copy"
    other.mkdir()
    for name in ("tasks.sqlite", "tasks.journal"):
        shutil.copyfile(tmp_path / name, other / name)
    opened = TaskStore(store_url(other))
    assert opened.damage is not None and "4 commits are missing" in opened.damage.reason
    assert {row.key: row for row in opened.all()} == {
        row.key: row for row in store.all() if row.state is TaskState.PENDING
    }
    opened.close()


def test_damage_while_it_runs_is_raised_and_mended_at_the_next_opening(tmp_path: Path, store: TaskStore) -> None:
    with pytest.raises(StoreError, match="no such table"):
        _plain(tmp_path, "DROP TABLE tasks")
        store.all()
    with pytest.raises(StoreDamagedError, match="mended when it is opened anew"):
        store.create("t9", "cam", REQUEST, "h9")
    with pytest.raises(StoreDamagedError):
        store.back_up_if_due(0.0, soon_after_change_s=0.0)
    store.close()
    opened = TaskStore(store_url(tmp_path))
    assert _names(opened) == {"t0", "t1", "t2", "t3"}
    opened.close()


def test_states_of_many_rows_are_one_commit(tmp_path: Path, store: TaskStore) -> None:
    keys = [row.key for row in store.all()]
    store.set_states([StateChange(key=key, state=TaskState.STARTING, port=10001) for key in [*keys, "gone"]])
    assert {(row.state, row.port) for row in store.all()} == {(TaskState.STARTING, 10001)}
    store.set_states([])
    since = [row.since for row in store.all()]
    store.set_states([StateChange(key=keys[0], state=TaskState.STARTING, reason="still"), _running(keys[1])])
    rows = store.all()
    assert [row.reason for row in rows] == ["still", "", "", ""]
    assert rows[0].since == since[0] and rows[1].since > since[1]


def _running(key: str) -> StateChange:
    return StateChange(key=key, state=TaskState.RUNNING, restarts=3)


def test_a_backup_is_made_at_once_then_after_a_change(tmp_path: Path, store: TaskStore) -> None:
    backup = backup_of(tmp_path / "tasks.sqlite")
    store.back_up_if_due(3600.0)
    first = backup.stat().st_ino
    store.back_up_if_due(3600.0, soon_after_change_s=0.0)
    assert backup.stat().st_ino == first, "nothing has changed"
    store.create("t9", "cam", REQUEST, "h9")
    store.back_up_if_due(3600.0)
    assert backup.stat().st_ino == first, "a minute is not over"
    store.back_up_if_due(3600.0, soon_after_change_s=0.0)
    with closing(sqlite3.connect(backup)) as plain:
        assert plain.execute("SELECT count(*) FROM tasks").fetchone() == (5,)


def test_a_backup_that_cannot_be_made_is_told_and_not_tried_in_every_round(tmp_path: Path, store: TaskStore) -> None:
    (tmp_path / "tasks.sqlite.backup.new").mkdir()
    with pytest.raises(StoreError):
        store.back_up_if_due(0.0, soon_after_change_s=0.0)
    store.back_up_if_due(0.0, soon_after_change_s=0.0)
    assert not backup_of(tmp_path / "tasks.sqlite").exists()


def test_a_spoilt_row_is_mended_before_it_gets_into_the_backup(tmp_path: Path, store: TaskStore) -> None:
    _plain(tmp_path, "UPDATE tasks SET request = '{}' WHERE task_id = 't1'")
    store.back_up_if_due(0.0, soon_after_change_s=0.0)
    with closing(sqlite3.connect(backup_of(tmp_path / "tasks.sqlite"))) as plain:
        assert plain.execute("SELECT count(*) FROM tasks WHERE request = '{}'").fetchone() == (0,)
    assert store.damage is not None and store.damage.restored == 1


def test_a_journal_that_cannot_be_written_refuses_nothing(tmp_path: Path, store: TaskStore) -> None:
    (tmp_path / "tasks.journal").unlink()
    (tmp_path / "tasks.journal").mkdir()
    assert store.create("t9", "cam", REQUEST, "h9")[1]
    assert store.delete("t9")
    store.close()
    opened = TaskStore(store_url(tmp_path))
    assert opened.damage is None and _names(opened) == {"t0", "t1", "t2", "t3"}
    opened.close()


def test_a_torn_line_of_the_journal_hides_no_other(tmp_path: Path, store: TaskStore) -> None:
    with (tmp_path / "tasks.journal").open("ab") as file:
        file.write(b'12345678 {"n": 99, "op"')
    store.create("t9", "cam", REQUEST, "h9")
    store.close()
    _spoil_file(tmp_path)
    opened = TaskStore(store_url(tmp_path))
    assert _names(opened) == {"t0", "t1", "t2", "t3", "t9"}
    opened.close()


def test_a_long_journal_begins_anew_and_both_parts_are_read(
    tmp_path: Path, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.store.journal.MAX_BYTES", 1500)
    store.create("t8", "cam", REQUEST, "h8")
    store.create("t9", "cam", REQUEST, "h9")
    assert (tmp_path / "tasks.journal.1").exists()
    store.close()
    _spoil_file(tmp_path)
    opened = TaskStore(store_url(tmp_path))
    assert _names(opened) == {"t0", "t1", "t2", "t3", "t8", "t9"}
    opened.close()


_KILLED = """
import sys
from streamserver.store import TaskStore
store = TaskStore(sys.argv[1])
store.create("t1", "cam", {}, "another") if sys.argv[2].startswith("accept") else store.delete("t1")
"""


@pytest.mark.parametrize(
    "point", ["accept.before_commit", "accept.committed", "delete.before_commit", "delete.committed"]
)
def test_a_kill_around_the_commit_leaves_one_or_the_other(tmp_path: Path, store: TaskStore, point: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, store_url(tmp_path), point],
        env={**os.environ, failpoints.VARIABLE: f"{point}=kill"},
        cwd=PROJECT,
        check=False,
        timeout=120,
    )
    assert ended.returncode == -signal.SIGKILL
    row = store.find("t1")
    if point == "delete.committed":
        assert row is None
    else:
        assert row is not None and row.spec_hash == ("another" if point == "accept.committed" else "h1")
    assert len(store.list()) == (3 if row is None else 4)
