"""Walks along the tasks at rest, for alarms that wait again: dead letters that are replayed, what a kill left behind.

So many a second and no more, whatever there is: ten thousand tasks that ended cost no more than a few hundred.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from streamserver.core.leftovers import DRAINED_FILE
from streamserver.supervise.folders import has_outbox, tidy
from streamserver.supervise.records import Records

TASKS_A_STEP = 100
_STEP_S = 0.5
"""So a thousand tasks take five seconds."""

_LAP_S = 3.0
"""No lap begins sooner after the one before."""


class Patrol:
    """See the module; used by the supervisor's loop alone.

    Args:
        records: the rows.
        root: where the tasks' folders are.
    """

    def __init__(self, records: Records, root: Path) -> None:
        self._records = records
        self._root = root
        self._after = ""
        self._next_at = 0.0
        self._first_lap = True

    def advance(self, now: float) -> Iterator[str]:
        """Takes the next step when its time has come; gives the keys of those that are not drained."""
        if now < self._next_at:
            return
        keys = self._records.at_rest(limit=TASKS_A_STEP, after=self._after, now=now)
        if keys is None:
            return
        for key in filter(str.isalnum, keys):  # a spoilt one may be any text
            if self._first_lap:
                tidy(self._root / key)
            if not Path(f"{self._root}/{key}/{DRAINED_FILE}").exists() and has_outbox(self._root / key):
                yield key
        is_end = len(keys) < TASKS_A_STEP
        self._next_at = now + (_LAP_S if is_end else _STEP_S)
        self._after = "" if is_end else keys[-1]
        self._first_lap = self._first_lap and not is_end
