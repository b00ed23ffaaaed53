"""Turns: all processes of a machine share a file that says when the next of them may connect.

When a switch has been off, all its cameras are back in the same second; their streams are then opened one by one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0
"""A turn that is further away cannot be meant: the file is damaged, or from before the last boot."""

_SPARE = 1.1
"""Turns lie so much further apart than they need to: on their way to a host, connections get closer to each other."""

_LOCK_PATIENCE_S = 1.0
_LOCK_RETRY_S = 0.01

_SLOT = struct.Struct("<8sd")
_MAGIC = b"nextturn"


class Turnstile:
    """Lets ``per_s`` through in a second, counted over all processes that name the same file.

    The file holds the time of the next free turn on the monotonic clock, which all processes of one boot share.
    Whoever comes takes that turn and moves it on by a little more than ``1 / per_s``. Without a file that can be used,
    nobody waits: connections that come too fast are better than none.

    Args:
        path: the file, made when it is not there; ``None`` to let everybody through.
        per_s: turns a second.
        clock: the monotonic clock.
    """

    def __init__(self, path: Path | None, per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._interval_s = _SPARE / per_s
        self._clock = clock
        self._told = False

    def wait(self, stopping: threading.Event) -> bool:
        """Waits for a turn; returns False once ``stopping`` is set."""
        if self._path is not None:
            stopping.wait(self._take_turn(self._path, stopping))
        return not stopping.is_set()

    def _take_turn(self, path: Path, stopping: threading.Event) -> float:
        """Seconds until the turn that was taken."""
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as e:
            self._tell(path, e)
            return 0.0
        try:
            return self._move_on(file) if self._lock(file, stopping) else 0.0
        except OSError as e:
            self._tell(path, e)
            return 0.0
        finally:
            os.close(file)

    def _lock(self, file: int, stopping: threading.Event) -> bool:
        """Locks the file, which others hold for microseconds only; False if one holds it for ever."""
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if stopping.wait(_LOCK_RETRY_S):
                    return False
        return False

    def _move_on(self, file: int) -> float:
        now = self._clock()
        turn = now
        content = os.pread(file, _SLOT.size + 1, 0)
        if len(content) == _SLOT.size:
            magic, written = _SLOT.unpack(content)
            if magic == _MAGIC and now <= written <= now + LONGEST_WAIT_S:
                turn = written
        after = min(turn + self._interval_s, now + LONGEST_WAIT_S)
        os.pwrite(file, _SLOT.pack(_MAGIC, after), 0)
        if len(content) > _SLOT.size:
            os.ftruncate(file, _SLOT.size)
        return turn - now

    def _tell(self, path: Path, error: OSError) -> None:
        if not self._told:
            logger.warning("%s: cannot be used, streams connect without taking turns: %s", path, error.strerror)
        self._told = True
