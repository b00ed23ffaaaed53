"""One supervisor for one state folder: a file lock that the kernel drops with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class SupervisorLock:
    """A lock that is held until ``release`` or the end of the process; a context manager."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Lets the next one in; the file stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


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
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return SupervisorLock(descriptor)


def holder(path: Path) -> str:
    """The pid that the holder wrote, or ``?``."""
    try:
        return path.read_text("ascii").strip() or "?"
    except (OSError, UnicodeDecodeError):
        return "?"
