"""A task that runs in the real server, seen from outside: what its processes have done and what they cost."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.measuring import Memory, cpu_s, memory_mb
from bench.table import Missing
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from tests.e2e.harness import Server, server, wait_for

POLL_S = 0.005
PATIENCE_S = 60.0
SHARED_MODELS = PROJECT_DIR.parent / "shared" / "models"


def short() -> bool:
    """Whether only a glance is asked for: fewer frames, no peers (``BENCH_SHORT=1``)."""
    return os.environ.get("BENCH_SHORT", "0") not in ("", "0")


def weights(name: str) -> Path:
    """The weights called ``name``, where the server would find them.

    Raises:
        Missing: they are not on this machine.
    """
    named = [Path(part) for part in os.environ.get("STREAMSERVER_MODELS", "").split(":") if part]
    for folder in (PROJECT_DIR / "models", *named, SHARED_MODELS):
        if (folder / name).is_file():
            return folder / name
    raise Missing(f"weights '{name}' not found; say where they are in STREAMSERVER_MODELS")


@contextlib.contextmanager
def house(**environment: str) -> Iterator[Server]:
    """A running server with a state folder of its own, which finds the shared weights; stopped afterwards."""
    models = str(weights("yolox_nano.onnx").parent)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        server(Path(folder) / "state", environment={"STREAMSERVER_MODELS": models, **environment}) as one,
    ):
        yield one


@dataclass(frozen=True, slots=True)
class Sample:
    """What a task has done and taken up to one moment, or between two.

    Attributes:
        moment_s: the monotonic clock, of the engine's beat.
        frames: processed.
        left_out: live frames that were not, because the engine was busy.
        engine_s: CPU seconds of the engine's process and its ended children.
        client_s: the same of the client's.
    """

    moment_s: float
    frames: int
    left_out: int
    engine_s: float
    client_s: float

    def __sub__(self, earlier: Sample) -> Sample:
        """What happened since ``earlier``."""
        return Sample(
            self.moment_s - earlier.moment_s,
            self.frames - earlier.frames,
            self.left_out - earlier.left_out,
            self.engine_s - earlier.engine_s,
            self.client_s - earlier.client_s,
        )

    @property
    def engine_ms(self) -> float:
        """CPU milliseconds of the engine per processed frame."""
        return self.engine_s / self.frames * 1000

    @property
    def client_ms(self) -> float:
        """CPU milliseconds of the client per processed frame."""
        return self.client_s / self.frames * 1000

    @property
    def wall_ms(self) -> float:
        """Milliseconds that passed per processed frame."""
        return self.moment_s / self.frames * 1000


class Running:
    """A task of a server, created and followed until it is deleted; use it with ``with``.

    Args:
        one: the server.
        body: of the create request.
    """

    def __init__(self, one: Server, body: dict[str, Any]) -> None:
        self._server = one
        self._body = body
        self.task_id: str = body["TaskID"]
        self.folder = Path()

    def __enter__(self) -> Self:
        before = self._folders()
        reply = self._server.create(self._body)
        assert reply["Code"] == 0, reply
        wait_for(lambda: self._folders() - before, f"{self.task_id} has a folder", self._told, patience_s=PATIENCE_S)
        (self.folder,) = self._folders() - before
        return self

    def __exit__(self, *_: object) -> None:
        pids = self.pids()
        self._server.post("/task/delete", {"TaskID": self.task_id})
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), f"{self.task_id} has ended")

    def _told(self) -> tuple[dict[str, Any], str]:
        """What the server says of it, and the end of what it wrote: for messages."""
        return self._server.query(self.task_id), (self._server.state_dir / "start.out").read_text()[-2000:]

    def _folders(self) -> set[Path]:
        found = (self._server.state_dir / "tasks").glob("*")
        return {path for path in found if path.suffix != ".removed"}

    def status(self) -> EngineStatus:
        """What the engine says; all zero before it says something."""
        return EngineStatus.read(self.folder / ENGINE_FILE) or EngineStatus()

    def pids(self) -> list[int]:
        """The engine's and the client's process; 0 for one that has not said so yet is left out."""
        client = ClientStatus.read(self.folder / CLIENT_FILE) or ClientStatus()
        return [pid for pid in (self.status().pid, client.pid) if pid]

    def wait_frames(self, count: int) -> None:
        """Waits until so many frames are processed."""
        wait_for(lambda: self.status().frames >= count, f"{self.task_id}: {count} frames", self._told)

    def sample(self) -> Sample:
        """The counts of the next status that the engine writes, and the CPU time of that moment."""
        beat = self.status().beat
        status = self.status()
        deadline_s = time.monotonic() + PATIENCE_S
        while status.beat <= beat:
            assert time.monotonic() < deadline_s, f"{self.task_id} does not beat: {self._told()}"
            time.sleep(POLL_S)
            status = self.status()
        engine, client = self.pids()
        spent = (cpu_s([engine], children=True), cpu_s([client], children=True))
        return Sample(status.beat, status.frames, status.dropped, *spent)

    def memory(self) -> tuple[Memory, Memory]:
        """What the engine and the client hold now."""
        engine, client = self.pids()
        return memory_mb([engine]), memory_mb([client])
