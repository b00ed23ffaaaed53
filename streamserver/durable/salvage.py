"""Reads what can still be read of a damaged file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

Salvage = Callable[[sqlite3.Connection, sqlite3.Connection], int]
"""Copies what is readable and whose checksums are right from the first into the second, skips what is there already,
and returns how many rows it took."""

_MAX_PROBES = 4000
"""Queries that a table's broken part is worth."""

_MAX_ROWID = 2**63 - 1


def readable_rows(connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Reads a table as far as it goes: forward, backward, then the gap between by ranges. Never raises.

    Rows come once each, in no order. A table without rowids is read forward only. A column that the table has not
    means no rows.
    """
    names = ", ".join(f"[{name}]" for name in columns)
    reader = _Reader(connection, f"SELECT rowid, {names} FROM [{table}] NOT INDEXED")  # noqa: S608 - names of ours, values are bound  # nosec B608
    yield from reader.forward(-_MAX_ROWID - 1, _MAX_ROWID)
    if reader.whole:
        return
    if not reader.has_rowids():
        yield from _plain(connection, f"SELECT {names} FROM [{table}]")  # noqa: S608 - names of ours, values are bound  # nosec B608
        return
    low = reader.last if reader.last is not None else -_MAX_ROWID - 1
    yield from reader.backward(low)
    high = reader.first_from_behind if reader.first_from_behind is not None else low + 1_000_000
    yield from _between(reader, low, high)


class _Reader:
    """Runs queries over ranges of rowids and remembers how far they came."""

    def __init__(self, connection: sqlite3.Connection, query: str) -> None:
        self._connection = connection
        self._query = query
        self._error = ""
        self.whole = False
        self.last: int | None = None
        self.first_from_behind: int | None = None

    def has_rowids(self) -> bool:
        """False when the query failed because the table has none."""
        return "no such column: rowid" not in self._error

    def forward(self, low: int, high: int) -> Iterator[tuple[Any, ...]]:
        """Rows from ``low`` to ``high``, both included; ``whole`` says whether all were read, ``last`` how far."""
        self.whole, self.last = False, None
        query = f"{self._query} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        try:
            for row in self._connection.execute(query, (low, high)):
                if not isinstance(row[0], int) or row[0] < low or (self.last is not None and row[0] <= self.last):
                    continue
                self.last = row[0]
                yield row[1:]
            self.whole = True
        except (sqlite3.Error, ValueError, OverflowError) as e:
            self._error = str(e)

    def backward(self, low: int) -> Iterator[tuple[Any, ...]]:
        """Rows above ``low``, the last first, until one cannot be read (``first_from_behind`` is the one before)."""
        query = f"{self._query} WHERE rowid > ? ORDER BY rowid DESC"
        with suppress(sqlite3.Error, ValueError, OverflowError):
            for row in self._connection.execute(query, (low,)):
                behind = self.first_from_behind
                if not isinstance(row[0], int) or row[0] <= low or (behind is not None and row[0] >= behind):
                    continue
                self.first_from_behind = row[0]
                yield row[1:]


def _between(reader: _Reader, low: int, high: int) -> Iterator[tuple[Any, ...]]:
    """Rows above ``low`` and below ``high``, by halving what cannot be read."""
    ranges = [(low + 1, high - 1)]
    for _ in range(_MAX_PROBES):
        if not ranges:
            return
        start, end = ranges.pop()
        if start > end:
            continue
        yield from reader.forward(start, end)
        if reader.whole:
            continue
        start = start if reader.last is None else reader.last + 1
        if start < end:
            middle = (start + end) // 2
            ranges += [(middle + 1, end), (start, middle)]


def _plain(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    with suppress(sqlite3.Error, ValueError, OverflowError):
        yield from connection.execute(query)
