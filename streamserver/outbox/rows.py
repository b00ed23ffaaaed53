"""What one transaction does to the rows of an outbox; every function works inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from streamserver.outbox.records import LIVE_KEY, PER_ALGORITHM, Counters, NewEvent, PendingEvent
from streamserver.outbox.schema import CLAIMED, DEAD, DELIVERED, DROPPED, INSERT, SEALED, WAITING, counter_seal, seal

_PLAIN = ("events", "delivered", "dropped", "expired", "dead", "lost", "pending_bytes")

_KEYLESS_KEPT = 10_000
"""Settled rows without a lasting key only tell which alarms of an old backup are delivered already."""

_DROP_STEP = 200
_MANY = 1_000_000

_WAITING_ROW = (
    "SELECT id, created, attempts, refusals, archived, body_sum, body FROM events LEFT JOIN bodies USING (n)"
    " WHERE n = ? AND state = 0"
)

Mend = Callable[[int, int], bytes | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens: wall clock (epoch seconds), the file's own clock, and the clock of next tries."""

    wall: float
    service: float
    monotonic: float


def insert(connection: sqlite3.Connection, event_id: str, event: NewEvent, now: Moment, *, claimed: bool) -> bool:
    """Adds an alarm, as its first attempt when it is ``claimed``; False when its key is known."""
    if event.key is not None:
        known = connection.execute("SELECT 1 FROM events WHERE event_key = ?", (event.key,)).fetchone()
        if known is not None:
            return False
    n = (connection.execute("SELECT max(n) FROM events").fetchone()[0] or 0) + 1
    size, body_sum = len(event.body), zlib.crc32(event.body)
    sealed = (n, event_id, event.key, event.algorithm, float(now.wall), float(now.service), size, body_sum, WAITING)
    connection.execute(INSERT, (*sealed, seal(sealed), int(claimed), 0, 0, ""))
    next_try = CLAIMED if claimed else now.monotonic
    connection.execute("UPDATE events SET next_try = ? WHERE n = ?", (next_try, n))
    connection.execute("INSERT INTO bodies VALUES (?, ?)", (n, event.body))
    count(connection, "events", 1)
    count(connection, f"{PER_ALGORITHM}{event.algorithm}", 1)
    count(connection, "pending_bytes", size)
    return True


def move(connection: sqlite3.Connection, event_id: str, state: int, *, error: str | None = None) -> bool:
    """Gives an alarm that has a body another state; its counters follow. False when there is none such."""
    row = connection.execute(f"SELECT {SEALED} FROM events WHERE id = ? AND state < 2", (event_id,)).fetchone()  # noqa: S608 - names of ours, values are bound  # nosec B608
    if row is None or row[8] == state:
        return False
    sealed = (*row[:8], state)
    connection.execute("UPDATE events SET state = ?, seal = ?, next_try = 0 WHERE n = ?", (state, seal(sealed), row[0]))
    if error is not None:
        connection.execute("UPDATE events SET error = ? WHERE n = ?", (error, row[0]))
    count(connection, "dead", (state == DEAD) - (row[8] == DEAD))
    if state >= DELIVERED:
        count(connection, "delivered" if state == DELIVERED else "dropped", 1)
        _forget_body(connection, row[0], row[6])
    return True


def lose(connection: sqlite3.Connection, n: int) -> None:
    """Takes a row away that can neither be used nor mended, and counts its alarm as lost."""
    state, size = connection.execute("SELECT state, size FROM events WHERE n = ?", (n,)).fetchone()
    connection.execute("DELETE FROM events WHERE n = ?", (n,))
    _forget_body(connection, n, size)
    count(connection, "dead", -(state == DEAD))
    count(connection, "lost", 1)


