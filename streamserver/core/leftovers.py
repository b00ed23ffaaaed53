"""What supervisor, clients and courier tell each other of tasks that are over but still have alarms to deliver.

The supervisor names the folders in ``<state_dir>/courier.json``; the courier delivers what waits in their outboxes, and
leaves ``run/drained`` in each that has nothing left to deliver.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamserver.core.files import read_json, sync_folder, write_json

LIST_FILE = "courier.json"
"""Keys of the tasks whose outboxes the courier delivers, relative to the state folder."""

STATUS_FILE = "courier.status.json"
"""The courier's heartbeat (``core.status.CourierStatus``), relative to the state folder."""

DRAINED_FILE = "run/drained"
"""There when nothing of a task waits for a receiver, relative to the task's folder."""

LETTERS_FILE = "run/letters"
"""Seconds for which a deleted task's dead letters are still kept; the supervisor's note, beside ``DRAINED_FILE``."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drained outbox still holds: ``dead`` letters, which wait for a replay."""

    dead: int = 0


def write_list(state_path: Path, keys: Iterable[str]) -> None:
    """Names the tasks that the courier looks after."""
    write_json(state_path / LIST_FILE, {"keys": sorted(keys)}, sync=True)


def read_list(state_path: Path) -> frozenset[str]:
    """The tasks that the courier looks after; none when the file is absent or unreadable."""
    content: Any = read_json(state_path / LIST_FILE)
    keys = content.get("keys") if isinstance(content, dict) else None
    return frozenset(key for key in keys if isinstance(key, str)) if isinstance(keys, list) else frozenset()


def mark_drained(folder: Path, drained: Drained) -> None:
    """Remembers that nothing of the task in ``folder`` waits; raises ``OSError``."""
    write_json(folder / DRAINED_FILE, {"dead": drained.dead}, sync=True)


def read_drained(folder: Path) -> Drained | None:
    """What ``mark_drained`` wrote, or ``None`` while something may wait; an empty file counts as no dead letters."""
    if not (folder / DRAINED_FILE).exists():
        return None
    content: Any = read_json(folder / DRAINED_FILE)
    try:
        return Drained(int(content["dead"]))
    except (TypeError, ValueError, KeyError):
        return Drained()


def note_letters(folder: Path, left_s: float) -> None:
    """Writes down for how long the dead letters in ``folder`` are still kept; raises ``OSError``."""
    write_json(folder / LETTERS_FILE, left_s, sync=True)


def read_letters(folder: Path, most_s: float) -> float:
    """Seconds for which the dead letters in ``folder`` are still kept; ``most_s`` where nothing sensible is noted."""
    content: Any = read_json(folder / LETTERS_FILE)
    return content if isinstance(content, int | float) and 0 <= content <= most_s else most_s


def forget_drained(folder: Path) -> None:
    """Something may wait again: a client that raises alarms starts, or dead letters are replayed.

    Synced, for a mark that came back with the power would leave for ever what waits.

    Raises:
        OSError: the mark cannot be removed.
    """
    mark = folder / DRAINED_FILE
    if mark.exists():
        mark.unlink(missing_ok=True)
        sync_folder(mark.parent)
