"""The audit log: one line for each change that somebody asked for, appended, synced, and never rewritten.

``logs/audit.log`` of the state folder; several processes may write it at once.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamserver.core.secrets import hide

FILES = 10
MAX_BYTES = 20_000_000
"""The size at which a file is put aside as ``.1``; the oldest of ``FILES`` goes."""

_TEXT_AT_MOST = 512


def audit_file(state_path: Path) -> Path:
    """Where the newest lines are."""
    return state_path / "logs" / "audit.log"


def append(state_path: Path, entry: Mapping[str, Any]) -> None:
    """Writes ``entry`` as one line of JSON, with the time (UTC), and returns when it is on the disk.

    Args:
        state_path: the state folder.
        entry: texts, numbers and ``None`` by name; secrets that are known are masked, long texts cut.

    Raises:
        OSError: it cannot be written; no part of a line is left.
    """
    path = audit_file(state_path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    time_text = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {"time": time_text, **{name: _plain(value) for name, value in entry.items()}}
    line = json.dumps(content).encode("ascii") + b"\n"
    descriptor = _open(path, len(line))
    try:
        _write(descriptor, line)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # others write while this one is synced
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    return hide(value)[:_TEXT_AT_MOST] if isinstance(value, str) else value


def _open(path: Path, size_bytes: int) -> int:
    """The current file, locked and with room for ``size_bytes``."""
    while True:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            mine = os.fstat(descriptor)
            if not _is(path, mine):  # another process put it aside meanwhile
                os.close(descriptor)
                continue
            if not mine.st_size or mine.st_size + size_bytes <= MAX_BYTES:
                return descriptor
            _put_aside(path)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is(path: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), opened)
    except FileNotFoundError:
        return False


def _put_aside(path: Path) -> None:
    for number in range(FILES - 2, 0, -1):
        with suppress(FileNotFoundError):
            Path(f"{path}.{number}").rename(f"{path}.{number + 1}")
    path.rename(f"{path}.1")


def _write(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(descriptor, before)
        raise
