"""The outbox: alarms that wait for a receiver, in one SQLite file, written before the frame is acknowledged."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

from streamserver.core import failpoints
from streamserver.core.errors import StoreError
from streamserver.core.ids import Uuid7Source
from streamserver.durable import settle
from streamserver.durable.disk import free_bytes
from streamserver.outbox import memories, mending, rows
from streamserver.outbox.clocks import ServiceClock, adopt_tries, boot_id
from streamserver.outbox.opening import Ownership, open_file
from streamserver.outbox.records import Counters, Limits, Memory, NewEvent, PendingEvent
from streamserver.outbox.schema import CLAIMED, DEAD, DELIVERED
from streamserver.outbox.shared import Owed, SharedFile
from streamserver.outbox.upkeep import DropLog, Upkeep

__all__ = ["Counters", "Limits", "NewEvent", "Outbox", "PendingEvent"]

_log = logging.getLogger(__name__)

_PRUNE_EVERY = 256
_EXPIRE_EVERY_S = 5.0
_CLOCK_EVERY_S = 60.0
_RETRY_STEP = 2000
_SHORT = 4
"""Below so many times ``Limits.min_free_bytes`` the file is kept such that marks need no more room."""

_CLAIMED_ROW = "id = ? AND state = 0 AND next_try = ?"


class Outbox:
    """Alarms of one task. Every change is on the disk before its method returns; thread-safe.

    One process at a time has a file (``Ownership``); others may read it and replay dead letters (``outbox.letters``).
    One that turns out to be damaged is mended on the way, and what cannot be mended is counted as lost.

    Args:
        path: the SQLite file; its folder must exist.
        limits: how much it keeps.
        backup_interval_s: seconds between two backups.
        known_events: alarms that were raised as far as others know; more than the file has means that some were lost.
        known: what else others know of the counters, for a file that is damaged altogether.
        clock: the monotonic clock of this boot, in seconds.
        wall: seconds since the epoch, for people.
        boot: tells this boot of the machine from others.

    Raises:
        StoreError: by every method, when the file cannot be read or written (disk full, no permission).
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits | None = None,
        backup_interval_s: float = 3600.0,
        known_events: int = 0,
        known: Counters | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        boot: str = "",
    ) -> None:
        self.path = path
        self._limits = limits or Limits()
        self._clock = clock
        self._wall = wall
        self._boot = boot or boot_id()
        known = known or Counters()
        self._known = replace(known, events=max(known.events, known_events))
        self._counters = Counters()
        self._out: set[str] = set()
        self._handed: deque[PendingEvent] = deque()
        self._hungry = self._added = 0
        self._owed: deque[Owed] = deque()
        self._next_expiry = -math.inf
        self._waits_since: float | None = None
        self._service = ServiceClock(clock)
        self._drops = DropLog(path, clock)
        self._new_id = Uuid7Source(clock_ns=self._wall_ns)
        self._upkeep = Upkeep(path, backup_interval_s, clock)
        self._file = SharedFile(
            path,
            opener=lambda damage: open_file(path, self._all_known, damage),
            adopt=self._adopt,
            seal=self._seal,
            committed=self._committed,
        )
        self._ownership = Ownership(path)
        try:
            self._file.read(lambda _connection: None)
        except BaseException:
            self._ownership.release()
            raise

    @property
    def counters(self) -> Counters:
        """The counters as of the last transaction."""
        return self._counters

    @property
    def oldest_age_s(self) -> float:
        """For how long the oldest alarm had waited, on the file's clock, at the last ``maintain``; 0 for none."""
        since = self._waits_since
        return 0.0 if since is None or not self._counters.pending else max(0.0, self._service() - since)

    def add(self, events: Sequence[NewEvent], memory: Memory | None = None) -> int:
        """Keeps ``events`` and returns how many were new: a key that is known already is left out.

        With a ``memory``, both are kept or neither is.
        """
        self._require_space()

        def work(connection: sqlite3.Connection) -> list[PendingEvent | None]:
            now = self._moment()
            new: list[PendingEvent | None] = []
            for event in events:
                new += self._insert(connection, event, now, wanted=self._hungry > len(new))
            dropped = rows.drop_excess(connection, self._limits.max_bytes)
            self._drops.note(dropped, rows.value_of(connection, "dropped"), "more wait than outbox_max_mb allows")
            self._added += len(events)
            if self._added >= _PRUNE_EVERY:
                self._added = 0
                rows.prune(connection, self._limits.keep_keys)
            if memory is not None:
                memories.remember(connection, memory)
            failpoints.hit("commit.before")
            return new

        added = self._file.write(work, self._hand_over)
        failpoints.hit("commit.after")
        return len(added)

    def remember(self, memory: Memory) -> None:
        """Keeps what an algorithm remembers, in the place of what it remembered before."""
        self.add((), memory)

    def recall(self, algorithm: int) -> Memory | None:
        """What the algorithm at this position of the task remembers; ``None`` for nothing."""
        return self._file.read(lambda connection: memories.recall(connection, algorithm))

    def claim(self, limit: int, *, early: bool = False) -> list[PendingEvent]:
        """At most ``limit`` alarms that are due, the longest due first; their attempt is counted on the disk already.

        They are not handed out again until ``delivered``, ``failed``, ``bury`` or ``unclaim`` says what became of them.

        Args:
            limit: how many.
            early: also before their next try.
        """
        self._pay()
        handed: list[PendingEvent] = []
        with suppress(IndexError):
            while len(handed) < limit:
                handed.append(self._handed.popleft())
        if handed:
            return handed
        if not self._file.read(lambda connection: self._find(connection, 1, early)):
            self._hungry = limit
            return []

        def work(connection: sqlite3.Connection) -> list[PendingEvent]:
            mend = lambda n, body_sum: mending.mend_body(connection, self.path, n, body_sum)  # noqa: E731
            return rows.claim(connection, self._find(connection, limit, early), mend)

        found = self._file.write(work, lambda events: self._out.update(event.id for event in events))
        self._hungry = limit - len(found)
        return found

    def delivered(self, ids: Iterable[str]) -> None:
        """A receiver has confirmed these alarms: their bodies go, ids and keys stay.

        When it cannot be written it is remembered, and written with one of the next changes.
        """
        self._settle("delivered", list(ids), lambda connection, event_id: rows.move(connection, event_id, DELIVERED))

    def failed(self, event_id: str, delay_s: float, error: str, *, refused: bool = False) -> None:
        """No receiver took the alarm; it is due again in ``delay_s`` seconds.

        Args:
            event_id: which.
            delay_s: seconds.
            error: why, in words.
            refused: every receiver refused it for its own sake.
        """
        update = f"UPDATE events SET next_try = ?, error = ?, refusals = refusals + ? WHERE {_CLAIMED_ROW}"  # noqa: S608 - names of ours, values are bound  # nosec B608
        values = (self._clock() + delay_s, error, int(refused))
        self._settle("failed", [event_id], lambda connection, key: connection.execute(update, (*values, key, CLAIMED)))

    def bury(self, event_id: str, error: str) -> None:
        """Makes the alarm a dead letter, which waits for a replay."""
        self._settle("bury", [event_id], lambda connection, key: rows.move(connection, key, DEAD, error=error))

    def archived(self, event_id: str) -> None:
        """The local copy of the alarm has been written."""
        update = "UPDATE events SET archived = 1 WHERE id = ?"
        self._file.write(lambda connection: connection.execute(update, (event_id,)).rowcount)

    def unclaim(self, ids: Iterable[str]) -> None:
        """Gives alarms back that were claimed and not tried; they are due at once."""
        now = self._clock()
        update = f"UPDATE events SET next_try = ?, attempts = max(attempts - 1, 0) WHERE {_CLAIMED_ROW}"  # noqa: S608 - names of ours, values are bound  # nosec B608
        self._settle("unclaim", list(ids), lambda connection, key: connection.execute(update, (now, key, CLAIMED)))

    def due_in(self) -> float | None:
        """Seconds until an alarm is due, 0 for now; ``None`` when none waits but those that are under way."""
        if self._handed:
            return 0.0
        query = "SELECT min(next_try) FROM events INDEXED BY pending WHERE state = 0"
        value = self._file.read(lambda connection: connection.execute(query).fetchone()[0])
        return None if value is None or value == CLAIMED else max(0.0, value - self._clock())

    def retry_now(self) -> None:
        """Makes everything that waits due at once."""
        now = self._clock()
        update = (
            "UPDATE events SET next_try = ? WHERE n IN (SELECT n FROM events INDEXED BY pending"
            " WHERE state = 0 AND next_try > ? AND next_try < ? LIMIT ?)"
        )
        values = (now, now, CLAIMED, _RETRY_STEP)
        if self._file.read(lambda connection: self._waits_after(connection, now)):
            while self._file.write(lambda connection: connection.execute(update, values).rowcount) == _RETRY_STEP:
                pass

    def maintain(self) -> bool:
        """Upkeep, called about twice a second: age, space, backup. True when another process changed the file.

        Raises:
            StoreError: the file cannot be read or written now.
        """
        self._pay()
        changed = self._file.read(self._upkeep.changed_by_others)
        if changed:
            self._counters = self._file.read(rows.read_counters)
        self._waits_since = self._file.read(rows.oldest_waiting) if self._counters.pending else None
        now = self._clock()
        if now >= self._next_expiry:
            self._next_expiry = now + _EXPIRE_EVERY_S
            self._expire()
            self._drops.say()
        if self._upkeep.suspects_damage():
            self._file.write(self._check)
        if self._counters.pending + self._counters.dead and now - self._service.written_at >= _CLOCK_EVERY_S:
            self._file.write(lambda _connection: None)
        self._file.read(self._upkeep.give_back_space)
        if self._is_short_of_space():
            self._file.read(settle)
        else:
            self._upkeep.back_up_when_due()
        return changed

    def close(self) -> None:
        """Ends the use of the file; later calls raise ``StoreError``."""
        try:
            self._pay()
            if self._handed:
                self.unclaim([event.id for event in self._handed])
            self._file.read(self._upkeep.give_back_space)
        except StoreError as e:
            _log.warning("%s", e)
        self._upkeep.close()
        self._file.close()
        self._ownership.release()

    def _is_short_of_space(self) -> bool:
        try:
            return free_bytes(self.path.parent) < _SHORT * self._limits.min_free_bytes
        except OSError:
            return False

    def _require_space(self) -> None:
        mark = self._limits.min_free_bytes
        if mark <= 0:
            return
        try:
            free = free_bytes(self.path.parent)
        except OSError as e:
            raise StoreError(f"{self.path}: {e}", cure="check the state folder") from e
        if free < mark:
            raise StoreError(
                f"{self.path}: {free / 1e6:.0f} MB are free on its disk, alarms are taken above {mark / 1e6:.0f} MB",
                cure="make room on the disk; what waits is delivered meanwhile",
            )

    def _insert(
        self, connection: sqlite3.Connection, event: NewEvent, now: rows.Moment, *, wanted: bool
    ) -> list[PendingEvent | None]:
        """Nothing for a known key; else what is handed to the one who waits for it: its claim rides on this commit."""
        event_id = str(self._new_id())
        if not rows.insert(connection, event_id, event, now, claimed=wanted):
            return []
        return [PendingEvent(id=event_id, body=event.body, created=now.wall, attempt=1) if wanted else None]

    def _hand_over(self, added: list[PendingEvent | None]) -> None:
        for event in added:
            if event is not None:
                self._out.add(event.id)
                self._handed.append(event)
                self._hungry -= 1

    def _find(self, connection: sqlite3.Connection, limit: int, early: bool) -> list[int]:
        query = (
            "SELECT n FROM events INDEXED BY pending WHERE state = 0 AND next_try <= ? AND next_try < ?"
            " ORDER BY next_try, n LIMIT ?"
        )
        found = connection.execute(query, (CLAIMED if early else self._clock(), CLAIMED, limit))
        return [row[0] for row in found.fetchall()]

    def _waits_after(self, connection: sqlite3.Connection, now: float) -> bool:
        query = "SELECT 1 FROM events INDEXED BY pending WHERE state = 0 AND next_try > ? AND next_try < ? LIMIT 1"
        return connection.execute(query, (now, CLAIMED)).fetchone() is not None

    def _settle(self, what: str, ids: Sequence[str], step: Callable[[sqlite3.Connection, str], object]) -> None:
        """Writes what became of alarms; twice the same is harmless, for callers try again what failed."""

        def work(connection: sqlite3.Connection) -> None:
            for event_id in ids:
                step(connection, event_id)

        if not any(owed.what == what and owed.ids == ids for owed in self._owed.copy()):
            self._owed.append(Owed(what, ids, work))
        self._pay()

    def _pay(self) -> None:
        """Writes what became of alarms; what cannot be written stays here, and its rows stay claimed."""
        while self._owed:
            try:
                owed = self._owed.popleft()
            except IndexError:
                return
            try:
                self._file.write(owed.work, partial(self._forget_claims, owed.ids))
            except BaseException:
                self._owed.appendleft(owed)
                raise

    def _forget_claims(self, ids: Sequence[str], _: None) -> None:
        self._out.difference_update(ids)

    def _expire(self) -> None:
        def work(connection: sqlite3.Connection) -> int:
            return rows.drop_older(connection, self._service() - self._limits.max_age_s)

        born = self._file.read(rows.oldest_held)
        if born is not None and born < self._service() - self._limits.max_age_s:
            while dropped := self._file.write(work):
                self._drops.note(dropped, self._counters.dropped, "they waited for longer than retention_h")

    def _check(self, connection: sqlite3.Connection) -> None:
        mending.check_rows(connection, self.path)
        mending.check_bodies(connection, self.path)
        memories.check(connection, self.path)
        mending.balance(connection, self._counters)

    def _moment(self) -> rows.Moment:
        return rows.Moment(self._wall(), self._service(), self._clock())

    def _wall_ns(self) -> int:
        return int(self._wall() * 1e9)

    def _all_known(self) -> Counters:
        """What is known of the counters without the file."""
        return mending.highest(self._counters, self._known)

    def _adopt(self, connection: sqlite3.Connection) -> None:
        """A file that was just opened: its clocks, its claims, its ids, and rows that nobody vouches for."""
        self._upkeep.opened(connection)
        if mending.check_rows(connection, self.path) or not mending.are_counters_sound(connection):
            mending.balance(connection, self._all_known())
        memories.check(connection, self.path)
        adopt_tries(connection, self._boot, self._clock())
        for event_id in self._out:
            connection.execute("UPDATE events SET next_try = ? WHERE id = ? AND state = 0", (CLAIMED, event_id))
        self._service.adopt(connection)
        self._waits_since = rows.oldest_waiting(connection)
        newest = connection.execute("SELECT max(id) FROM events").fetchone()[0]
        made = connection.execute("SELECT 1 FROM events WHERE id > ?", (str(self._new_id()),)).fetchone()
        if made is not None:
            self._new_id = Uuid7Source(clock_ns=self._wall_ns, after=UUID(newest))

    def _seal(self, connection: sqlite3.Connection) -> Counters:
        self._service.write(connection)
        return rows.read_counters(connection)

    def _committed(self, counters: Counters) -> None:
        self._counters = counters
        self._service.committed()
