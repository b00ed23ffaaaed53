"""Takes over what ``/task/update`` has changed in the task's files, while the engine runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from streamserver.core import failpoints
from streamserver.core.errors import StreamServerError
from streamserver.core.revision import read_revision
from streamserver.core.status import BEAT_INTERVAL_S
from streamserver.engine.reconfigure import Change

logger = logging.getLogger(__name__)

Reread = Callable[[], Callable[[], Change]]
"""Reads the task's files and returns what makes the engine go on with them; either may raise."""


class Updates:
    """Looks at the revision of the task's files; made before they are read for the first time.

    Args:
        task_dir: the task's folder; ``None`` for files that nobody changes.
        clock: the monotonic clock.

    Attributes:
        revision: which one the engine runs; 0 where nobody numbers them.
        problem: why it does not run the newest, in words; empty if it does.
    """

    def __init__(self, task_dir: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._task_dir = task_dir
        self._clock = clock
        self._next_look = 0.0
        self._change: Change | None = None
        self.revision = self._seen = read_revision(task_dir) if task_dir else 0
        self.problem = ""

    def look(self, read: Reread) -> None:
        """Begins to take a new revision over, or sees how that goes; whatever goes wrong, what runs goes on."""
        now = self._clock()
        if self._task_dir is None or now < self._next_look:
            return
        self._next_look = now + BEAT_INTERVAL_S / 2
        if self._change is None:
            self._begin(self._task_dir, read)
        if self._change is not None and self._change.done:
            self._end(self._change.problem)

    def _begin(self, task_dir: Path, read: Reread) -> None:
        found = read_revision(task_dir)
        if found in (0, self._seen):
            return
        failpoints.hit("update.read")
        try:
            take_over = read()
            if read_revision(task_dir) != found:
                return  # they are being written again
            self._seen = found
            self._change = take_over()
        except Exception as e:  # the engine's loop: an update must not end what runs
            if read_revision(task_dir) == found:
                self._seen = found
                logger.error("revision %d: %s", found, e, exc_info=None if isinstance(e, StreamServerError) else e)
                self._end(str(e) if isinstance(e, StreamServerError) else repr(e))

    def _end(self, problem: str) -> None:
        self._change = None
        self.problem = f"revision {self._seen} is not in force: {problem}" if problem else ""
        if not problem:
            self.revision = self._seen
            failpoints.hit("update.taken")
            logger.info("revision %d is in force", self.revision)
