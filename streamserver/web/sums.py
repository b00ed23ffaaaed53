"""The supervisor's sums (``supervise/tally.py``) as the web process reads them: never raises, never trusts."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamserver.core.counters import TALLY_FILE
from streamserver.core.files import read_json


def read_sums(state: Path) -> Mapping[str, Any]:
    """What the file in the state folder says; empty where there is none, or none that can be read."""
    path = state / TALLY_FILE
    try:
        there = path.stat()
    except OSError:
        return {}
    return _parsed(path, there.st_ino, there.st_mtime_ns)


def waiting(sums: Mapping[str, Any]) -> tuple[int, float]:
    """How many alarms wait for a receiver in all outboxes, and for how many seconds the oldest has."""
    return int(number(sums.get("pending"))), number(sums.get("oldest_age_s"))


def number(value: Any) -> float:
    """A count or a time; 0 for what is none."""
    return float(value) if isinstance(value, int | float) and value >= 0 else 0.0


@functools.lru_cache(maxsize=1)
def _parsed(path: Path, inode: int, changed_ns: int) -> Mapping[str, Any]:
    """Inode and time tell versions of the file apart."""
    content = read_json(path)
    return content if isinstance(content, dict) else {}
