"""What is made of a damaged outbox: rows of the damaged file and of its backup, and accounts that add up again."""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from streamserver.durable import readable_rows
from streamserver.outbox import clocks, memories, rows
from streamserver.outbox.records import PER_ALGORITHM, Counters
from streamserver.outbox.schema import (
    COLUMNS,
    COLUMNS_1,
    DEAD,
    DELIVERED,
    DROPPED,
    HELD_BODIES,
    INSERT,
    SEALED,
    VERSION,
    WAITING,
    counter_seal,
    from_version_1,
    seal,
)

_log = logging.getLogger(__name__)

_SEALED_COUNT = 9

Row = tuple[Any, ...]


def salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    """Copies what is sound in ``source`` into ``target``: an alarm that is settled in either is settled.

    Args:
        source: a damaged file, or a backup, of any version.
        target: a file of the newest version, inside a transaction or not.

    Returns:
        How many rows it gave.
    """
    source.text_factory = target.text_factory = _tolerant_text
    taken = 0
    version = _version_of(source)
    for row in _sound_rows(source, version):
        try:
            taken += _take(source, target, row, version)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError, UnicodeEncodeError) as e:
            _log.warning("an alarm was not taken over: %s", e)
    _take_counters(source, target, version)
    memories.salvage(source, target)
    return taken


def highest(one: Counters, other: Counters) -> Counters:
    """The greater value of each counter that only grows; the others are 0."""
    most = dict(one.per_algorithm)
    for position, value in other.per_algorithm:
        most[position] = max(value, most.get(position, 0))
    return Counters(
        events=max(one.events, other.events),
        delivered=max(one.delivered, other.delivered),
        dropped=max(one.dropped, other.dropped),
        expired=max(one.expired, other.expired),
        lost=max(one.lost, other.lost),
        per_algorithm=tuple(sorted(most.items())),
    )


def balance(connection: sqlite3.Connection, known: Counters) -> None:
    """Makes counters and rows agree; alarms that were counted and are nowhere to be found are lost.

    Args:
        connection: inside a transaction.
        known: what is known from elsewhere; 0 where nothing is.
    """
    counted = _sound_counters(connection.execute("SELECT name, value, seal FROM counters").fetchall())
    there = dict(connection.execute("SELECT state, count(*) FROM events GROUP BY state").fetchall())
    waiting, dead = there.get(WAITING, 0), there.get(DEAD, 0)
    best = highest(counted, known)
    lost, events = best.lost, best.events
    dropped = max(best.dropped, there.get(DROPPED, 0))
    delivered = max(best.delivered, there.get(DELIVERED, 0))
    # Alarms of an old backup wait again although they were counted as delivered.
    excess = max(0, waiting + dead + dropped + delivered + lost - events)
    delivered -= min(excess, delivered - there.get(DELIVERED, 0))
    events = max(events, waiting + dead + dropped + delivered + lost)
    lost = events - delivered - dropped - dead - waiting
    held = connection.execute("SELECT coalesce(sum(size), 0) FROM events WHERE state < 2").fetchone()[0]
    values = {"events": events, "delivered": delivered, "dropped": dropped, "dead": dead, "lost": lost}
    values |= {"expired": min(best.expired, dropped), "pending_bytes": held, **_per_algorithm(connection, best)}
    before = dict(connection.execute("SELECT name, value FROM counters").fetchall())
    for name, value in values.items():
        if before.get(name, 0) != value:
            rows.set_counter(connection, name, value)
    if lost > counted.lost:
        _log.error("%d alarms that were raised are lost with a damaged file", lost - counted.lost)


def are_counters_sound(connection: sqlite3.Connection) -> bool:
    """False when a counter's checksum is wrong; ``balance`` counts anew."""
    found = connection.execute("SELECT name, value, seal FROM counters")
    return all(mark == counter_seal(name, value) for name, value, mark in found)


def check_rows(connection: sqlite3.Connection, path: Path) -> int:
    """Mends rows whose seal is wrong from the backup beside ``path``, or removes them; returns how many were wrong.

    Works inside a transaction; ``balance`` counts what was removed.
    """
    wrong, waiting = [], 0
    for row in connection.execute(f"SELECT {SEALED}, seal FROM events"):  # noqa: S608 - names of ours, values are bound  # nosec B608
        waiting += row[8] == WAITING
        if seal(row[:_SEALED_COUNT]) != row[_SEALED_COUNT]:
            wrong.append(row)
    if connection.execute("SELECT count(*) FROM events INDEXED BY pending WHERE state = 0").fetchone()[0] != waiting:
        connection.execute("REINDEX")
    for row in wrong:
        mended = _with_right_state(row) or _row_of_backup(path, row[0])
        connection.execute("DELETE FROM events WHERE n = ?", (row[0],))
        if mended is not None and _is_new(connection, mended):
            connection.execute(INSERT, mended)
    if wrong:
        _log.error("%s: %d rows were damaged", path, len(wrong))
        connection.execute("DELETE FROM bodies WHERE n NOT IN (SELECT n FROM events WHERE state < 2)")
    return len(wrong)


def check_bodies(connection: sqlite3.Connection, path: Path) -> None:
    """Mends bodies whose checksum is wrong from the backup beside ``path``, or removes their rows as lost."""
    wrong = [
        (n, body_sum)
        for n, body_sum, body in connection.execute(HELD_BODIES)
        if not isinstance(body, bytes) or zlib.crc32(body) != body_sum
    ]
    for n, body_sum in wrong:
        mend_body(connection, path, n, body_sum)


