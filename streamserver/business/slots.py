"""What all processes of this machine agree on for one address: POSTs under way at a time, and who tries it.

A slot is a lock on one of the files ``<folder>/<hash of the address>.<n>``; the kernel lets go of it with the process
that holds it. The time of change of ``<hash>.tried`` says, on the monotonic clock, when an alarm was last spent on an
address that takes none; 0 when it takes alarms again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import random
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)

TURN_S = 0.7
"""So long after one process has tried a broken address, no other does; shorter than a process's own pauses."""


class Slot:
    """Held until ``release``; thread-safe as long as only its holder uses it."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Lets the next one in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Slots:
    """The slots of one address.

    Where the files cannot be made or locked, alarms matter more than the limit: it is then off, which is logged once.

    Args:
        folder: shared by all processes; made when it is needed.
        url: the address, as the task gives it.
        count: POSTs at a time.
    """

    def __init__(self, folder: Path, url: str, count: int) -> None:
        self._folder = folder
        self._name = hashlib.sha256(url.encode("utf-8", "backslashreplace")).hexdigest()[:16]
        self._count = count
        self._told = False

    def take(self) -> Slot | None:
        """A free slot, or ``None`` when all are taken; never waits."""
        first = random.randrange(self._count)
        try:
            for offset in range(self._count):
                descriptor = self._lock((first + offset) % self._count)
                if descriptor is not None:
                    return Slot(descriptor)
        except OSError as e:
            if not self._told:
                _log.error("%s: %s; reports to an address are not limited in number", self._folder, e.strerror or e)
            self._told = True
            return Slot(None)
        return None

    def may_try(self, now: float) -> bool:
        """Whether it is this process's turn to spend an alarm on an address that takes none.

        A hundred tasks would otherwise write their outboxes for it twice a second each.

        Args:
            now: the monotonic clock of this boot, in seconds.
        """
        path = self._folder / f"{self._name}.tried"
        try:
            tried = path.stat().st_mtime
        except OSError:
            tried = 0.0
        if tried and 0 <= now - tried < TURN_S:
            return False
        if tried or not path.exists():
            self._note_try(path, now)
        return True

    def note(self, now: float, *, well: bool) -> None:
        """Tells the others how a try went: when it was well, all may try."""
        self._note_try(self._folder / f"{self._name}.tried", 0.0 if well else now)

    def _note_try(self, path: Path, at: float) -> None:
        with suppress(OSError):  # without the file, everybody tries
            self._folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            os.utime(path, (at, at))

    def _lock(self, number: int) -> int | None:
        path = self._folder / f"{self._name}.{number}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(descriptor)
            if e.errno in _TAKEN:
                return None
            raise
        return descriptor
