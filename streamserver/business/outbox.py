"""The outbox: alarms that wait for a receiver, in one SQLite file, written before the frame is acknowledged."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from streamserver.core.errors import StoreError
from streamserver.core.ids import Uuid7Source

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_VERSION = 1
_SCHEMA = f"""
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN IMMEDIATE;
CREATE TABLE events (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_key TEXT UNIQUE,
    algorithm INTEGER NOT NULL,
    created REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try REAL NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    done REAL,
    outcome TEXT,
    size INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB
);
CREATE INDEX pending ON events (next_try, n) WHERE done IS NULL;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CLOCK_SLACK_S = 3600.0
"""A next try further ahead than this was written before the clock was set back, and counts as due."""

_PRUNE_EVERY = 256
_FREE_PAGES = 200
"""Unused pages (of 4 kB) that the file may keep."""

_PER_ALGORITHM = "events:"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An alarm to keep.

    Attributes:
        algorithm: its position in the task.
        body: what a receiver gets, as JSON.
        key: what makes it the same alarm when a file is played again; ``None`` for live streams.
    """

    algorithm: int
    body: bytes
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """An alarm that waits; ``created`` is seconds since the epoch, ``archived`` says that the local copy exists."""

    id: str
    body: bytes
    created: float
    attempts: int
    archived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What happened since the task was accepted; it survives restarts. ``pending_bytes`` is the size of the bodies."""

    events: int = 0
    delivered: int = 0
    dropped: int = 0
    pending_bytes: int = 0
    per_algorithm: tuple[tuple[int, int], ...] = ()

    @property
    def pending(self) -> int:
        """Alarms that wait for a receiver."""
        return self.events - self.delivered - self.dropped


