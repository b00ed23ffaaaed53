"""How much is under way in a graph, and whether anything went wrong."""

from __future__ import annotations

import logging
import threading

from streamserver.core.errors import StoppedError, StreamServerError

logger = logging.getLogger(__name__)


class Flow:
    """What all threads of an engine share: the count of what is under way, the wish to stop, and the first failure.

    Each reader and each frame that is queued or worked on counts as one. A frame's children are counted before the
    frame itself is done, so nothing under way means that all of it has run through.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.finished = threading.Event()
        self.failure: BaseException | None = None
        self._under_way = 0
        self._lock = threading.Lock()

    def add(self, count: int = 1) -> None:
        """Counts what begins."""
        with self._lock:
            self._under_way += count

    def done(self, count: int = 1) -> None:
        """Counts what has ended; with the last of it the engine is finished."""
        with self._lock:
            self._under_way -= count
            if self._under_way == 0:
                self.finished.set()

    def stop(self) -> None:
        """Asks everybody to end."""
        self.stopping.set()
        self.finished.set()

    def fail(self, where: str, error: BaseException) -> None:
        """Remembers the first failure and stops; its traceback goes to the log unless its message says it all.

        What was given up because the engine is to stop is no failure.
        """
        if isinstance(error, StoppedError):
            self.stop()
            return
        with self._lock:
            first = self.failure is None
            if first:
                self.failure = error
        if first or not self.stopping.is_set():
            known = isinstance(error, StreamServerError)
            logger.error("%s: %s", where, error, exc_info=None if known else error)
        self.stop()
