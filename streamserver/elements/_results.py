"""The folder ``results`` of a task, and how a disk that is full or away costs frames instead of the task."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from streamserver.engine.element import ElementContext

logger = logging.getLogger(__name__)

RESULTS = "results"
"""The folder for files, in the process' working directory."""

_TRY_AGAIN_S = 10.0
_LEAST_FREE_BYTES = 256_000_000
"""What is left to others: pictures and videos grow without end, and alarms have to be written to the same disk."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk:
    """Writes while there is room, and some to spare for alarms: a frame that cannot be written is left out and counted.

    The log says so once, and once more when it goes on; tried again every ten seconds.

    Args:
        path: the file or folder, for messages and to see how much is free.
        clock: the monotonic clock.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.left_out = 0
        self._path = path
        self._clock = clock
        self._next_try: float | None = None
        self._left_out_before = 0

    def attempt(self, write: Callable[[], None]) -> None:
        """Calls ``write`` unless it is too early after a failure; takes the ``OSError`` that it raises."""
        if self._next_try is not None and self._clock() < self._next_try:
            self.left_out += 1
            return
        try:
            self._require_room()
            write()
        except OSError as e:
            self._failed(e)
        else:
            self._worked()

    def _require_room(self) -> None:
        free = shutil.disk_usage(_nearest(self._path)).free
        if free < _LEAST_FREE_BYTES:
            megabytes = (free // 1_000_000, _LEAST_FREE_BYTES // 1_000_000)
            raise OSError(errno.ENOSPC, "the disk has {} MB left, and {} MB are kept for alarms".format(*megabytes))

    def _failed(self, error: OSError) -> None:
        if self._next_try is None:
            self._left_out_before = self.left_out
            logger.warning(
                "%s: %s; frames are left out until it can be written, tried every %.0f s; make room on the disk",
                self._path,
                error.strerror or error,
                _TRY_AGAIN_S,
            )
        self.left_out += 1
        self._next_try = self._clock() + _TRY_AGAIN_S

    def _worked(self) -> None:
        if self._next_try is not None:
            self._next_try = None
            logger.info(
                "%s: is written again; %d frames were left out", self._path, self.left_out - self._left_out_before
            )


def make_results(context: ElementContext, key: str) -> Path:
    """Makes the folder for files; a disk that is full is no error, for it may have room again when there is a frame.

    Args:
        context: the element's.
        key: the key that asked for files, for messages.

    Raises:
        GraphError: it cannot be made, or nothing can be written to it.
    """
    folder = context.base_dir / RESULTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        if e.errno in _FULL:
            return folder
        reason = "there is a file of this name" if e.errno == errno.EEXIST else e.strerror
        raise context.error(key, f"the folder '{folder}' cannot be made: {reason}") from e
    if not os.access(folder, os.W_OK | os.X_OK):
        raise context.error(
            key, f"nothing can be written to the folder '{folder}'", cure="give it to the user that runs the task"
        )
    return folder


def _nearest(path: Path) -> Path:
    """The path, or the lowest of the folders above it that is there."""
    return next(one for one in (path, *path.parents) if one.exists())
