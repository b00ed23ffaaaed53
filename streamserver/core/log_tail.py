"""The last lines of a log file of ours, read from its end: a large file costs no more than a small one."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 1_000_000
"""No more is read of one log, whatever its lines hold."""

_BLOCK = 65_536
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def last_entries(path: Path, count: int) -> list[dict[str, str]]:
    """The last ``count`` lines of ``path`` and, where it has fewer, of ``path.1`` and so on; oldest first.

    Each has ``time``, ``level``, ``role``, ``pid``, ``logger``, ``message`` and ``trace``, as text. What is no line of
    ``core.logs.JsonFormatter`` has its text as the message, and the time of the line before it. Nothing is raised for
    files that are not there or cannot be read.
    """
    lines: list[bytes] = []
    left = MAX_BYTES
    for descriptor in _opened(path):
        if len(lines) < count and left > 0:
            found = _last_lines(descriptor, count - len(lines), left)
            left -= sum(len(line) + 1 for line in found)
            lines = found + lines
        os.close(descriptor)
    entries: list[dict[str, str]] = []
    for line in lines:
        entries.append(_entry_of(line, entries[-1]["time"] if entries else ""))
    return entries


def _opened(path: Path) -> Iterator[int]:
    """Descriptors of the file and those before it, newest first; one that is just being renamed comes once."""
    seen, number = set(), 0
    while True:
        try:
            descriptor = os.open(f"{path}.{number}" if number else path, _FLAGS)
        except OSError:
            if number:
                return
            number = 1  # the newest may be between two names
            continue
        there = os.fstat(descriptor)
        if stat.S_ISREG(there.st_mode) and there.st_ino not in seen:
            seen.add(there.st_ino)
            yield descriptor
        else:
            os.close(descriptor)
        number += 1


def _last_lines(descriptor: int, count: int, most_bytes: int) -> list[bytes]:
    """Whole lines from the end; a line that reaches further than ``most_bytes`` back is left out."""
    position = os.fstat(descriptor).st_size
    first = max(0, position - most_bytes)
    data = b""
    while position > first and data.count(b"\n") <= count:
        start = max(first, position - _BLOCK)
        try:
            data = os.pread(descriptor, position - start, start) + data
        except OSError:
            return []
        position = start
    lines = data.split(b"\n")
    whole = lines if position == 0 else lines[1:]
    return [line for line in whole if line.strip()][-count:]


def _entry_of(line: bytes, time: str) -> dict[str, str]:
    text = line.decode("utf-8", "replace")
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    parts = content if isinstance(content, dict) else {"message": text}
    names = ("time", "level", "role", "pid", "logger", "message", "trace")
    entry = {name: "" if parts.get(name) is None else str(parts[name]) for name in names}
    return entry | {"time": entry["time"] or time}
