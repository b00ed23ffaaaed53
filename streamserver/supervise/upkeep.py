"""What the supervisor's loop does beside the tasks: about once a second, and nothing of it for long."""

from __future__ import annotations

from collections.abc import Iterable

from streamserver.core.settings import Settings
from streamserver.durable.disk import Ballast, shortage
from streamserver.supervise.group import Group
from streamserver.supervise.records import Records
from streamserver.supervise.tally import Tally

_INTERVAL_S = 1.0
_TRIM_INTERVAL_S = 10.0


class Upkeep:
    """The ballast on the disk, the backup of the task database, the size of output files.

    Args:
        settings: the server's settings.
        records: where the backup is made.
        tally: the sums of what tasks count, which are written.
    """

    def __init__(self, settings: Settings, records: Records, tally: Tally) -> None:
        self._settings = settings
        self._ballast = Ballast(settings.state_path, settings.disk_reserve_mb)
        self._records = records
        self._tally = tally
        self._next_at = self._trim_at = 0.0

    def tend(self, groups: Iterable[Group], now: float) -> None:
        """Does what is due at ``now`` (monotonic seconds)."""
        if now < self._next_at:
            return
        self._next_at = now + _INTERVAL_S
        self._ballast.tend()
        self._tally.save(now)
        short_of_space = bool(shortage(self._settings.state_path, self._settings.disk_reserve_mb))
        self._records.tend(now, short_of_space=short_of_space)
        if now >= self._trim_at:
            self._trim_at = now + _TRIM_INTERVAL_S
            for group in groups:
                group.trim_outputs()
