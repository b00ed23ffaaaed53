"""The supervisor's dealings with the store: what changed is read, states of a round go in one commit.

Tasks at rest (ended, and nothing of them waits) are in nobody's memory: they are walked along, a few a round.

Trouble with the store stops nothing that runs: it is logged once in a while and tried again. Only a damaged store is
raised, for it is mended when nobody has it open (``StoreDamagedError``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from streamserver.core.errors import StoreDamagedError, StreamServerError
from streamserver.core.states import TaskState
from streamserver.store import StateChange, TaskRecord, TaskStore
from streamserver.store.records import Glance
from streamserver.supervise.group import Group

RESCAN_S = 5.0
"""It is looked what is at work this often even when the counter stands still."""

_RETRY_S = 1.0
"""Pause after the store could not be read or written."""

_COMPLAINT_INTERVAL_S = 30.0
"""The store's trouble is logged this often."""

Result = TypeVar("Result")

_log = logging.getLogger(__name__)


class Records:
    """See the module; used by the supervisor's loop alone. Times are monotonic seconds.

    Args:
        store: the tasks.
        backup_interval_s: time between two backups.

    Raises:
        StoreDamagedError: from every method.
    """

    def __init__(self, store: TaskStore, *, backup_interval_s: float) -> None:
        self._store = store
        self._backup_interval_s = backup_interval_s
        self._version: int | None = None
        self._rescan_at = 0.0
        self._read_at = self._write_at = 0.0
        self._complain_at = 0.0
        self.first_keys: frozenset[str] = frozenset()
        """The keys of all rows at the first reading."""

    def read(self, now: float, known: Mapping[str, Group]) -> list[TaskRecord] | None:
        """The rows at work that ``known`` has not got as they are; ``None`` when they cannot be read now.

        The first time, those of tasks that failed come with them.
        """
        if now < self._read_at:
            return None
        return self._asked(lambda: self._read(now, known), now)

    def _read(self, now: float, known: Mapping[str, Group]) -> list[TaskRecord]:
        version = self._store.version()
        if now < self._rescan_at and self._version == version:
            return []
        at_work = self._store.at_work()
        records = self._store.records([seen.key for seen in at_work if not _is_known(seen, known.get(seen.key))])
        if self._version is None:
            self.first_keys = self._store.keys()
            records += self._store.page(state=TaskState.FAILED).records
        self._version, self._rescan_at = version, now + RESCAN_S
        return records

    def at_rest(self, *, limit: int, after: str, now: float) -> Sequence[str] | None:
        """As ``TaskStore.at_rest``; ``None`` when it cannot be read now."""
        return None if now < self._read_at else self._asked(lambda: self._store.at_rest(limit=limit, after=after), now)

    def record(self, key: str, now: float) -> TaskRecord | None:
        """The row of this key; ``None`` when it is gone, or cannot be read now."""
        found = self._asked(lambda: self._store.records([key]), now)
        return found[0] if found else None

    def _asked(self, question: Callable[[], Result], now: float) -> Result | None:
        try:
            return question()
        except StoreDamagedError:
            raise
        except StreamServerError as e:
            self._complain(f"the tasks cannot be read, what runs goes on: {e}", now)
            self._read_at = now + _RETRY_S
            return None

    def save(self, groups: Iterable[Group], now: float) -> None:
        """Writes the states that the store does not know yet, in one commit; what cannot be written waits a little."""
        if now < self._write_at:
            return
        unsaved = [group for group in groups if not group.saved]
        if not unsaved:
            return
        changes = [
            StateChange(key=g.record.key, state=g.state, reason=g.reason, restarts=g.restarts, port=g.port)
            for g in unsaved
        ]
        try:
            self._store.set_states(changes)
        except StoreDamagedError:
            raise
        except StreamServerError as e:
            self._complain(f"states of tasks cannot be written, they show old ones: {e}", now)
            self._write_at = now + _RETRY_S
            return
        for group in unsaved:
            group.saved = True

    def purge(self, group: Group, now: float) -> bool:
        """Forgets a deleted row; ``False`` when it cannot be done now."""
        try:
            self._store.purge(group.record.key)
        except StoreDamagedError:
            raise
        except StreamServerError as e:
            self._complain(f"{group.name}: the deleted row stays for now: {e}", now)
            return False
        return True

    def tend(self, now: float, *, short_of_space: bool) -> None:
        """Makes a backup when one is due, or room in the file when the disk has none; cheap otherwise."""
        try:
            if short_of_space:
                self._store.settle()
            else:
                self._store.back_up_if_due(self._backup_interval_s)
        except StoreDamagedError:
            raise
        except StreamServerError as e:
            self._complain(f"the task database cannot be looked after: {e}", now)

    def _complain(self, message: str, now: float) -> None:
        """Logs trouble that comes in every round once in a while."""
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAINT_INTERVAL_S
            _log.error("%s", message)


def _is_known(seen: Glance, group: Group | None) -> bool:
    """A row's version cannot go back, but for one that was mended: its group goes on with what it has."""
    return group is not None and (group.record.desired, group.record.revision) == (seen.desired, seen.revision)