def mend_body(connection: sqlite3.Connection, path: Path, n: int, body_sum: int) -> bytes | None:
    """The right body of a row whose own is damaged, put in its place; without one the row is counted as lost."""
    body = body_of_backup(path, n, body_sum)
    if body is None:
        _log.error("%s: the body of an alarm is damaged, and the backup has none; the alarm is lost", path)
        rows.lose(connection, n)
    else:
        connection.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (n, body))
    return body


def body_of_backup(path: Path, n: int, body_sum: int) -> bytes | None:
    """The body of an alarm as the backup has it, if it is the right one."""
    try:
        with closing(_open_backup(path)) as backup:
            return _sound_body(backup, n, body_sum, VERSION)
    except sqlite3.Error:
        return None


def _with_right_state(row: Row) -> Row | None:
    """The row as it was, if only its state was spoiled."""
    for state in (WAITING, DEAD, DELIVERED, DROPPED):
        sealed = (*row[:8], state)
        if seal(sealed) == row[_SEALED_COUNT]:
            return (*sealed, row[_SEALED_COUNT], 1, 0, 0, "")
    return None


def _row_of_backup(path: Path, n: int) -> Row | None:
    try:
        with closing(_open_backup(path)) as backup:
            row: Row | None = backup.execute(f"SELECT {COLUMNS} FROM events WHERE n = ?", (n,)).fetchone()  # noqa: S608 - names of ours, values are bound  # nosec B608
    except sqlite3.Error:
        return None
    return row if row is not None and seal(row[:_SEALED_COUNT]) == row[_SEALED_COUNT] else None


def _open_backup(path: Path) -> sqlite3.Connection:
    uri = path.with_name(f"{path.name}.backup").absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
    connection.text_factory = _tolerant_text
    return connection


def _is_new(connection: sqlite3.Connection, row: Row) -> bool:
    query = "SELECT 1 FROM events WHERE id = ? OR event_key = ?"
    return connection.execute(query, (row[1], row[2])).fetchone() is None


def _tolerant_text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _version_of(source: sqlite3.Connection) -> int:
    """The version of the rows in ``source``; a damaged header does not matter, for the columns tell."""
    try:
        source.execute("SELECT outcome FROM events LIMIT 1").fetchone()
        return 1
    except sqlite3.Error as e:
        return VERSION if "no such column" in str(e) else _noted_version(source)


def _noted_version(source: sqlite3.Connection) -> int:
    try:
        return 1 if source.execute("PRAGMA user_version").fetchone()[0] == 1 else VERSION
    except sqlite3.Error:
        return VERSION


def _sound_rows(source: sqlite3.Connection, version: int) -> Iterator[Row]:
    names = COLUMNS_1 if version == 1 else COLUMNS
    found = readable_rows(source, "events", tuple(names.split(", ")))
    if version > 1:
        yield from (row for row in found if seal(row[:_SEALED_COUNT]) == row[_SEALED_COUNT])
        return
    for row in found:
        try:
            yield from from_version_1([row])
        except (TypeError, ValueError):
            continue


def _take(source: sqlite3.Connection, target: sqlite3.Connection, row: Row, version: int) -> bool:
    n, event_id, key, state, size = row[0], row[1], row[2], row[8], row[6]
    same = target.execute("SELECT state FROM events WHERE id = ?", (event_id,)).fetchone()
    if same is not None:
        if state >= DELIVERED > same[0]:
            rows.move(target, event_id, state)
        return False
    if key is not None and target.execute("SELECT 1 FROM events WHERE event_key = ?", (key,)).fetchone():
        return False
    body = None
    if state < DELIVERED:
        body = _sound_body(source, n, row[7], version)
        if body is None or len(body) != size:
            return False
    if target.execute("SELECT 1 FROM events WHERE n = ?", (n,)).fetchone():
        n = target.execute("SELECT max(n) FROM events").fetchone()[0] + 1
        sealed = (n, *row[1:_SEALED_COUNT])
        row = (*sealed, seal(sealed), *row[_SEALED_COUNT + 1 :])
    target.execute(INSERT, row)
    if body is not None:
        target.execute("INSERT OR REPLACE INTO bodies VALUES (?, ?)", (n, body))
    return True


def _sound_body(source: sqlite3.Connection, n: int, body_sum: int, version: int) -> bytes | None:
    table = "events" if version == 1 else "bodies"
    try:
        row = source.execute(f"SELECT body FROM {table} WHERE n = ?", (n,)).fetchone()  # noqa: S608 - names of ours, values are bound  # nosec B608
    except sqlite3.Error:
        return None
    if row is None or not isinstance(row[0], bytes) or zlib.crc32(row[0]) != body_sum:
        return None
    return row[0]


def _take_counters(source: sqlite3.Connection, target: sqlite3.Connection, version: int) -> None:
    try:
        if version == 1:
            found = [(*row, None) for row in source.execute("SELECT name, value FROM counters").fetchall()]
        else:
            found = list(readable_rows(source, "counters", ("name", "value", "seal")))
        service = clocks.read_service(source) if version > 1 else None
    except sqlite3.Error:
        found, service = [], None
    for name, value, mark in found:
        if isinstance(name, str) and isinstance(value, int) and mark in (counter_seal(name, value), None):
            rows.set_counter(target, name, max(value, rows.value_of(target, name)))
    if service is not None:
        clocks.write_service(target, max(service, clocks.read_service(target) or 0.0))


def _sound_counters(found: list[Row]) -> Counters:
    return rows.counters_from({name: value for name, value, mark in found if mark == counter_seal(name, value)})


def _per_algorithm(connection: sqlite3.Connection, best: Counters) -> dict[str, int]:
    there = connection.execute("SELECT algorithm, count(*) FROM events GROUP BY algorithm").fetchall()
    both = highest(best, Counters(per_algorithm=tuple(there)))
    return {f"{PER_ALGORITHM}{position}": value for position, value in both.per_algorithm}
