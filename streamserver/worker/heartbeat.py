"""The engine's status file: what it says and when it falls silent."""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from streamserver.core.counters import inference_times
from streamserver.core.secrets import hide
from streamserver.core.source_monitor import SourceReport
from streamserver.core.states import SourceState
from streamserver.core.status import BEAT_INTERVAL_S, ENGINE_FILE, EngineStatus
from streamserver.engine.runner import Snapshot

logger = logging.getLogger(__name__)

FPS_WINDOW_S = 5.0

_NUMBERS = re.compile(r"\d+")

_CLOCKS_S = 5.0
"""How far the wall clock may run from the monotonic one before the time at which a state began is taken for another. On
a busy machine a report may be a second or two old before it is read.
"""


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
        self._said = (SourceState.NONE, "")
        self._status = EngineStatus(run=run, pid=os.getpid())
        previous = EngineStatus.read(self._path) if self._path else None
        continues = previous is not None and previous.run == run and bool(run)
        self._frames_before = previous.frames if previous and continues else 0
        self.start_loop = max(0, previous.loop - 1) if previous and continues else 0

    def beat(self, snapshot: Snapshot | None, hung: str = "") -> None:
        """Writes the status when it is due, and at once when the engine is ready and when it has its first frame.

        An engine that hangs does not beat, so that it is found and ended.

        Args:
            snapshot: how the engine does; ``None`` before it is built.
            hung: which part hangs, in words; empty if none does.
        """
        now = self._clock()
        if now < self._next_beat and not self._has_begun(snapshot):
            return
        self._next_beat = now + BEAT_INTERVAL_S
        if hung and not self._silent:
            logger.error("%s; no heartbeat until it goes on", hung)
        self._silent = bool(hung)
        if not hung:
            self._write(snapshot)

    def _has_begun(self, snapshot: Snapshot | None) -> bool:
        """True when the engine is ready, or has a frame, for the first time: somebody waits for that."""
        if snapshot is None:
            return False
        first_frame = snapshot.frames > 0 and self._status.frames == self._frames_before
        return first_frame or (snapshot.ready and not self._status.ready)

    def tell(self, revision: int, problem: str) -> None:
        """Notes which revision of the task runs, and why not the newest."""
        self._status.revision, self._status.update_problem = revision, hide(problem)

    def last(self, snapshot: Snapshot | None, error: str) -> None:
        """Writes the status for the last time, with the reason why the process ends (empty for a good end)."""
        self._status.error = hide(error)
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
            status.left_out = dict(snapshot.left_out)
            status.inference = inference_times.told()
            status.fps = self._fps.update(self._clock(), snapshot.frames)
        if self._path is not None:
            try:
                status.write(self._path)
            except OSError as e:
                logger.warning("%s: cannot be written: %s", self._path, e.strerror or e)

    def _take(self, source: SourceReport) -> None:
        self._log_change(source)
        status = self._status
        since = time.time() - source.age_s if source.state else 0.0
        if str(source.state) != status.source or abs(since - status.source_since) > _CLOCKS_S:
            status.source_since = since
        status.source, status.source_reason = str(source.state), hide(source.reason)
        status.frame_age_s = -1.0 if source.frame_age_s is None else round(source.frame_age_s, 2)
        status.reconnects, status.stalls, status.broken = source.reconnects, source.stalls, source.broken
        status.reconnect_reasons = dict(source.reconnect_reasons)
        status.stream, status.gate = source.stream, source.gate

    def _log_change(self, source: SourceReport) -> None:
        """Logs once what the reader does not log itself: a stall, and its end without a new connection."""
        said = (source.state, _NUMBERS.sub("", source.reason))
        before, self._said = self._said, said
        if said == before:
            return
        stalled = SourceState.STALLED
        level = logging.WARNING if source.state is stalled else logging.INFO if before[0] is stalled else logging.DEBUG
        reason = f": {hide(source.reason)}" if source.reason else ""
        logger.log(level, "the source is %s%s", source.state, reason)
