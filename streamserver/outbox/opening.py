"""Opens the file of an outbox and has it mended where it is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from streamserver.durable import mending as durable_mending
from streamserver.durable import open_database
from streamserver.durable.files import Hold
from streamserver.outbox import mending
from streamserver.outbox.records import Counters
from streamserver.outbox.rows import read_counters
from streamserver.outbox.schema import SCHEMA


def open_file(path: Path, known: Callable[[], Counters], damage: str) -> sqlite3.Connection:
    """A connection to the outbox's file, as it should be.

    Args:
        path: the file.
        known: the counters as far as others know them.
        damage: why the file has to be mended, although it may look well; empty to find out.

    Raises:
        StoreError: it cannot be opened.
    """

    def complete(target: sqlite3.Connection) -> tuple[int, int]:
        before = read_counters(target).lost
        mending.balance(target, known())
        return 0, read_counters(target).lost - before

    schema = replace(SCHEMA, committed=lambda _path: known().events)
    opened = open_database(path, schema, salvage=mending.salvage, complete=complete)
    if damage and opened.damage is None:
        opened.connection.close()
        with Hold(path, exclusive=True):
            durable_mending.mend(path, durable_mending.Plan(schema, mending.salvage, complete), damage)
        opened = open_database(path, schema, salvage=mending.salvage, complete=complete)
    opened.connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return opened.connection