def drop_excess(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Keeps the bodies under the limit; the newest alarm, and those that are under way, stay. Returns how many went."""
    excess = value_of(connection, "pending_bytes") - max_bytes
    dropped = 0
    while excess > 0:
        oldest = connection.execute(
            "SELECT id, size FROM events INDEXED BY held WHERE state < 2 AND next_try < ?"
            " AND n < (SELECT max(n) FROM events) ORDER BY n LIMIT ?",
            (CLAIMED, _DROP_STEP),
        ).fetchall()
        if not oldest:
            break
        for event_id, size in oldest:
            if excess <= 0:
                break
            dropped += move(connection, event_id, DROPPED)
            excess -= size
    return dropped


def drop_older(connection: sqlite3.Connection, born_before: float) -> int:
    """Gives up some of the alarms that are too old; returns how many, 0 when none is left."""
    rows = connection.execute(
        "SELECT id FROM events INDEXED BY held WHERE state < 2 AND next_try < ? AND born < ? ORDER BY n LIMIT ?",
        (CLAIMED, born_before, _DROP_STEP),
    ).fetchall()
    dropped = sum(move(connection, row[0], DROPPED) for row in rows)
    count(connection, "expired", dropped)
    return dropped


def oldest_held(connection: sqlite3.Connection) -> float | None:
    """When the oldest alarm with a body was raised, on the file's own clock; ``None`` when there is none."""
    query = "SELECT min(born) FROM (SELECT born FROM events INDEXED BY held WHERE state < 2 ORDER BY n LIMIT 100)"
    born: float | None = connection.execute(query).fetchone()[0]
    return born


def oldest_waiting(connection: sqlite3.Connection) -> float | None:
    """As ``oldest_held``, of those that wait for a receiver; looks at no more than 1000 dead letters before one."""
    query = (
        "SELECT born FROM (SELECT n, born, state FROM events INDEXED BY held WHERE state < 2 ORDER BY n LIMIT 1000)"
        " WHERE state = 0 ORDER BY n LIMIT 1"
    )
    row = connection.execute(query).fetchone()
    return float(row[0]) if row is not None else None


def prune(connection: sqlite3.Connection, keep_keys: int) -> None:
    """Forgets the oldest settled rows."""
    newest = connection.execute("SELECT max(n) FROM events").fetchone()[0] or 0
    keyless = min(keep_keys, _KEYLESS_KEPT)
    connection.execute(
        "DELETE FROM events WHERE n <= ? AND state >= 2 AND (event_key IS NULL OR event_key GLOB ? OR n <= ?)",
        (newest - keyless, f"{LIVE_KEY}*", newest - keep_keys),
    )


def claim(connection: sqlite3.Connection, numbers: Iterable[int], mend: Mend) -> list[PendingEvent]:
    """Counts an attempt of each of these waiting alarms and hands them out.

    Args:
        connection: inside a transaction.
        numbers: their ``n``.
        mend: called with ``n`` and the right checksum where a body is damaged; gives the body, or removes the row.
    """
    claimed = []
    for n in numbers:
        row = connection.execute(_WAITING_ROW, (n,)).fetchone()
        if row is None:
            continue
        event_id, created, attempts, refusals, archived, body_sum, body = row
        attempts, refusals = whole(attempts), whole(refusals)
        update = "UPDATE events SET attempts = ?, next_try = ? WHERE n = ?"
        connection.execute(update, (attempts + 1, CLAIMED, n))
        if not isinstance(body, bytes) or zlib.crc32(body) != body_sum:
            body = mend(n, body_sum)
        if body is not None:
            found = PendingEvent(
                id=event_id,
                body=body,
                created=created,
                attempt=attempts + 1,
                refusals=refusals,
                archived=bool(archived),
            )
            claimed.append(found)
    return claimed


def whole(value: object) -> int:
    """A number that no checksum covers; a spoiled one must not stop the delivery."""
    return value if isinstance(value, int) and 0 <= value < _MANY else 0


def count(connection: sqlite3.Connection, name: str, step: int) -> None:
    """Adds ``step`` to a counter."""
    if step:
        set_counter(connection, name, value_of(connection, name) + step)


def set_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Gives a counter its value."""
    connection.execute(
        "INSERT INTO counters VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, seal = excluded.seal",
        (name, value, counter_seal(name, value)),
    )


def value_of(connection: sqlite3.Connection, name: str) -> int:
    """A counter's value; 0 for one that was never counted."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row is not None else 0


def read_counters(connection: sqlite3.Connection) -> Counters:
    """All counters."""
    return counters_from(dict(connection.execute("SELECT name, value FROM counters").fetchall()))


def counters_from(values: dict[str, int]) -> Counters:
    """Counters from their names and values; unknown names are left out."""
    per_algorithm = {
        int(name.removeprefix(PER_ALGORITHM)): value
        for name, value in values.items()
        if name.startswith(PER_ALGORITHM) and name.removeprefix(PER_ALGORITHM).isdigit()
    }
    plain = {name: values.get(name, 0) for name in _PLAIN}
    return Counters(**plain, per_algorithm=tuple(sorted(per_algorithm.items())))


def fact(connection: sqlite3.Connection, name: str) -> Any:
    """What the file remembers under ``name``, or ``None``."""
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row[0] if row is not None else None


def set_fact(connection: sqlite3.Connection, name: str, value: str | float) -> None:
    """Lets the file remember ``value``."""
    connection.execute(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )


def _forget_body(connection: sqlite3.Connection, n: int, size: int) -> None:
    connection.execute("DELETE FROM bodies WHERE n = ?", (n,))
    count(connection, "pending_bytes", -size)
