"""The engine's status file: what it says and when it falls silent."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from streamserver.core.source_monitor import SourceReport
from streamserver.core.status import BEAT_INTERVAL_S, ENGINE_FILE, EngineStatus
from streamserver.core.urls import mask_credentials
from streamserver.engine.runner import Snapshot

logger = logging.getLogger(__name__)

FPS_WINDOW_S = 5.0


class FpsMeter:
    """Frames a second over the last ``FPS_WINDOW_S`` seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, now: float, frames: int) -> float:
        """Takes the number of frames so far; returns the rate, 0 until there are two samples."""
        self._samples.append((now, frames))
        while len(self._samples) > 2 and now - self._samples[0][0] > FPS_WINDOW_S:
            self._samples.popleft()
        since, before = self._samples[0]
        return round((frames - before) / (now - since), 2) if now > since else 0.0


class Heartbeat:
    """Writes the status file twice a second, going on from that of an earlier process of the same run.

    Args:
        task_dir: the task's folder; ``None`` for nobody to tell.
        run: the task's key; names the accepted version that this process belongs to.
        clock: the monotonic clock.
    """

    def __init__(self, task_dir: Path | None, run: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = task_dir / ENGINE_FILE if task_dir else None
        self._clock = clock
        self._next_beat = clock()
        self._fps = FpsMeter()
        self._silent = False
        self._status = EngineStatus(run=run, pid=os.getpid())
        previous = EngineStatus.read(self._path) if self._path else None
        continues = previous is not None and previous.run == run and bool(run)
        self._frames_before = previous.frames if previous and continues else 0
        self.start_loop = max(0, previous.loop - 1) if previous and continues else 0

    def beat(self, snapshot: Snapshot | None, hung: str = "") -> None:
        """Writes the status when it is due; an engine that hangs does not beat, so that it is found and ended.

        Args:
            snapshot: how the engine does; ``None`` before it is built.
            hung: which part hangs, in words; empty if none does.
        """
        now = self._clock()
        if now < self._next_beat:
            return
        self._next_beat = now + BEAT_INTERVAL_S
        if hung and not self._silent:
            logger.error("%s; no heartbeat until it goes on", hung)
        self._silent = bool(hung)
        if not hung:
            self._write(snapshot)

    def last(self, snapshot: Snapshot | None, error: str) -> None:
        """Writes the status for the last time, with the reason why the process ends (empty for a good end)."""
        self._status.error = mask_credentials(error)
        self._write(snapshot)

    def _write(self, snapshot: Snapshot | None) -> None:
        status = self._status
        status.frames, status.loop = self._frames_before, self.start_loop
        if snapshot is not None:
            status.ready = snapshot.ready
            status.frames += snapshot.frames
            status.loop = max(snapshot.loop, self.start_loop)
            status.dropped = snapshot.dropped
            self._take(snapshot.source)
            status.detector = snapshot.detector
            status.fps = self._fps.update(self._clock(), snapshot.frames)
        if self._path is not None:
            try:
                status.write(self._path)
            except OSError as e:
                logger.warning("%s: cannot be written: %s", self._path, e.strerror or e)

    def _take(self, source: SourceReport) -> None:
        status = self._status
        status.source, status.source_reason = str(source.state), mask_credentials(source.reason)
        status.source_since = time.time() - source.age_s if source.state else 0.0
        status.frame_age_s = -1.0 if source.frame_age_s is None else round(source.frame_age_s, 2)
        status.reconnects, status.stalls, status.broken = source.reconnects, source.stalls, source.broken
        status.stream = source.stream