class Outbox:
    """Alarms of one task. Every method is one transaction, on the disk before it returns; thread-safe.

    A file that turns out to be damaged is moved aside and a new one is started: alarms that still come count more than
    a client that starts, fails and starts again.

    Args:
        path: the SQLite file; its folder must exist.
        max_bytes: bodies that may wait; beyond it the oldest are dropped and counted.
        keep_keys: how many of the newest rows are remembered after their delivery, to know a repeated event.
        now: seconds since the epoch.

    Raises:
        StoreError: by every method, when the file cannot be read or written (disk full, no permission).
    """

    def __init__(
        self, path: Path, *, max_bytes: int, keep_keys: int = 100_000, now: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep_keys = keep_keys
        self._now = now
        self._new_id = Uuid7Source()
        self._lock = threading.Lock()
        self._counters = Counters()
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._run(_read_counters)

    @property
    def counters(self) -> Counters:
        """The counters as of the last transaction."""
        return self._counters

    def add(self, events: Sequence[NewEvent]) -> int:
        """Keeps ``events`` and returns how many were new: a key that is known already is left out."""

        def work(connection: sqlite3.Connection) -> int:
            new = [self._insert(connection, event) for event in events]
            self._drop_oldest(connection)
            self._prune(connection)
            return sum(new)

        return self._run(work, write=True)

    def due(self, now: float, limit: int = 1) -> list[PendingEvent]:
        """At most ``limit`` alarms whose next try has come, the longest due first. Damaged ones are dropped."""
        where = "done IS NULL AND (next_try <= ? OR next_try > ?)"
        query = f"SELECT id, body, checksum, created, attempts, archived FROM events WHERE {where}"
        order = " ORDER BY next_try, n LIMIT ?"
        rows = self._run(lambda c: c.execute(query + order, (now, now + _CLOCK_SLACK_S, limit)).fetchall())
        good = []
        for event_id, body, checksum, created, attempts, archived in rows:
            if isinstance(body, bytes) and zlib.crc32(body) == checksum:
                good.append(
                    PendingEvent(id=event_id, body=body, created=created, attempts=attempts, archived=bool(archived))
                )
            else:
                _log.error("%s: alarm %s is damaged and was dropped", self.path, event_id)
                self._finish(event_id, "dropped")
        return good

    def next_try(self) -> float | None:
        """When the next alarm is due, in seconds since the epoch; ``None`` when none waits."""
        query = "SELECT min(next_try) FROM events WHERE done IS NULL"
        value = self._run(lambda c: c.execute(query).fetchone()[0])
        return None if value is None else float(value)

    def delivered(self, event_id: str) -> None:
        """A receiver has confirmed the alarm: its body goes, its id and key stay."""
        self._finish(event_id, "delivered")

    def archived(self, event_id: str) -> None:
        """The local copy of the alarm has been written."""
        update = "UPDATE events SET archived = 1 WHERE id = ?"
        self._run(lambda c: c.execute(update, (event_id,)).rowcount, write=True)

    def failed(self, event_id: str, next_try: float, error: str) -> None:
        """No receiver took the alarm; it is due again at ``next_try``."""
        update = "UPDATE events SET attempts = attempts + 1, next_try = ?, error = ? WHERE id = ? AND done IS NULL"
        self._run(lambda c: c.execute(update, (next_try, error, event_id)).rowcount, write=True)

    def retry_now(self) -> None:
        """Makes everything that waits due at once."""
        now = self._now()
        update = "UPDATE events SET next_try = ? WHERE done IS NULL AND next_try > ?"
        self._run(lambda c: c.execute(update, (now, now)).rowcount, write=True)

    def close(self) -> None:
        """Ends the use of the file; later calls raise ``StoreError``."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._closed = True

    def _insert(self, connection: sqlite3.Connection, event: NewEvent) -> bool:
        now = self._now()
        size, checksum = len(event.body), zlib.crc32(event.body)
        row = (str(self._new_id()), event.key, event.algorithm, now, now, size, checksum, event.body)
        added = connection.execute(
            "INSERT INTO events (id, event_key, algorithm, created, next_try, size, checksum, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_key) DO NOTHING",
            row,
        ).rowcount
        if added:
            _count(connection, "events", 1)
            _count(connection, f"{_PER_ALGORITHM}{event.algorithm}", 1)
            _count(connection, "pending_bytes", size)
        return bool(added)

    def _drop_oldest(self, connection: sqlite3.Connection) -> None:
        """Keeps the waiting bodies under the limit; the newest alarm always stays."""
        excess = _read_counters(connection).pending_bytes - self._max_bytes
        if excess <= 0:
            return
        waiting = connection.execute("SELECT id, size FROM events WHERE done IS NULL ORDER BY n").fetchall()
        dropped = 0
        for event_id, size in waiting[:-1]:
            if excess <= 0:
                break
            _finish_row(connection, event_id, "dropped", self._now())
            excess -= size
            dropped += 1
        limit_mb = self._max_bytes // 1_000_000
        _log.error("%s: more than %d MB of alarms wait; the oldest were dropped (%d now)", self.path, limit_mb, dropped)

    def _prune(self, connection: sqlite3.Connection) -> None:
        newest = connection.execute("SELECT max(n) FROM events").fetchone()[0] or 0
        if newest % _PRUNE_EVERY == 0:
            connection.execute("DELETE FROM events WHERE n <= ? AND done IS NOT NULL", (newest - self._keep_keys,))

    def _finish(self, event_id: str, outcome: str) -> None:
        self._run(lambda connection: _finish_row(connection, event_id, outcome, self._now()), write=True)
        self._run(_give_back_space)

    def _run(self, work: Callable[[sqlite3.Connection], Result], *, write: bool = False) -> Result:
        with self._lock:
            try:
                try:
                    return self._run_transaction(work, write)
                except sqlite3.DatabaseError as e:
                    if not _is_damage(e):
                        raise
                    self._replace_damaged(e)
                    return self._run_transaction(work, write)
            except (sqlite3.Error, OSError) as e:
                raise StoreError(f"{self.path}: {e}", cure="check the disk's free space and the file's owner") from e

    def _run_transaction(self, work: Callable[[sqlite3.Connection], Result], write: bool) -> Result:
        if self._closed:
            raise sqlite3.ProgrammingError("the outbox is closed")
        if self._connection is None:
            self._connection = _open(self.path)
            self._counters = _read_counters(self._connection)
        if not write:
            return work(self._connection)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._connection)
            counters = _read_counters(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._counters = counters
        return result

    def _replace_damaged(self, error: sqlite3.Error) -> None:
        """Moves the file aside and starts a new one that goes on counting; what waited counts as dropped."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        _log.error("%s is damaged (%s): moved to %s, and a new one was started", self.path, error, aside.name)
        for suffix in ("", "-wal", "-shm"):
            file = self.path.with_name(self.path.name + suffix)
            if file.exists():
                file.replace(aside.with_name(aside.name + suffix))
        old = self._counters
        self._connection = _open(self.path)
        with self._connection:
            _count(self._connection, "events", old.events)
            _count(self._connection, "delivered", old.delivered)
            _count(self._connection, "dropped", old.dropped + old.pending)
            for index, value in old.per_algorithm:
                _count(self._connection, f"{_PER_ALGORITHM}{index}", value)
        self._counters = _read_counters(self._connection)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(_SCHEMA)
        elif version != _VERSION:
            raise _foreign(f"schema version {version}, expected {_VERSION}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 8000000")
        return connection
    except BaseException:
        connection.close()
        raise


def _foreign(problem: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(problem)
    error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    return error


def _is_damage(error: sqlite3.Error) -> bool:
    """True for a broken file, also for one whose tables are not ours; False for a full disk and the like."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in _DAMAGE_CODES or (code == sqlite3.SQLITE_ERROR and "no such" in str(error))


def _give_back_space(connection: sqlite3.Connection) -> None:
    """Shortens the file once enough of it is unused. Only ``executescript`` runs this pragma to its end."""
    if connection.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
        connection.executescript(f"PRAGMA incremental_vacuum({4 * _FREE_PAGES})")


def _count(connection: sqlite3.Connection, name: str, step: int) -> None:
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (name, step),
    )


def _read_counters(connection: sqlite3.Connection) -> Counters:
    values: dict[str, int] = dict(connection.execute("SELECT name, value FROM counters").fetchall())
    per_algorithm = {
        int(name.removeprefix(_PER_ALGORITHM)): value
        for name, value in values.items()
        if name.startswith(_PER_ALGORITHM)
    }
    return Counters(
        events=values.get("events", 0),
        delivered=values.get("delivered", 0),
        dropped=values.get("dropped", 0),
        pending_bytes=values.get("pending_bytes", 0),
        per_algorithm=tuple(sorted(per_algorithm.items())),
    )


def _finish_row(connection: sqlite3.Connection, event_id: str, outcome: str, now: float) -> None:
    row = connection.execute("SELECT size FROM events WHERE id = ? AND done IS NULL", (event_id,)).fetchone()
    if row is None:
        return
    connection.execute("UPDATE events SET done = ?, outcome = ?, body = NULL WHERE id = ?", (now, outcome, event_id))
    _count(connection, outcome, 1)
    _count(connection, "pending_bytes", -row[0])
