"""Puts a task database together again from the damaged file, the backup and the journal.

Two rules decide between them: a row that any of them knows as deleted is deleted, for a key never comes back to life,
and of a row's revisions the highest holds.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from streamserver import durable
from streamserver.core.files import read_json
from streamserver.core.revision import FIRST
from streamserver.store.journal import Journal
from streamserver.store.schema import COLUMNS, OLDER_COLUMNS, SIGNED, WRITES, checksum_of, is_sound

_log = logging.getLogger(__name__)

Values = dict[str, Any]

_OTHERS = {"revision": FIRST, "state": "PENDING", "reason": "", "since": 0.0, "restarts": 0, "port": 0}


class Rescue:
    """One mending of one database; ``salvage`` and ``complete`` are what ``durable.open_database`` asks for.

    Args:
        database: the file.
        journal: its journal.
        only: ids of the rows that are wanted; all unless given.
    """

    def __init__(self, database: Path, journal: Journal, *, only: set[object] | None = None) -> None:
        self._folder = database.parent / "tasks"
        self._only = only
        self._created: dict[str, Values] = {}
        self._deleted: set[str] = set()
        self._purged: set[str] = set()
        self._number = 0
        self._spoilt: dict[object, Values] = {}
        self._seen: dict[object, str] = {}
        for entry in journal.entries():
            self._learn(entry)

    def _learn(self, entry: Values) -> None:
        self._number = max(self._number, entry["n"])
        if entry["op"] in ("create", "update"):
            row = {"revision": FIRST} | entry["row"]
            known = self._created.setdefault(row["key"], row)
            if row["revision"] > known["revision"]:  # two processes may append in either order
                self._created[row["key"]] = row
            if entry.get("replaces"):
                self._deleted.add(entry["replaces"])
        elif entry["op"] == "delete":
            self._deleted.add(entry["key"])
        else:
            self._purged.add(entry["key"])

    def salvage(self, source: sqlite3.Connection, target: sqlite3.Connection) -> int:
        """Takes the rows of a damaged file or a backup whose checksum is right; see ``durable.Salvage``."""
        taken = 0
        for values in _rows_of(source):
            if is_sound(values):
                taken += self._put(target, values)
            else:
                self._spoilt.setdefault(values["id"], values)
        with suppress(sqlite3.Error):
            self._seen |= dict(source.execute("SELECT id, key FROM tasks ORDER BY key"))  # by the index, if need be
        for name, value in durable.readable_rows(source, "counters", ("name", "value")):
            if name == WRITES and isinstance(value, int):
                self._number = max(self._number, value)
        return taken

    def complete(self, target: sqlite3.Connection) -> tuple[int, int]:
        """Adds what only the journal knows, puts spoilt rows aside and counts what is lost.

        A folder of a task that nothing else knows gets a deleted row, so that the alarms in it are still delivered.
        """
        restored = sum(self._put(target, row) for row in list(self._created.values()))
        for key in self._deleted:
            _mark_deleted(target, key)
        there = {key: row_id for row_id, key in target.execute("SELECT id, key FROM tasks")}
        ids = set(there.values())
        for row_id, values in self._spoilt.items():
            if row_id not in ids:
                put_aside(target, values)
        missing = {key for row_id, key in self._seen.items() if row_id not in self._spoilt and row_id not in ids}
        missing |= {str(values["key"]) for row_id, values in self._spoilt.items() if row_id not in ids}
        missing |= _keys_with_folder(self._folder)
        missing -= set(there) | self._purged
        _adopt(target, self._folder, missing)
        number = min(self._number, 2**53) + 1
        target.execute("UPDATE counters SET value = ? WHERE name = ?", (number, WRITES))
        return restored, len(missing)

    def _put(self, target: sqlite3.Connection, values: Values) -> bool:
        key = values["key"]
        if key in self._purged or (self._only is not None and values["id"] not in self._only):
            return False
        if key in self._deleted and values["desired"] != "deleted":
            values = values | {"desired": "deleted"}
        existing = target.execute("SELECT revision FROM tasks WHERE key = ?", (key,)).fetchone()
        if existing is not None:
            if values["revision"] > existing[0]:
                _bring_up_to_date(target, values)
            if values["desired"] == "deleted":
                _mark_deleted(target, key)
            return False
        if values["desired"] == "running" and not _make_way(target, values):
            values = values | {"desired": "deleted"}
        return _insert(target, values)


def _rows_of(source: sqlite3.Connection) -> Iterator[Values]:
    """Rows as dictionaries; those of version 1, which has no checksum, get theirs when they make sense."""
    for columns in (COLUMNS, *OLDER_COLUMNS):
        found = False
        for row in durable.readable_rows(source, "tasks", columns):
            found = True
            values = {"revision": FIRST} | dict(zip(columns, row, strict=True))
            if "checksum" not in values:
                values["checksum"] = checksum_of(values) if _makes_sense(values) else None
            yield values
        if found:
            return


def _keys_with_folder(folder: Path) -> set[str]:
    """Keys that have a folder in ``folder``, so they were tasks; a folder goes before its row does."""
    with suppress(OSError), os.scandir(folder) as found:
        return {entry.name for entry in found if entry.name.isalnum() and entry.is_dir()}
    return set()


def _adopt(target: sqlite3.Connection, folder: Path, keys: Iterable[str]) -> None:
    """Gives folders without a row a deleted one: their alarms are delivered, then they go."""
    for key in keys:
        if (row := _row_of_folder(folder / key)) is not None:
            _log.error(
                "%s belongs to no task of the database: what waits in it is delivered, then it goes", folder / key
            )
            _insert(target, row)


def _row_of_folder(folder: Path) -> Values | None:
    if not folder.name.isalnum():  # a spoilt key may be any text
        return None
    request = read_json(folder / "request.json")
    if not isinstance(request, dict) or not isinstance(request.get("Algorithm"), list):
        if not any(folder.glob("outbox.sqlite*")):
            return None
        request = {"Algorithm": []}  # client.json, too, says where alarms go
    source = request.get("InputSrc")
    values = {"id": None, "key": folder.name, "desired": "deleted", "created_at": time.time(), "spec_hash": ""}
    values["task_id"] = str(request.get("TaskID", ""))
    values["src_id"] = str(source.get("SrcID", "")) if isinstance(source, dict) else ""
    return values | {"request": json.dumps(request, ensure_ascii=False)}


def _makes_sense(values: Values) -> bool:
    try:
        request = json.loads(values["request"])
        texts = [values[name] for name in ("key", "task_id", "src_id", "spec_hash")]
        "".join(texts).encode()
        return isinstance(request, dict) and values["desired"] in ("running", "deleted") and values["key"].isalnum()
    except (ValueError, TypeError):
        return False


def _make_way(target: sqlite3.Connection, values: Values) -> bool:
    """Of two running rows of a task the newer one stays."""
    query = "SELECT key, created_at FROM tasks WHERE task_id = ? AND desired = 'running'"
    other = target.execute(query, (values["task_id"],)).fetchone()
    if other is None:
        return True
    if other[1] > values["created_at"]:
        return False
    _mark_deleted(target, other[0])
    return True


def _insert(target: sqlite3.Connection, values: Values) -> bool:
    values = values | {name: values.get(name, other) for name, other in _OTHERS.items()}
    for name in ("state", "reason"):
        values[name] = str(values[name]).encode("utf-8", "replace").decode()
    for name in ("since", "restarts", "port"):
        values[name] = values[name] if isinstance(values[name], int | float) else 0
    values["checksum"] = checksum_of(values)
    names = list(COLUMNS)
    marks = ", ".join(f":{name}" for name in names)
    taken = target.execute("SELECT 1 FROM tasks WHERE id = ?", (values["id"],)).fetchone()
    target.execute(f"INSERT INTO tasks ({', '.join(names)}) VALUES ({marks})", values | ({"id": None} if taken else {}))  # noqa: S608 - names of ours, values are bound  # nosec B608
    return True


def _bring_up_to_date(target: sqlite3.Connection, values: Values) -> None:
    """Gives a row that is there what a later revision of it asks for."""
    names = ("request", "spec_hash", "revision")
    update = f"UPDATE tasks SET {', '.join(f'{name} = :{name}' for name in names)} WHERE key = :key"  # noqa: S608 - names of ours, values are bound  # nosec B608
    target.execute(update, {name: values[name] for name in (*names, "key")})
    _sign(target, values["key"])


def _mark_deleted(target: sqlite3.Connection, key: str) -> None:
    target.execute("UPDATE tasks SET desired = 'deleted' WHERE key = ?", (key,))
    _sign(target, key)


def _sign(target: sqlite3.Connection, key: str) -> None:
    """Gives the row, if there is one, the checksum of what it holds now."""
    names = (*SIGNED, "revision")
    row = target.execute(f"SELECT {', '.join(names)} FROM tasks WHERE key = ?", (key,)).fetchone()  # noqa: S608 - names of ours, values are bound  # nosec B608
    if row is not None:
        checksum = checksum_of(dict(zip(names, row, strict=True)))
        target.execute("UPDATE tasks SET checksum = ? WHERE key = ?", (checksum, key))


def put_aside(target: sqlite3.Connection, values: Values) -> None:
    """Keeps what is left of a row for people to read."""
    content = json.dumps(values, ensure_ascii=True, default=repr)
    target.execute("INSERT INTO spoilt (at, content) VALUES (?, ?)", (time.time(), content))


def mend_rows(connection: sqlite3.Connection, database: Path, journal: Journal) -> durable.Damage | None:
    """Replaces rows whose checksum is wrong, in a file that is well otherwise, and adopts folders; one transaction.

    Returns:
        What was done; ``None`` when every row is right.

    Raises:
        sqlite3.Error: the file cannot be read or written.
    """
    with durable.transaction(connection):
        return _mend_rows(connection, database, journal)


def _mend_rows(connection: sqlite3.Connection, database: Path, journal: Journal) -> durable.Damage | None:
    rows = [
        dict(zip(COLUMNS, row, strict=True))
        for row in connection.execute(f"SELECT {', '.join(COLUMNS)} FROM tasks")  # noqa: S608 - names of ours, values are bound  # nosec B608
    ]
    spoilt = [values for values in rows if not is_sound(values)]
    if not spoilt:
        if rows:  # a database without any task may be the wrong one
            folder = database.parent / "tasks"
            _adopt(connection, folder, _keys_with_folder(folder) - {values["key"] for values in rows})
        return None
    rescue = Rescue(database, journal, only={values["id"] for values in spoilt})
    for values in spoilt:
        connection.execute("DELETE FROM tasks WHERE id = ?", (values["id"],))
        put_aside(connection, values)
    restored = 0
    backup = durable.backup_of(database)
    if backup.exists():
        with suppress(sqlite3.Error), closing(durable.connect_to_read(backup, without_wal=True)) as source:
            restored = rescue.salvage(source, connection)
    more, _ = rescue.complete(connection)
    ids = {row_id for (row_id,) in connection.execute("SELECT id FROM tasks")}
    lost = sum(values["id"] not in ids for values in spoilt)
    names = ", ".join(repr(values["task_id"])[:80] for values in spoilt[:5])
    reason = f"{len(spoilt)} rows had a wrong checksum, of the tasks {names}{' …' if len(spoilt) > 5 else ''}"
    return durable.Damage(database, None, reason, 0, restored + more, lost, time.time())
