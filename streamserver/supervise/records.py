"""The supervisor's dealings with the store: rows are read when they changed, states of a round go in one commit.

Trouble with the store stops nothing that runs: it is logged once in a while and tried again. Only a damaged store is
raised, for it is mended when nobody has it open (``StoreDamagedError``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from streamserver.core.errors import StoreDamagedError, StreamServerError
from streamserver.store import StateChange, TaskRecord, TaskStore
from streamserver.supervise.group import Group

RESCAN_S = 5.0
"""The rows are read this often even when the counter stands still."""

_RETRY_S = 1.0
"""Pause after the store could not be read or written."""

_COMPLAINT_INTERVAL_S = 30.0
"""The store's trouble is logged this often."""

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

    def read(self, now: float) -> list[TaskRecord] | None:
        """All rows when they may have changed; ``None`` when they have not, or cannot be read now."""
        if now < self._read_at:
            return None
        try:
            if now < self._rescan_at and self._version == self._store.version():
                return None
            version = self._store.version()
            records = self._store.all()
        except StoreDamagedError:
            raise
        except StreamServerError as e:
            self._complain(f"the tasks cannot be read, what runs goes on: {e}", now)
            self._read_at = now + _RETRY_S
            return None
        self._version, self._rescan_at = version, now + RESCAN_S
        return records

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
