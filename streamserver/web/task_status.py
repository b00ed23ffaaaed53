"""From a row of the store and the two status files of its processes to what the API says of a task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from streamserver.core.replies import AlgorithmStatus, TaskEntry
from streamserver.core.secrets import hide, register_request
from streamserver.core.settings import Settings
from streamserver.core.states import SourceState, TaskState, wire_status
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.store import TaskRecord

_FRESH_S = 5.0
"""Ten beats: what an engine said longer ago is not what it does now."""

_LONGEST_SILENCE_S = 3600.0
"""A beat from longer ago is from before the last boot, whose monotonic clock says nothing."""

StatusT = TypeVar("StatusT", EngineStatus, ClientStatus)


def entry_of(record: TaskRecord, *, folder: str, settings: Settings, names: Mapping[int, str]) -> TaskEntry:
    """What list and query say of a task.

    Counts come from any status file of this run. What is true only at the moment (source, rate) is told only while the
    task is RUNNING and its engine's heartbeat is fresh: a file may be left from before a crash or a reboot. A
    sophon-stream program writes no status: its frames are those that it posted.

    Args:
        record: the task's row.
        folder: the task's folder.
        settings: the server's settings.
        names: the algorithms, name by number.
    """
    register_request(record.request)  # a task may be older than this process
    client = _of_this_run(ClientStatus.read(Path(f"{folder}/{CLIENT_FILE}")), record) or ClientStatus()
    engine = _of_this_run(EngineStatus.read(Path(f"{folder}/{ENGINE_FILE}")), record)
    engine = engine or EngineStatus(frames=client.received)
    running = record.state is TaskState.RUNNING
    silent_s = time.monotonic() - engine.beat
    fresh = running and 0 <= silent_s <= min(_FRESH_S, settings.heartbeat_timeout_s)
    now = engine.source_reason if fresh else _silence(silent_s) if running and engine.pid else ""
    return TaskEntry(
        TaskID=record.task_id,
        Status=wire_status(record.state),
        State=record.state.value,
        Reason=_reason(record, now, engine, client),
        Source=_source(record, engine if fresh else EngineStatus()),
        SourceSince=utc_text(engine.source_since) if fresh and engine.source_since else "",
        FrameAge=_frame_age(engine) if fresh else None,
        Reconnects=engine.reconnects,
        Stalls=engine.stalls,
        BrokenPackets=engine.broken,
        Stream=engine.stream,
        Gate=engine.gate if fresh else "",
        Fps=round(engine.fps, 2) if fresh else 0.0,
        Frames=engine.frames,
        Dropped=engine.dropped,
        Events=client.events,
        Pending=client.pending,
        Delivered=client.delivered,
        Dead=client.dead,
        Lost=client.dropped + client.lost,
        Restarts=record.restarts,
        Since=utc_text(record.since),
        Revision=_revision(engine, client, foreign=settings.engine_binary is not None),
        Detector=engine.detector,
        Algorithms=_algorithms(record, engine, client, names),
    )


def utc_text(epoch_s: float) -> str:
    """Seconds since the epoch as ``2026-11-20T10:41:05Z``."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_this_run(status: StatusT | None, record: TaskRecord) -> StatusT | None:
    return status if status is not None and status.run == record.key else None


def _source(record: TaskRecord, engine: EngineStatus) -> str:
    return SourceState.ENDED.value if record.state is TaskState.FINISHED else engine.source


def _frame_age(engine: EngineStatus) -> float | None:
    """Seconds since the last picture, with those since the status was written."""
    if engine.frame_age_s < 0:
        return None
    return round(engine.frame_age_s + time.monotonic() - engine.beat, 1)


def _silence(silent_s: float) -> str:
    """Why nothing is said of the source of a task that runs."""
    return f"the engine has given no sign for {silent_s:.0f} s" if 0 < silent_s < _LONGEST_SILENCE_S else ""


def _revision(engine: EngineStatus, client: ClientStatus, *, foreign: bool) -> int:
    """The one that both run; a sophon-stream program runs any, for nothing that it does can be updated."""
    return client.revision if foreign else min(engine.revision, client.revision)


def _reason(record: TaskRecord, now: str, engine: EngineStatus, client: ClientStatus) -> str:
    """Why a task does not do, or did not do, what it should: its own reason, its source, its algorithms and reports."""
    wait = "1 alarm waits" if client.pending == 1 else f"{client.pending} alarms wait"
    waiting = f"{wait}: " if client.pending and client.last_error else ""
    updates = dict.fromkeys((engine.update_problem, client.update_problem))
    parts = (record.reason, now, *updates, f"{waiting}{client.last_error}", _dead_letters(client))
    return hide("; ".join(filter(None, parts)))


def _dead_letters(client: ClientStatus) -> str:
    if not client.dead:
        return ""
    were = "1 alarm was" if client.dead == 1 else f"{client.dead} alarms were"
    why = f": {client.dead_reason}" if client.dead_reason else ""
    return f"{were} refused by every receiver{why}; see /alarm/dead"


def _algorithms(
    record: TaskRecord, engine: EngineStatus, client: ClientStatus, names: Mapping[int, str]
) -> list[AlgorithmStatus]:
    counts, totals = client.per_algorithm, client.totals
    return [
        AlgorithmStatus(
            Type=algorithm["Type"],
            Name=names.get(algorithm["Type"], ""),
            Port=record.port,
            Path=f"/flask_test/{index}",
            Events=counts[index] if index < len(counts) else 0,
            Totals=totals[index] if index < len(totals) and isinstance(totals[index], dict) else None,
            LeftOut=engine.left_out.get(str(index), ""),
        )
        for index, algorithm in enumerate(record.request["Algorithm"])
    ]
