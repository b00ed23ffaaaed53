"""What the worker and the client tell the supervisor and the web process: one small JSON file each, beside the task.

The file is rewritten about twice a second, so its ``beat`` is also the process's heartbeat. ``beat`` is the monotonic
clock, which all processes of one boot share; a beat from before the last boot is in the future or far in the past.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from streamserver.core.files import read_json, rewrite_json

ENGINE_FILE = "run/engine.json"
"""Where the engine writes its status, relative to the task's folder."""

CLIENT_FILE = "run/client.json"
"""Where the client writes its status, relative to the task's folder."""

BEAT_INTERVAL_S = 0.5
"""How often a process rewrites its status."""

_TRIES = 4
_TRY_AGAIN_S = 0.002


@dataclass(slots=True)
class _Status:
    """What both kinds have; ``run`` is the accepted task version the process belongs to."""

    run: str = ""
    pid: int = 0
    beat: float = 0.0
    error: str = ""

    def write(self, path: Path) -> None:
        """Beats: sets ``beat`` to now and rewrites the file, in place when the disk is full; raises ``OSError``."""
        self.beat = time.monotonic()
        rewrite_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The status in ``path``, or ``None`` when there is none that can be read."""
        content = _read_whole(path)
        if not isinstance(content, dict):
            return None
        known = cls.__dataclass_fields__
        return cls(**{key: value for key, value in content.items() if key in known})


def _read_whole(path: Path) -> Any:
    """The content of a status; what is rewritten in place just now (the disk is full) is whole a moment later."""
    for attempt in range(_TRIES):
        content = read_json(path)
        if content is not None or not path.exists():
            return content
        if attempt < _TRIES - 1:
            time.sleep(_TRY_AGAIN_S)
    return None


@dataclass(slots=True)
class EngineStatus(_Status):
    """The engine's view.

    Attributes:
        ready: models are loaded and the first frame may come.
        source: a ``SourceState`` value.
        source_reason: why the source is not streaming, in words, addresses masked.
        frames: frames that were processed (kept by ``sample_interval``) since the task was accepted.
        dropped: live frames that were left out because the engine was busy.
        fps: processed frames a second over the last seconds.
        source_since: when the source's state began, seconds since the epoch; 0 before it has one.
        frame_age_s: seconds since the last picture when the status was written; -1 before the first.
        reconnects: how often a live source was connected again and gave pictures.
        reconnect_reasons: those by why the connection before was lost (``counters.RECONNECT_REASONS``).
        stalls: how often pictures stayed away, or stayed the same, while the connection stood.
        broken: packets of a live source that were lost or could not be decoded.
        stream: what is read, in words, e.g. ``h264 1920x1080 25 fps``.
        gate: ``open`` or ``idle`` behind a motion gate; empty without one.
        loop: how often a file has started over.
        detector: which detector really runs, e.g. ``yolox_nano.onnx on CPUExecutionProvider`` or ``motion``.
        left_out: whom each algorithm's rules leave out, in words, by its place in the task; only those that do.
        revision: of the task's files that it runs; 0 before it runs.
        update_problem: why that is not the newest, in words.
        inference: model, device and histogram (``core.counters``) of each model that this process runs.
        error: why the process is about to exit, in words.
    """

    ready: bool = False
    source: str = ""
    source_reason: str = ""
    frames: int = 0
    dropped: int = 0
    fps: float = 0.0
    source_since: float = 0.0
    frame_age_s: float = -1.0
    reconnects: int = 0
    reconnect_reasons: dict[str, int] = field(default_factory=dict)
    stalls: int = 0
    broken: int = 0
    stream: str = ""
    gate: str = ""
    loop: int = 0
    detector: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    revision: int = 0
    update_problem: str = ""
    inference: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class ClientStatus(_Status):
    """The client's view.

    Attributes:
        ready: the port is open.
        port: where it listens.
        received: frames that the engine posted.
        events: alarms raised since the task was accepted.
        delivered: alarms that a receiver has confirmed.
        pending: alarms that wait for a receiver.
        oldest_age_s: for how long the oldest of them has waited, while a process had the outbox open; 0 for none.
        dropped: alarms that were given up (retention), counted.
        expired: those of them that waited too long, not too many.
        dead: alarms that every receiver refused for their own sake; they wait for a replay.
        dead_reason: why one of those was refused, in words.
        lost: alarms that were committed and went with a damaged file.
        last_error: why the last delivery failed, in words.
        per_algorithm: alarms raised by each algorithm, in the task's order.
        totals: what each algorithm remembers across restarts; ``None`` for one that remembers nothing.
        attempts: POSTs of this process by outcome (``counters.ATTEMPT_OUTCOMES``).
        delays: histogram (``core.counters``) of the seconds from raising to delivery, of this process.
        revision: of the task's files that it runs; 0 before it runs.
        update_problem: why that is not the newest, in words.
    """

    ready: bool = False
    port: int = 0
    received: int = 0
    events: int = 0
    delivered: int = 0
    pending: int = 0
    oldest_age_s: float = 0.0
    dropped: int = 0
    expired: int = 0
    dead: int = 0
    dead_reason: str = ""
    lost: int = 0
    last_error: str = ""
    per_algorithm: list[int] = field(default_factory=list)
    totals: list[Any] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
    revision: int = 0
    update_problem: str = ""


@dataclass(slots=True)
class CourierStatus(_Status):
    """The courier's view; ``run`` stays empty.

    Attributes:
        ready: it delivers.
        boxes: outboxes that it looks after.
        pending: alarms that wait in them.
        oldest_age_s: as that of a client, of the oldest of all.
        attempts: as those of a client.
        delays: as those of a client.
    """

    ready: bool = False
    boxes: int = 0
    pending: int = 0
    oldest_age_s: float = 0.0
    attempts: dict[str, int] = field(default_factory=dict)
    delays: list[float] = field(default_factory=list)
