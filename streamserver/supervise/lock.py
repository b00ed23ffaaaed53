"""One supervisor for one state folder: a file lock that the kernel drops with the process that holds it.

The file is its holder's heartbeat too: its time of change moves with every round of the supervisor.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from streamserver.core.errors import StateLostError
from streamserver.core.files import HeldFile

_LOOK_AGAIN_S = 1.0
"""Time for a living holder to beat: it does so several times a second."""

_DAMAGE_FILE = "tasks.damaged"

_HEARD_S = 600.0
"""A database that is found damaged again so soon is not opened anew for it."""


class SupervisorLock(HeldFile):
    """The lock on a state folder."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(descriptor)
        self._path = path

    def beat(self) -> None:
        """Shows that the holder lives; see ``last_beat``.

        Raises:
            StateLostError: the file is gone or another one, so the lock keeps nobody out any more; or the web process
                has found the task database damaged, and it has to be opened anew.
        """
        if self._descriptor is None:
            return
        with suppress(OSError):  # a disk that has become read-only is for others to report
            os.utime(self._descriptor)
        try:
            there = os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            there = False
        if not there:
            raise StateLostError(
                f"{self._path} was removed while it was in use, and with it, it seems, the whole state folder",
                cure="stop the server before you remove or replace that folder",
            )
        if _is_told_of_damage(self._path.parent):
            raise StateLostError("the web process found the task database damaged", cure="it is mended at opening")


def lock_file(state_path: Path) -> Path:
    """Where the lock of a state folder lies."""
    return state_path / "supervisor.lock"


def acquire(path: Path) -> SupervisorLock | None:
    """Takes the lock at once, or returns ``None`` when another process (or another part of this one) holds it.

    The file, made with its folder where absent, holds the pid of the last holder, for people to read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    with suppress(OSError):  # a full disk keeps nobody from supervising
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return SupervisorLock(path, descriptor)


def holder(path: Path) -> str:
    """The pid that the holder wrote, or ``?``."""
    try:
        return path.read_text("ascii").strip() or "?"
    except (OSError, UnicodeDecodeError):
        return "?"


def beats(path: Path, silence_s: float) -> bool:
    """True when the holder has shown within ``silence_s`` seconds that it lives, however the wall clock is stepped."""
    before = last_beat(path)
    if not before:
        return False
    if abs(time.time() - before / 1e9) <= silence_s:
        return True
    deadline = time.monotonic() + _LOOK_AGAIN_S
    while time.monotonic() < deadline:
        time.sleep(0.05)
        if last_beat(path) != before:
            return True
    return False


def tell_of_damage(state_path: Path) -> None:
    """For the web process: the task database is damaged; the supervisor ends, and the guard starts both anew."""
    with suppress(OSError):
        (state_path / _DAMAGE_FILE).touch()


def _is_told_of_damage(state_path: Path) -> bool:
    """True once for each report, but for those that come soon after one: opening anew did not help them."""
    file, heard = state_path / _DAMAGE_FILE, state_path / f"{_DAMAGE_FILE}.heard"
    try:
        told_at = file.stat().st_mtime
        heard_at = heard.stat().st_mtime if heard.exists() else 0.0
        file.replace(heard)
    except OSError:
        return False
    return not 0 <= told_at - heard_at < _HEARD_S


def last_beat(path: Path) -> int:
    """A number that changes with every beat of the holder; 0 where there is no lock."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
