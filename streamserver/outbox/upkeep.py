"""What an outbox's file needs besides its alarms: backups, unused space given back, an eye on other processes."""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from streamserver.core.errors import StoreDamagedError, StoreError
from streamserver.durable import back_up, backup_due
from streamserver.outbox.schema import SCHEMA

_log = logging.getLogger(__name__)

MAX_BACKUP_BYTES = 64_000_000
"""A larger file is not copied: an outage with a backlog of a gigabyte would be written once an hour for nothing."""

_LOOK_EVERY_S = 10.0
_FREE_PAGES = 500
"""Unused pages (of 4 kB) that the file may keep."""

_PAGES_A_TIME = 4000
_END_S = 1.0
_LOG_EVERY_S = 60.0

_one_at_a_time = threading.Lock()


class Upkeep:
    """Belongs to one ``Outbox``; its methods that take a connection run under the outbox's lock.

    Args:
        path: the file.
        backup_interval_s: seconds between two backups.
        clock: monotonic, in seconds.
    """

    def __init__(self, path: Path, backup_interval_s: float, clock: Callable[[], float]) -> None:
        self._path = path
        self._interval_s = backup_interval_s
        self._clock = clock
        self._next_look = clock() + min(_LOOK_EVERY_S, backup_interval_s)
        self._next_shrink = -math.inf
        self._thread: threading.Thread | None = None
        self._suspicious = threading.Event()
        self._versions: tuple[sqlite3.Connection, int] | None = None

    def changed_by_others(self, connection: sqlite3.Connection) -> bool:
        """True when another connection has written since the last call."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        before, self._versions = self._versions, (connection, version)
        return before is not None and before[0] is connection and before[1] != version

    def opened(self, connection: sqlite3.Connection) -> None:
        """A connection was just opened: what others did before is known."""
        self.changed_by_others(connection)

    def suspects_damage(self) -> bool:
        """True once after a backup could not be made because rows are damaged."""
        suspects = self._suspicious.is_set()
        self._suspicious.clear()
        return suspects

    def give_back_space(self, connection: sqlite3.Connection) -> None:
        """Shortens the file once enough of it is unused. Only ``executescript`` runs this pragma to its end."""
        if self._clock() < self._next_shrink:
            return
        if connection.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
            try:
                connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_A_TIME})")
            except sqlite3.OperationalError as e:
                _log.debug("%s: no space was given back: %s", self._path, e)  # a full disk, or a busy one
                self._next_shrink = self._clock() + _LOOK_EVERY_S

    def back_up_when_due(self) -> None:
        """Starts a backup in a thread of its own when one is due; never raises."""
        now = self._clock()
        if now < self._next_look or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_look = now + min(_LOOK_EVERY_S, self._interval_s)
        try:
            if self._path.stat().st_size > MAX_BACKUP_BYTES or not backup_due(self._path, self._interval_s):
                return
        except OSError:
            return
        self._thread = threading.Thread(target=self._back_up, name="outbox-backup", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Waits a little for a backup that is being made."""
        if self._thread is not None:
            self._thread.join(_END_S)

    def _back_up(self) -> None:
        with _one_at_a_time:
            try:
                back_up(self._path, check=SCHEMA)
            except StoreDamagedError as e:
                _log.error("no backup was made: %s", e)
                self._suspicious.set()
            except StoreError as e:
                _log.warning("no backup was made: %s", e)


class DropLog:
    """Says that alarms were dropped, once a minute at most.

    Args:
        path: the file, for the message.
        clock: monotonic, in seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._number = self._total = 0
        self._why = ""
        self._next = -math.inf

    def note(self, number: int, total: int, why: str) -> None:
        """``number`` were dropped now, and ``total`` in all."""
        if number:
            self._number += number
            self._total, self._why = total, why
            self.say()

    def say(self) -> None:
        """Logs what was not logged yet."""
        if self._number and self._clock() >= self._next:
            self._next = self._clock() + _LOG_EVERY_S
            text = "%s: %d alarms were dropped (%d in all): %s"
            _log.error(text, self._path, self._number, self._total, self._why)
            self._number = 0
