"""When the task database is backed up: the file is small and precious, so soon after each change."""

from __future__ import annotations

import time
from pathlib import Path

from streamserver import durable

_RETRY_S = 60.0


class Upkeep:
    """Remembers what the newest backup holds; used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._backed_up: int | None = None
        self._seen = -1
        self._changed_at: float | None = None
        self._not_before = 0.0

    def is_due(self, version: int, interval_s: float, soon_after_change_s: float) -> bool:
        """True when a backup should be made now; after it call ``done``, or it is due again a minute later."""
        now = time.monotonic()
        if version != self._backed_up and self._changed_at is None:
            self._changed_at = now
        if now < self._not_before:
            return False
        changed = self._changed_at is not None and now - self._changed_at >= soon_after_change_s
        missing = not durable.backup_of(self._path).exists()
        if not (changed or missing or durable.backup_due(self._path, interval_s)):
            return False
        self._seen, self._not_before = version, now + _RETRY_S
        return True

    def done(self) -> None:
        """The backup was made."""
        self._backed_up, self._changed_at, self._not_before = self._seen, None, 0.0
