"""Dead letters of an outbox, for a process that does not deliver: listed, and made due again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from streamserver.durable import connect, store_error
from streamserver.durable.files import Hold
from streamserver.outbox import rows
from streamserver.outbox.schema import DEAD, VERSION, WAITING

Result = TypeVar("Result")

_STEP = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An alarm that every receiver refused for its own sake.

    Attributes:
        id: of the alarm.
        created: when it was raised, seconds since the epoch.
        attempts: how often it was tried.
        error: what the receivers said, in words.
        algorithm: its position in the task.
        size: bytes of its body.
    """

    id: str
    created: float
    attempts: int
    error: str
    algorithm: int
    size: int


def dead_letters(path: Path, *, limit: int, after: str = "") -> list[DeadLetter]:
    """At most ``limit`` dead letters, the oldest first; a file that is missing or no outbox has none.

    Args:
        path: the outbox's file, which other processes may have open.
        limit: how many.
        after: only those with a greater id, for the next page.

    Raises:
        StoreError: the file cannot be read.
    """
    query = (
        "SELECT id, created, attempts, error, algorithm, size FROM events INDEXED BY held"
        " WHERE state < 2 AND state = ? AND id > ? ORDER BY id LIMIT ?"
    )

    def work(connection: sqlite3.Connection) -> list[DeadLetter]:
        return [_letter(*row) for row in connection.execute(query, (DEAD, after, limit))]

    return _with(path, work, [])


def replay(path: Path, ids: Sequence[str] | None) -> int:
    """Makes dead letters due again, as if they had never been refused; whoever delivers notices by itself.

    Args:
        path: the outbox's file, which other processes may have open.
        ids: which; ``None`` for all. Others are left out.

    Returns:
        How many are due again.

    Raises:
        StoreError: the file cannot be written; some may be due again.
    """

    def work(connection: sqlite3.Connection) -> int:
        query = "SELECT id FROM events INDEXED BY held WHERE state < 2 AND state = ?"
        chosen = [row[0] for row in connection.execute(query, (DEAD,))] if ids is None else list(ids)
        return sum(_replay(connection, chosen[start : start + _STEP]) for start in range(0, len(chosen), _STEP))

    return _with(path, work, 0)


def _letter(event_id: str, created: float, attempts: Any, error: Any, algorithm: int, size: int) -> DeadLetter:
    """Attempts and error are covered by no checksum."""
    return DeadLetter(event_id, created, rows.whole(attempts), str(error), algorithm, size)


def _replay(connection: sqlite3.Connection, ids: Sequence[str]) -> int:
    connection.execute("BEGIN IMMEDIATE")
    try:
        moved = 0
        for event_id in ids:
            if rows.move(connection, event_id, WAITING, error=""):
                connection.execute("UPDATE events SET next_try = 0, refusals = 0 WHERE id = ?", (event_id,))
                moved += 1
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return moved


def _with(path: Path, work: Callable[[sqlite3.Connection], Result], nothing: Result) -> Result:
    try:
        if not path.is_file():
            return nothing
        hold = Hold(path, exclusive=False)
        try:
            connection = connect(path, hold=hold)
        except BaseException:
            hold.release()
            raise
        with closing(connection):
            connection.text_factory = lambda text: text.decode("utf-8", "replace")
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return nothing
            return work(connection)
    except (sqlite3.Error, OSError) as e:
        raise store_error(path, e) from e
