"""A state folder as an older version left it, and one whose databases are damaged."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.chaos.campaign import Campaign
from tests.chaos.world import alarm_ids, outboxes
from tests.e2e.harness import wait_for

DATABASES = Path(__file__).resolve().parents[1] / "fixtures" / "databases"

_GARBAGE = bytes(range(256)) * 16
_BACKUP_PATIENCE_S = 60.0
_PICTURE = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////"


def write_old_state(state_dir: Path, campaign: Campaign) -> None:
    """The stored databases of the first version, with addresses of this test: four tasks, one outbox with alarms.

    What they promise is written down in ``campaign``.
    """
    state_dir.mkdir(parents=True)
    shutil.copy(DATABASES / "tasks_v1.sqlite", state_dir / "tasks.sqlite")
    with closing(sqlite3.connect(state_dir / "tasks.sqlite")) as connection, connection:
        rows = connection.execute("SELECT key, task_id, desired, state FROM tasks").fetchall()
        for key, name, desired, state in rows:
            body = campaign.body(name) if state != "FAILED" else campaign.body(name, Path("/nowhere/clip.mp4"))
            connection.execute("UPDATE tasks SET request = ? WHERE key = ?", (json.dumps(body), key))
            _promise(campaign, name, desired, state)
    running = next((key, name) for key, name, _, state in rows if state == "RUNNING")
    folder = state_dir / "tasks" / running[0]
    folder.mkdir(parents=True)
    _write_old_outbox(folder / "outbox.sqlite", running[1])
    campaign.promises.alarms[running[1]] |= alarm_ids(folder / "outbox.sqlite")
    campaign.promises.uncounted.add(running[1])


def _promise(campaign: Campaign, name: str, desired: str, state: str) -> None:
    promises = campaign.promises
    if desired == "deleted":
        promises.deleted.add(name)
    elif state in ("FINISHED", "FAILED"):
        promises.ended[name] = state
    else:
        promises.running.add(name)


def _write_old_outbox(path: Path, task_id: str) -> None:
    """The stored outbox with only its waiting alarms, as reports that a receiver can read."""
    shutil.copy(DATABASES / "outbox_v1.sqlite", path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE done IS NOT NULL")
        waiting = [row[0] for row in connection.execute("SELECT n FROM events ORDER BY n")]
        total = 0
        for n in waiting:
            body = json.dumps([_report(task_id, n)]).encode()
            total += len(body)
            update = "UPDATE events SET body = ?, size = ?, checksum = ? WHERE n = ?"
            connection.execute(update, (body, len(body), zlib.crc32(body), n))
        connection.execute("DELETE FROM counters WHERE name IN ('delivered', 'dropped')")
        for name, value in (("events", len(waiting)), ("pending_bytes", total)):
            connection.execute("UPDATE counters SET value = ? WHERE name = ?", (value, name))


def _report(task_id: str, frame: int) -> dict[str, Any]:
    box = {"LeftTopX": frame, "LeftTopY": 1, "RightBtmX": 50, "RightBtmY": 60}
    event = {"ImageBase64": _PICTURE, "Type": 1, "Box": box, "Extend": {}}
    return {
        "TaskID": task_id,
        "SrcID": "old",
        "FrameIndex": frame,
        "SceneImageBase64": _PICTURE,
        "AnalyzeEvents": [event],
    }


def databases(campaign: Campaign) -> list[Path]:
    """The task database and the outboxes of the tasks that run."""
    state_dir = campaign.server.state_dir
    boxes = outboxes(state_dir).items()
    return [state_dir / "tasks.sqlite"] + [
        path for key, path in boxes if campaign.name_of(key) in campaign.promises.running
    ]


def wait_backed_up(campaign: Campaign) -> None:
    """Waits until each database has a backup from after now, or from after its last change."""
    begun_at = time.time()

    def waiting() -> list[Path]:
        return [
            path for path in databases(campaign) if _written_at(_backup_of(path)) < min(begun_at, _changed_at(path))
        ]

    wait_for(lambda: not waiting(), "every database is backed up", waiting, _BACKUP_PATIENCE_S)


def _backup_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.backup")


def _changed_at(path: Path) -> float:
    return max(_written_at(path), _written_at(path.with_name(f"{path.name}-wal")))


def _written_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def damage(campaign: Campaign) -> None:
    """Overwrites the first pages of these databases; the server must not run."""
    for path in databases(campaign):
        with path.open("r+b") as file:
            file.write(_GARBAGE)
