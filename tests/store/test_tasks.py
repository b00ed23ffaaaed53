"""The task store: one row of a task runs, writers lose nothing, and nothing foreign is read as ours."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamserver.core.errors import StoreError
from streamserver.core.states import TaskState
from streamserver.store import Desired, TaskStore

_REQUEST = {"TaskID": "t1", "Algorithm": [{"Type": 1, "名": "线\n"}]}


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'tasks.sqlite'}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    opened = TaskStore(_url(tmp_path))
    yield opened
    opened.close()


def test_a_new_task_is_pending_and_found_by_its_names(store: TaskStore) -> None:
    record, created = store.create("t1", "cam1", _REQUEST, "h1")
    assert created
    assert (record.state, record.desired, record.restarts, record.port) == (TaskState.PENDING, Desired.RUNNING, 0, 0)
    assert store.find("t1") == record
    assert store.find_by_source("cam1") == [record]
    assert store.list() == store.all() == [record]
    assert record.request == _REQUEST
    assert store.find("cam1") is None
    assert store.find_by_source("t1") == []


def test_the_same_spec_again_changes_nothing(store: TaskStore) -> None:
    first, _ = store.create("t1", "cam1", _REQUEST, "h1")
    version = store.version()
    assert store.create("t1", "cam1", _REQUEST, "h1") == (first, False)
    assert store.version() == version


def test_another_spec_replaces_the_row_under_a_new_key(store: TaskStore) -> None:
    first, _ = store.create("t1", "cam1", _REQUEST, "h1")
    version = store.version()
    second, created = store.create("t1", "cam2", _REQUEST, "h2")
    assert created
    assert second.key != first.key
    assert store.list() == [second]
    assert [(row.key, row.desired) for row in store.all()] == [
        (first.key, Desired.DELETED),
        (second.key, Desired.RUNNING),
    ]
    assert store.version() > version
    assert store.find_by_source("cam1") == []


@pytest.mark.parametrize("ended", [TaskState.FINISHED, TaskState.FAILED, TaskState.STOPPED])
def test_a_task_that_ended_starts_anew_with_the_same_spec(store: TaskStore, ended: TaskState) -> None:
    first, _ = store.create("t1", "cam1", _REQUEST, "h1")
    store.set_state(first.key, ended, reason="over")
    second, created = store.create("t1", "cam1", _REQUEST, "h1")
    assert created
    assert second.key != first.key
    assert second.state == TaskState.PENDING


def test_delete_hides_the_row_until_it_is_purged(store: TaskStore) -> None:
    record, _ = store.create("t1", "cam1", _REQUEST, "h1")
    version = store.version()
    assert store.delete("t1")
    assert store.version() > version
    assert store.find("t1") is None
    assert store.find_by_source("cam1") == []
    assert store.list() == []
    assert [row.key for row in store.all()] == [record.key]
    store.purge(record.key)
    assert store.all() == []


def test_delete_of_what_is_not_there_says_so_and_moves_nothing(store: TaskStore) -> None:
    version = store.version()
    assert not store.delete("t1")
    assert store.version() == version


def test_purge_spares_what_should_run(store: TaskStore) -> None:
    record, _ = store.create("t1", "cam1", _REQUEST, "h1")
    store.purge(record.key)
    assert store.find("t1") == record


def test_since_moves_with_the_state_and_only_with_it(store: TaskStore) -> None:
    record, _ = store.create("t1", "cam1", _REQUEST, "h1")
    store.set_state(record.key, TaskState.STARTING, port=10001)
    starting = store.find("t1")
    assert starting and starting.since > record.since
    store.set_state(record.key, TaskState.STARTING, reason="loading the model", restarts=2)
    again = store.find("t1")
    assert again and again.since == starting.since
    assert (again.reason, again.restarts, again.port) == ("loading the model", 2, 10001)


def test_supervisor_writes_do_not_move_the_counter(store: TaskStore) -> None:
    record, _ = store.create("t1", "cam1", _REQUEST, "h1")
    version = store.version()
    store.set_state(record.key, TaskState.STARTING)
    store.purge(record.key)
    store.set_state("a key that is gone", TaskState.RUNNING)
    assert store.version() == version


def test_rows_keep_the_order_they_came_in(store: TaskStore) -> None:
    for number in range(5):
        store.create(f"t{number}", "cam1", _REQUEST, "h")
    assert [row.task_id for row in store.list()] == [f"t{number}" for number in range(5)]
    assert [row.task_id for row in store.find_by_source("cam1")] == [f"t{number}" for number in range(5)]


@pytest.mark.parametrize("task_id", ["车道 1", "../../etc/passwd", "a/b", "'; drop table tasks; --", "😀"])
def test_a_task_id_is_only_a_name(store: TaskStore, task_id: str) -> None:
    record, _ = store.create(task_id, task_id, _REQUEST, "h")
    assert store.find(task_id) == record
    assert record.key.isalnum()
    assert store.delete(task_id)


def test_tasks_survive_the_process(tmp_path: Path) -> None:
    first = TaskStore(_url(tmp_path))
    record, _ = first.create("t1", "cam1", _REQUEST, "h1")
    first.close()
    second = TaskStore(_url(tmp_path))
    assert second.list() == [record]
    second.close()


def test_the_file_is_private_durable_and_shared(tmp_path: Path, store: TaskStore) -> None:
    store.create("t1", "cam1", _REQUEST, "h1")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("tasks.*")} == {0o600}
    with sqlite3.connect(tmp_path / "tasks.sqlite") as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    plain.close()
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_a_file_of_another_version_is_refused_with_its_name(tmp_path: Path, store: TaskStore) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "tasks.sqlite") as plain:
        plain.execute("INSERT INTO schema_history VALUES (99, '9.9', 0)")
        plain.execute("PRAGMA user_version = 99")
    plain.close()
    with pytest.raises(StoreError, match=r"tasks\.sqlite: schema version 99, written by stream-server 9\.9"):
        TaskStore(_url(tmp_path))


def test_a_file_that_is_no_database_is_moved_aside_with_a_report(tmp_path: Path) -> None:
    (tmp_path / "tasks.sqlite").write_bytes(b"this is no database, whatever its name says" * 40)
    opened = TaskStore(_url(tmp_path))
    assert opened.damage is not None and opened.damage.reason == "file is not a database"
    assert opened.list() == []
    opened.close()
    again = TaskStore(_url(tmp_path))
    assert again.damage is None
    again.close()


def test_only_sqlite_files_are_task_databases() -> None:
    with pytest.raises(StoreError, match="expected an SQLite file"):
        TaskStore("postgresql://nobody:secret@127.0.0.1/tasks")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="check that its folder"):
        TaskStore(f"sqlite:///{tmp_path}/file/tasks.sqlite")


def test_threads_that_create_one_task_at_once_leave_one_row_running(store: TaskStore) -> None:
    gate = threading.Barrier(8)

    def create(number: int) -> None:
        gate.wait()
        store.create("t1", "cam1", _REQUEST, f"h{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(8)))
    assert len(store.list()) == 1
    assert len(store.all()) == 8
    assert store.version() == 8


_WRITER = """
import sys
from streamserver.durable import files
from streamserver.store import TaskStore
files.BUSY_TIMEOUT_S = 60.0  # a busy machine makes the other one wait for long
store = TaskStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(15):
    store.create(f"{sys.argv[2]}-{number}", "cam", {"n": number}, "h")
    store.create("shared", "cam", {"by": sys.argv[2]}, f"{sys.argv[2]}-{number}")
    store.delete(f"{sys.argv[2]}-{number - 1}")
"""


def test_processes_that_open_a_new_file_at_once_lose_no_write(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, _url(tmp_path), name],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    try:
        for writer in writers:
            assert writer.stdout and writer.stdout.readline() == "ready\n"
            assert writer.stdin
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for writer in writers:
            writer.communicate(timeout=120)
            assert writer.returncode == 0
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    store = TaskStore(_url(tmp_path))
    assert {row.task_id for row in store.list()} == {"a-14", "b-14", "shared"}
    assert len(store.all()) == 2 * 15 + 2 * 15
    assert store.version() == 2 * (15 + 15 + 14)
    store.close()
