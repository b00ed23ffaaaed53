"""Cases of the row ``damage``: task databases with known content."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from streamserver.core.states import TaskState
from streamserver.durable import noted
from streamserver.store import TaskStore, store_url
from tests.chaos import spoil
from tests.chaos.damaged import Found, copy_files, in_child, problem_of

_TASKS = 24
_BESIDE = (("backup", "journal"), ("backup", "journal"), ("backup",), ("journal",), ())
"""What is left beside the damaged file, by turns."""

Known = dict[str, Any]


def _request(name: str) -> dict[str, Any]:
    address = f"rtsp://user:geheim@10.0.0.7/{name}"
    return {"TaskID": name, "InputSrc": {"SrcID": f"摄像头 {name}", "StreamSrc": {"Address": address}}, "x": "x" * 300}


class Prototype:
    """A state folder made by the real store: tasks that run, ended, were deleted and purged; a backup midway."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: Known = {}
        self.deleted: set[str] = set()
        self._at_backup: tuple[Known, set[str]] = ({}, set())
        scratch = folder.with_name(f"{folder.name}.live")
        store = TaskStore(store_url(scratch))
        try:
            self._fill(store)
            copy_files(scratch, folder)  # while it is open, so with its -wal
        finally:
            store.close()

    def _fill(self, store: TaskStore) -> None:
        for number in range(_TASKS):
            name = f"任务 {number}"
            record, _ = store.create(name, f"摄像头 {name}", _request(name), f"hash {number}")
            self.running[record.key] = [name, json.dumps(_request(name), sort_keys=True)]
            store.set_state(record.key, list(TaskState)[number % 8], reason=f"因为 {number}", port=10001 + number)
            if number % 5 == 3:
                self._delete(store, record.key, name, purge=number % 2 == 0)
            if number == _TASKS // 2:
                store.back_up_if_due(0.0, soon_after_change_s=0.0)
                self._at_backup = (dict(self.running), set(self.deleted))
        for key, (name, _) in list(self.running.items())[:2]:
            self._delete(store, key, name, purge=False)

    def _delete(self, store: TaskStore, key: str, name: str, *, purge: bool) -> None:
        store.delete(name)
        if purge:
            store.purge(key)
        del self.running[key]
        self.deleted.add(key)

    def judge(self, folder: Path, rng: random.Random) -> Found:
        """Damages a copy, has it opened and used twice, and compares."""
        if rng.random() < 0.08:
            return _read_only(self.folder, rng)
        how = rng.choice(spoil.SPOILS)
        beside = rng.choice(_BESIDE[:2] if how in spoil.OF_THE_LOG else _BESIDE)
        found = Found(f"tasks, {how.__name__}, beside it {'+'.join(beside) or 'nothing'}", bare=not beside)
        copy_files(self.folder, folder)
        path = folder / "tasks.sqlite"
        self._lay_out(path, beside)
        how(path, rng)
        readable = _plainly_readable(path, self.running)
        first = in_child(lambda: _use(folder))
        second = in_child(lambda: _look(folder))
        self._compare(found, first, second, readable, beside)
        if not found.complaints:
            shutil.rmtree(folder)
        return found

    def _lay_out(self, path: Path, beside: tuple[str, ...]) -> None:
        if "backup" not in beside:
            path.with_name("tasks.sqlite.backup").unlink()
        if "journal" not in beside:
            path.with_name("tasks.journal").unlink()

    def _compare(self, found: Found, first: Known, second: Known, readable: set[str], beside: tuple[str, ...]) -> None:
        for name, answer in (("first", first), ("second", second)):
            if problem := problem_of(answer):
                found.complaints.append(f"{name} opening: {problem}")
            elif "raised" in answer:
                found.complaints.append(f"{name} opening was refused: {answer['raised'][:200]}")
        if found.complaints:
            return
        if second["reports"] != first["reports"]:
            found.complaints.append("the second opening mends again")
        if second["tasks"] != first["after"]:
            found.complaints.append("the second opening finds other tasks than the first left")
        self._count(found, first, readable, beside)

    def _count(self, found: Found, first: Known, readable: set[str], beside: tuple[str, ...]) -> None:
        tasks: Known = first["tasks"]
        missing = set(self.running) - set(tasks)
        kept = set(readable)
        if "journal" in beside:
            kept |= set(self.running)
        if "backup" in beside:
            kept |= set(self._at_backup[0]) & set(self.running)
        found.salvaged, found.restored, found.lost = first["salvaged"], first["restored"], len(missing)
        found.outcome = "mended" if first["reports"] else "harmless"
        found.wrong = sum(tasks[key] != self.running[key] for key in set(tasks) & set(self.running))
        found.wrong += len(set(tasks) - set(self.running) - self.deleted)
        back = set(tasks) & self.deleted
        known_deleted = self.deleted if "journal" in beside else self._at_backup[1] if "backup" in beside else set()
        if found.wrong:
            found.complaints.append(f"{found.wrong} rows are not what was written")
        if missing & kept:
            found.complaints.append(f"{len(missing & kept)} rows are missing that could be had")
        if back & known_deleted:
            found.complaints.append(f"{len(back & known_deleted)} deleted tasks came back to life")
        if missing and not first["reports"]:
            found.lost, found.unnoticed = 0, len(missing)
            found.complaints.append(f"{len(missing)} tasks were lost in silence")


