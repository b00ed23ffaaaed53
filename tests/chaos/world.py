"""What the rows share: tasks that raise alarms, receivers with ledgers, and looks behind the server's back.

Nothing here asks the server how it fares: alarms are read from the outboxes' files, processes from /proc.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from streamserver.demo import clip as demo_clip
from tests.chaos.receivers import Delivery, Mode, Receiver, Receivers, receivers
from tests.e2e.harness import PATIENCE_S, Server, task, wait_for

__all__ = [
    "ALARMS_A_LOOP",
    "FEW_FRAMES",
    "MIDDLE",
    "SIZE_WH",
    "TARGET_SIZE",
    "Delivery",
    "Mode",
    "Receiver",
    "Receivers",
    "alarm_task",
    "alive",
    "clip",
    "fast_clip",
    "orphans",
    "outboxes",
    "parent_of",
    "pss_kb",
    "raised",
    "receivers",
    "task_ids",
    "wait_drained",
    "wait_running",
    "zombies",
]

SIZE_WH = (160, 90)
"""Of the clip: every process that is killed is started again and looks at pictures, which are not what is tried."""

MIDDLE = (SIZE_WH[0] // 2, 0, SIZE_WH[0] // 2, SIZE_WH[1])
"""The tripwire that every walker of the clip crosses once."""

_SECONDS = 15
TARGET_SIZE = {"MinDetect": 5, "MaxDetect": 80}
"""From a quarter of the shortest walker to nearly all of the picture, in pixels."""

ALARMS_A_LOOP = 3

FEW_FRAMES = 6
"""A rate at which the tracker still follows every walker: half the work where frames are not what is tried."""

_GONE_PATIENCE_S = 20.0
"""Time that a killed process may take to leave /proc on a busy machine."""


def clip(folder: Path, *, rate: int = demo_clip.FPS) -> Path:
    """The walkers of the demo's clip (15 s at ``rate`` frames a second), smaller, in ``folder``."""
    path = folder / f"walkers_{rate}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_drawn(rate))
    return path


@cache
def _drawn(rate: int) -> bytes:
    """The clip, drawn once for all tests of a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walkers.mp4"
        _draw(path, rate)
        return path.read_bytes()


def _draw(path: Path, rate: int) -> None:
    width, height = demo_clip.SIZE_WH
    ground = np.full((height, width, 3), 130, dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 500_000
        for index in range(rate * _SECONDS):
            picture = demo_clip.draw_picture(ground, index / rate)
            small = cv2.resize(picture, SIZE_WH, interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, format="bgr24")))
        container.mux(stream.encode(None))


def fast_clip(folder: Path, *, times: int, rate: int = demo_clip.FPS) -> Path:
    """The same pictures at ``times`` the pace: a loop of 15 / ``times`` seconds, whatever the machine's speed."""
    path = folder / f"walkers_{rate}_{times}x.mp4"
    if not path.exists():
        _hasten(clip(folder, rate=rate), path, times)
    return path


def _hasten(source: Path, target: Path, times: int) -> None:
    """Copies the packets with other times."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            packet.dts, packet.pts, packet.stream = packet.dts // times, packet.pts // times, stream
            packet.duration = (packet.duration or 0) // times
            new.mux(packet)


def alarm_task(
    task_id: str,
    clip_path: Path,
    urls: Sequence[str],
    *,
    loops: int = 0,
    fps: float = -1,
    interval: int = 1,
    **extend: Any,
) -> dict[str, Any]:
    """A create body: motion finds the walkers, each crosses the line once, so each loop raises 3 alarms.

    Args:
        task_id: its id.
        clip_path: what ``clip`` or ``fast_clip`` gave.
        urls: ``ReportUrlList``.
        loops: how often the clip is played; 0 for ever.
        fps: -1 for as fast as it goes; any other number for the clip's own pace.
        interval: ``DetectInterval``.
        extend: more keys of ``Extend``.
    """
    wanted: dict[str, Any] = {"Detector": "motion", "Loop": loops, **extend}
    if fps < 0:
        wanted["Fps"] = -1
    body = task(task_id, str(clip_path), "", line=MIDDLE, interval=interval, extend=wanted, TargetSize=TARGET_SIZE)
    body["Reporting"]["ReportUrlList"] = list(urls)
    return body


def outboxes(state_dir: Path) -> dict[str, Path]:
    """Key -> outbox file of every task whose folder is there, deleted tasks included."""
    return {path.parent.name: path for path in sorted((state_dir / "tasks").glob("*/outbox.sqlite"))}


def task_ids(state_dir: Path) -> dict[str, str]:
    """Key -> TaskID of every task whose folder is there."""
    found = {}
    for path in (state_dir / "tasks").glob("*/client.json"):
        try:
            found[path.parent.name] = str(json.loads(path.read_text())["task_id"])
        except (OSError, ValueError, KeyError):
            continue
    return found


def raised(state_dir: Path) -> dict[str, set[str]]:
    """TaskID -> ids of all alarms that are committed in an outbox, delivered or not.

    Read from the files, without a word to the server. A file that cannot be read now (just being created, locked) has
    nothing; so look more than once.
    """
    names = task_ids(state_dir)
    found: dict[str, set[str]] = defaultdict(set)
    for key, path in outboxes(state_dir).items():
        found[names.get(key, key)] |= alarm_ids(path)
    return dict(found)


def alarm_ids(path: Path) -> set[str]:
    """The ids committed in one outbox; nothing when it cannot be read now."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as connection:
            return {
                str(row[0])
                for table in _tables_of_alarms(connection)
                for row in connection.execute(f'SELECT id FROM "{table}"')
            }
    except sqlite3.Error:
        return set()


