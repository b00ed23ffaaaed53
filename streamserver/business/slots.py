"""What all processes of this machine agree on for one address: POSTs under way at a time, and who tries it when.

A slot is a lock on one of the files ``<folder>/<hash of the address>.<n>``; the kernel lets go of it with the process
that holds it. ``<hash>.tried`` is of an address that takes no alarms: its time of change says, on the monotonic clock,
when it was last tried, and its time of access since when that has been so; both are 0 when it takes alarms again.
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

from streamserver.core.files import HeldFile

_log = logging.getLogger(__name__)

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)

TURN_S = 0.7
"""So long after one process has tried a broken address, no other does; less than a process's own pauses."""

WATCHED_S = 900.0
LONGEST_TURN_S = 28.0
_SHARE = 12
"""An address that is away for longer than the first is left alone for a twelfth of the excess, at most the second."""

_FORGOTTEN_S = 60.0
"""A broken address that nobody has tried for so long begins anew."""


def turn_s(away_s: float) -> float:
    """How long after a try of an address the next may follow, when it has been away for ``away_s`` seconds."""
    return max(TURN_S, min((away_s - WATCHED_S) / _SHARE, LONGEST_TURN_S))


_NEVER = float("-inf")
_ROUNDING_S = 0.001


class Slot(HeldFile):
    """Thread-safe as long as only its holder uses it."""


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
        self._tried = folder / f"{self._name}.tried"
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

    def is_out(self, now: float) -> bool:
        """Whether some process found lately that the address takes no alarms."""
        tried = self._times()[1]
        return _is_recent(tried, now)

    def may_try(self, now: float) -> bool:
        """Whether it is this process's turn to try an address that takes no alarms.

        A hundred tasks would otherwise knock, or write their outboxes for an alarm that is spent, all the time.

        Args:
            now: the monotonic clock of this boot, in seconds.
        """
        since, tried = self._times()
        if tried == 0:
            return True
        if _is_recent(tried, now) and now - tried < turn_s(now - since):
            return False
        self.note(now, well=False)
        return True

    def note(self, now: float, *, well: bool) -> None:
        """Tells the others how a try went: when it was well, all may try."""
        since, tried = self._times()
        since = min(since, now) if _is_recent(tried, now) else now  # who reads the file may move its time of access
        times = (0.0, 0.0) if well else (since, now)
        with suppress(OSError):  # without the file, everybody tries
            try:
                os.utime(self._tried, times)
            except FileNotFoundError:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._tried.touch(mode=0o600)
                os.utime(self._tried, times)

    def _times(self) -> tuple[float, float]:
        """Since when the address has taken no alarms, and when it was last tried; 0 twice when it takes them."""
        try:
            found = self._tried.stat()
        except OSError:
            return _NEVER, _NEVER
        return found.st_atime, found.st_mtime

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


def _is_recent(tried: float, now: float) -> bool:
    """Whether a time of trying is one of this outage, and of this boot."""
    return tried != 0 and -_ROUNDING_S <= now - tried < _FORGOTTEN_S
