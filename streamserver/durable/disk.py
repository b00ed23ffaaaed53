"""Room on a full disk: a ballast file that is given up bit by bit, and the marks below which nothing new is taken.

What is accepted needs space to be delivered, deleted and written down. The ballast holds that space while there is
plenty, and lets go of it, a quarter at a time, when somebody else has taken the rest.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

FILE = "ballast"
"""The ballast's name in the state folder."""

MEBIBYTE = 1 << 20

_STEPS = 4
"""The ballast is cut by a fourth at a time, when less than a fourth of it is free."""

_SPARE = 0.25
"""Built up again only where this part of it would be free above the mark: so it does not grow and shrink by turns."""

_GROWTH = 16 * MEBIBYTE
"""At most so much is allocated in one call, for some file systems write every block of it."""

_log = logging.getLogger(__name__)


def free_bytes(path: Path) -> int:
    """Bytes that a process without privileges can still write in the file system of ``path``; raises ``OSError``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def shortage(state_path: Path, reserve_mb: int) -> str:
    """Why nothing new may be accepted, with figures and cure; empty while there is room.

    Args:
        state_path: the state folder; one that cannot be looked at is for others to report.
        reserve_mb: the setting ``disk_reserve_mb``: so much has to be free; 0 for no mark.
    """
    if reserve_mb <= 0:
        return ""
    try:
        found = os.statvfs(state_path)
    except OSError:
        return ""
    free = found.f_bavail * found.f_frsize
    if free < reserve_mb * MEBIBYTE:
        return (
            f"the disk of {state_path} is nearly full: {_mb(free)} of {_mb(found.f_blocks * found.f_frsize)} are free, "
            f"below the {reserve_mb} MB of disk_reserve_mb; make room there, then try again"
        )
    if found.f_files and not found.f_favail:  # file systems without a limit say 0 of 0
        return (
            f"the disk of {state_path} takes no more files: all {found.f_files} inodes are used; remove files there, "
            "then try again"
        )
    return ""


class Ballast:
    """The file ``ballast`` in the state folder, held by one process, the supervisor.

    Args:
        folder: the state folder.
        size_mb: how large it is when there is room for twice as much; 0 removes it.
    """

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._file = folder / FILE
        self._full = size_mb * MEBIBYTE
        self._trouble = ""
        self._fresh = True

    def tend(self) -> None:
        """Cuts or builds up the ballast as the free space asks for; cheap, meant for once a second, never raises."""
        try:
            self._tend()
        except OSError as e:
            self._say(f"the ballast {self._file} cannot be kept: {e.strerror or e}")
        else:
            self._trouble = ""

    def _tend(self) -> None:
        if not self._full:
            self._file.unlink(missing_ok=True)
            return
        size, free = self._size(), free_bytes(self._folder)
        if size > self._full:
            self._cut(self._full)
        elif size and free < self._full // _STEPS:
            left = max(0, size - -(-self._full // _STEPS))
            self._cut(left)
            _log.error(
                "only %s are free on the disk of %s: the ballast is cut to %s of %s; make room there",
                *(_mb(free), self._folder, _mb(left), _mb(self._full)),
            )
        elif size < self._full and free - (self._full - size) >= self._full * (1 + _SPARE):
            self._grow(size)

    def _size(self) -> int:
        try:
            found = self._file.lstat()
        except FileNotFoundError:
            self._fresh = False
            return 0
        if self._fresh:  # a copy of a state folder may have holes where the ballast was
            self._fresh = False
            if found.st_blocks * 512 < found.st_size:
                self._cut(0)
                return 0
        return found.st_size

    def _cut(self, size: int) -> None:
        descriptor = self._open(0)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def _grow(self, size: int) -> None:
        """Takes a part of what is missing; what could not be taken whole is given back."""
        target = min(self._full, size + _GROWTH)
        descriptor = self._open(os.O_CREAT)
        try:
            _allocate(descriptor, size, target - size)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
        if target == self._full:
            _log.info("the ballast %s holds %s for a full disk", self._file, _mb(target))

    def _open(self, flags: int) -> int:
        return os.open(self._file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%s", trouble)


def _allocate(descriptor: int, start: int, length: int) -> None:
    """Blocks of the disk for this part of a file; zeros where the file system knows no other way."""
    try:
        os.posix_fallocate(descriptor, start, length)
    except OSError as e:
        if not _knows_no_allocation(e):
            raise
        zeros = bytes(MEBIBYTE)
        for offset in range(start, start + length, MEBIBYTE):
            os.pwrite(descriptor, zeros[: start + length - offset], offset)


def _knows_no_allocation(error: OSError) -> bool:
    return error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def _mb(count: int) -> str:
    return f"{count / MEBIBYTE:.0f} MB"