def _tables_of_alarms(connection: sqlite3.Connection) -> list[str]:
    """Tables whose rows have an id and an event key, whatever the schema's version calls them."""
    query = (
        "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        " GROUP BY m.name HAVING sum(c.name IN ('id', 'event_key')) = 2"
    )
    return [str(row[0]) for row in connection.execute(query)]


def wait_drained(
    server: Server,
    several: Receivers,
    *,
    ids: Iterable[str] | None = None,
    patience_s: float = PATIENCE_S,
    retry: Callable[[], object] = lambda: None,
) -> set[str]:
    """Waits until every alarm that is committed now (or ``ids``) has been taken; returns what has not come by then.

    Args:
        server: whose outboxes are read.
        several: the receivers whose ledgers count.
        ids: what has to come instead of what is committed now.
        patience_s: how long to wait.
        retry: called now and then meanwhile.
    """
    wanted = set(ids) if ids is not None else set().union(*raised(server.state_dir).values())
    until = time.monotonic() + patience_s
    while (missing := wanted - several.ids()) and time.monotonic() < until:
        retry()
        time.sleep(0.2)
    return missing


def alive(pid: int) -> bool:
    """True for a process that runs or is stopped; False for a zombie or a number that nobody has."""
    return (found := _stat(pid)) is not None and found[0] != "Z"


def parent_of(pid: int) -> int:
    """The parent's pid; 0 for a process that has ended."""
    return found[1] if (found := _stat(pid)) is not None else 0


def orphans(server: Server) -> dict[int, str]:
    """Pid -> command line of this server's processes that are no descendants of its guard, and stay so for 20 s."""
    until = time.monotonic() + _GONE_PATIENCE_S
    while (found := _strangers(server)) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def zombies(server: Server) -> list[int]:
    """Pids of the guard's descendants that have ended and that nobody has waited for within 20 s."""
    until = time.monotonic() + _GONE_PATIENCE_S
    old = _zombies(server)
    while old and time.monotonic() < until:
        time.sleep(0.1)
        old &= _zombies(server)
    return sorted(old)


def _strangers(server: Server) -> dict[int, str]:
    found = server.processes()
    root = server.process.pid if server.process is not None and server.process.poll() is None else 0
    parents = {pid: stat[1] for pid in _pids() if (stat := _stat(pid)) is not None}
    return {pid: line for pid, line in found.items() if alive(pid) and not _descends(pid, root, parents)}


def _zombies(server: Server) -> set[int]:
    assert server.process is not None
    stats = {pid: stat for pid in _pids() if (stat := _stat(pid)) is not None}
    parents = {pid: stat[1] for pid, stat in stats.items()}
    return {pid for pid, stat in stats.items() if stat[0] == "Z" and _descends(pid, server.process.pid, parents)}


def _descends(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid not in (0, 1, root) and pid in parents:
        pid = parents[pid]
    return root != 0 and pid == root


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def pss_kb(pid: int) -> int | None:
    """Proportional share of memory in kB, or ``None`` for a process that has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        return None
    return None


def wait_running(server: Server, names: Iterable[str], *, patience_s: float = PATIENCE_S) -> None:
    """Waits until each of the tasks is RUNNING."""
    wanted = list(names)

    def others() -> dict[str, object]:
        states = {name: server.query(name).get("State") for name in wanted}
        return {name: state for name, state in states.items() if state != "RUNNING"}

    wait_for(lambda: not others(), "all tasks are RUNNING", others, patience_s)