def _plainly_readable(path: Path, known: Known) -> set[str]:
    """Keys of known rows that plain SQLite still reads unchanged from a copy of the damaged file."""
    right = set()
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / path.name
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        with suppress(sqlite3.Error), closing(sqlite3.connect(copy)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            query = "SELECT key, task_id, src_id, request, spec_hash, desired FROM tasks NOT INDEXED"
            for key, task_id, src_id, request, spec_hash, desired in connection.execute(query):
                expected = known.get(key)
                with suppress(ValueError, TypeError, IndexError, AttributeError):
                    number = task_id.split(" ")[1]
                    whole = [task_id, json.dumps(json.loads(request), sort_keys=True)] == expected
                    if (
                        whole
                        and (src_id, spec_hash) == (f"摄像头 {task_id}", f"hash {number}")
                        and desired == "running"
                    ):
                        right.add(key)
    return right


def _tasks_of(store: TaskStore) -> Known:
    return {row.key: [row.task_id, json.dumps(row.request, sort_keys=True)] for row in store.list()}


def _look(folder: Path) -> Known:
    store = TaskStore(store_url(folder))
    try:
        return {"tasks": _tasks_of(store), "reports": len(noted(folder))}
    finally:
        store.close()


def _use(folder: Path) -> Known:
    """Opens a database and uses it as web and supervisor do."""
    store = TaskStore(store_url(folder))
    try:
        tasks = _tasks_of(store)
        record, created = store.create("new", "cam", {"TaskID": "new"}, "h")
        assert created and store.find("new") == record and store.find_by_source("cam") == [record]
        if tasks:
            assert store.delete(next(iter(tasks.values()))[0])
        for row in store.all():
            store.set_state(row.key, TaskState.RUNNING, port=1)
        version = store.version()
        store.back_up_if_due(0.0, soon_after_change_s=0.0)
        assert store.version() == version
        reports = noted(folder)
        return {
            "tasks": tasks,
            "after": _tasks_of(store),
            "reports": len(reports),
            "salvaged": sum(report.salvaged for report in reports),
            "restored": sum(report.restored for report in reports),
            "lost": sum(report.lost for report in reports),
        }
    finally:
        store.close()


def _read_only(prototype: Path, rng: random.Random) -> Found:
    """A file or folder that may not be written is no damage: refused with a cure, and well again afterwards."""
    found = Found("tasks, read-only", outcome="refused")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "state"
        copy_files(prototype, folder)
        before = (folder / "tasks.sqlite").read_bytes()
        modes = rng.choice(((0o555, 0o444), (0o777, 0o444), (0o555, 0o666)))
        Path(scratch).chmod(0o755)
        for file in folder.iterdir():
            file.chmod(modes[1])
        folder.chmod(modes[0])
        answers = [in_child(lambda: _use(folder), as_nobody=True) for _ in range(2)]
        found.complaints += [f"mode {modes}: {p}" for answer in answers if (p := problem_of(answer))]
        if not all("raised" in answer for answer in answers):
            found.complaints.append(f"mode {modes}: was not refused: {answers}")
        if (folder / "tasks.sqlite").read_bytes() != before or list(folder.glob("*.damaged-*")) or noted(folder):
            found.complaints.append(f"mode {modes}: was taken for damaged")
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o600)
        if problem_of(in_child(lambda: _look(folder))):
            found.complaints.append("cannot be opened once it may be written")
    return found
