"""What is remembered of a damaged file: one line of JSON in ``damage.jsonl`` beside it."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "damage.jsonl"
"""Where the damages of the files of a folder are noted."""

_MAX_BYTES = 64_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Damage:
    """A damaged file that has been mended.

    Attributes:
        file: the file.
        moved_to: the damaged one's new name; ``None`` when there was nothing to keep.
        reason: what was wrong with it.
        salvaged: rows that were taken from the damaged file itself.
        restored: rows that were taken from the backup (or from what else is kept beside it).
        lost: rows that are known to be missing now.
        at: when, in seconds since the epoch.
    """

    file: Path
    moved_to: Path | None
    reason: str
    salvaged: int
    restored: int
    lost: int = 0
    at: float = 0.0

    def __str__(self) -> str:
        aside = f", kept as {self.moved_to.name}" if self.moved_to else ""
        return (
            f"{self.file} was damaged ({self.reason}){aside}: {self.salvaged} rows taken from it, {self.restored} "
            f"restored from what is kept beside it, {self.lost} known to be lost"
        )


def note(damage: Damage) -> None:
    """Logs ``damage`` and writes it down beside the file, as well as it can be."""
    _log.error("%s", damage)
    page = damage.file.parent / FILE
    content = {
        "at": damage.at or time.time(),
        "file": damage.file.name,
        "moved_to": damage.moved_to.name if damage.moved_to else None,
        "reason": damage.reason,
        "salvaged": damage.salvaged,
        "restored": damage.restored,
        "lost": damage.lost,
    }
    line = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    try:
        if page.exists() and page.stat().st_size > _MAX_BYTES:
            page.replace(page.with_name(f"{FILE}.1"))
        descriptor = os.open(page, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as e:
        _log.warning("%s cannot be written: %s", page, e)


def noted(folder: Path) -> list[Damage]:
    """What ``note`` wrote in ``folder``, oldest first; lines that cannot be read are left out."""
    found = []
    for name in (f"{FILE}.1", FILE):
        try:
            lines = (folder / name).read_bytes().splitlines()
        except OSError:
            continue
        found += [damage for line in lines if (damage := _parse(folder, line)) is not None]
    return found


def recent_damage(state_path: Path, *, within_s: float = 86_400.0) -> list[Damage]:
    """Damages of the files of a state folder, those of its tasks included, of the last ``within_s``; oldest first."""
    folders = [state_path, *(page.parent for page in state_path.glob(f"tasks/*/{FILE}"))]
    since = time.time() - within_s
    return sorted((d for folder in folders for d in noted(folder) if d.at >= since), key=lambda damage: damage.at)


def _parse(folder: Path, line: bytes) -> Damage | None:
    try:
        content: dict[str, Any] = json.loads(line)
        moved_to = content["moved_to"]
        return Damage(
            file=folder / content["file"],
            moved_to=folder / moved_to if moved_to else None,
            reason=str(content["reason"]),
            salvaged=int(content["salvaged"]),
            restored=int(content["restored"]),
            lost=int(content["lost"]),
            at=float(content["at"]),
        )
    except (ValueError, TypeError, KeyError):
        return None
