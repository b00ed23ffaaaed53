"""What algorithms remember across restarts, such as totals: one row an algorithm, committed with the frame it is of."""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from streamserver.durable import readable_rows
from streamserver.durable.backup import backup_of
from streamserver.outbox.records import Memory

_log = logging.getLogger(__name__)

CREATE = """
CREATE TABLE IF NOT EXISTS memories (
    algorithm INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    content TEXT NOT NULL,
    loop INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    timestamp_us INTEGER NOT NULL,
    seal INTEGER NOT NULL
)
"""
COLUMNS = ("algorithm", "n", "content", "loop", "frame", "timestamp_us", "seal")
"""``n`` counts the changes of a row; ``seal`` is the checksum over those before it."""

_QUERY = f"SELECT {', '.join(COLUMNS)} FROM memories"  # noqa: S608 - names of ours, values are bound  # nosec B608
_INSERT = f"INSERT OR REPLACE INTO memories VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - names of ours, values are bound  # nosec B608

Row = tuple[Any, ...]


def remember(connection: sqlite3.Connection, memory: Memory) -> None:
    """Puts ``memory`` in the place of what the algorithm remembered before; inside a transaction of the caller."""
    before = connection.execute("SELECT n FROM memories WHERE algorithm = ?", (memory.algorithm,)).fetchone()
    n = before[0] + 1 if before is not None and isinstance(before[0], int) else 1
    row = (memory.algorithm, n, memory.content, *memory.place)
    connection.execute(_INSERT, (*row, _seal(row)))


def recall(connection: sqlite3.Connection, algorithm: int) -> Memory | None:
    """What the algorithm at this position of the task remembers; ``None`` for nothing."""
    row = connection.execute(f"{_QUERY} WHERE algorithm = ?", (algorithm,)).fetchone()
    if row is None or not _is_sound(row):
        return None
    return Memory(algorithm=row[0], content=row[2], place=(row[3], row[4], row[5]))


def salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copies what is sound in ``source`` and newer than what ``target`` has; a file without the table has nothing."""
    for row in readable_rows(source, "memories", COLUMNS):
        if _is_sound(row):
            known = target.execute("SELECT n FROM memories WHERE algorithm = ?", (row[0],)).fetchone()
            if known is None or known[0] < row[1]:
                target.execute(_INSERT, row)


def tell(connection: sqlite3.Connection, path: Path) -> None:
    """Says in the log what is remembered in a file that was mended: it may be older than what was lost."""
    for row in connection.execute(_QUERY).fetchall():
        _say(path, row)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Puts the backup's row in the place of one whose checksum is wrong, or takes it away; inside a transaction."""
    wrong = [row[0] for row in connection.execute(_QUERY).fetchall() if not _is_sound(row)]
    for algorithm in wrong:
        connection.execute("DELETE FROM memories WHERE algorithm IS ?", (algorithm,))
    if not wrong:
        return
    try:
        with closing(sqlite3.connect(f"{backup_of(path).absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as backup:
            salvage(backup, connection)
    except sqlite3.Error as e:
        _log.debug("%s: no backup can be read: %s", path, e)
    found = {row[0]: row for row in connection.execute(_QUERY).fetchall()}
    for algorithm in wrong:
        if algorithm in found:
            _say(path, found[algorithm])
        else:
            _log.error(
                "%s: what algorithm %s remembered is damaged, and no backup has it: it begins anew", path, algorithm
            )


def unsound(connection: sqlite3.Connection) -> str:
    """Why the rows may not become a backup; empty when they may."""
    wrong = [row[0] for row in connection.execute(_QUERY) if not _is_sound(row)]
    return f"the checksum of what algorithm {wrong[0]} remembers is wrong" if wrong else ""


def _say(path: Path, row: Row) -> None:
    text = "%s was damaged: algorithm %d goes on with what it remembered at loop %d, frame %d: %.200s"
    _log.error(text, path, row[0], row[3], row[4], row[2])


def _is_sound(row: Sequence[Any]) -> bool:
    return bool(_seal(tuple(row[:-1])) == row[-1])


def _seal(row: Row) -> int:
    return zlib.crc32(repr(row).encode("utf-8", "backslashreplace"))
