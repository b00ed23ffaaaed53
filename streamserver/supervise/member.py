"""One process under supervision: how it is ended, and what its heartbeat and its memory say of it.

Times are monotonic seconds. Silence and age are added up from look to look, at most ``LONGEST_STEP_S`` each: time in
which the supervisor itself did not run (a suspended machine, SIGSTOP) says nothing of those it watches.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamserver.core.status import ClientStatus, CourierStatus, EngineStatus
from streamserver.launchers.base import Process
from streamserver.supervise.memory import used_mb
from streamserver.supervise.pulse import is_stopped

LONGEST_STEP_S = 2.0
"""So much of the time between two looks counts at most."""

MEMORY_INTERVAL_S = 5.0
"""How often the memory of a process is looked at."""

MEMORY_LOOKS = 3
"""So many looks in a row above the limit are one too many."""

_CLOCK_SLACK_S = 1.0

Status = EngineStatus | ClientStatus | CourierStatus


@dataclass(slots=True)
class Member:
    """A process that runs.

    Attributes:
        name: what it is, for the log: ``engine``, ``client`` or ``courier``.
        started_at: just before it was started.
        foreign: it is not ours and writes no status.
        draining_since: when it was asked to deliver what waits and then to end; ``None`` before.
        kill_at: when SIGKILL follows, once it was asked to end; ``None`` before.
        ready: it has said so.
        beat: its last heartbeat, 0 before the first.
        silent_s: time without one, once it is ready; also of one that a signal has stopped.
        age_s: how long it has been watched.
    """

    name: str
    process: Process
    started_at: float
    foreign: bool = False
    draining_since: float | None = None
    kill_at: float | None = None
    ready: bool = False
    beat: float = 0.0
    silent_s: float = 0.0
    age_s: float = 0.0
    _looked_at: float = 0.0
    _memory_at: float = 0.0
    _looks_above: int = 0

    def __post_init__(self) -> None:
        self._looked_at = self.started_at
        self._memory_at = self.started_at + MEMORY_INTERVAL_S

    def end(self, number: int, *, kill_at: float) -> None:
        """Sends signal ``number``, with SIGKILL to follow at ``kill_at``; nobody is asked twice."""
        if self.kill_at is None:
            self.process.signal(number)
            self.kill_at = kill_at

    def wrote(self, status: Status, now: float) -> bool:
        """Whether this very process wrote ``status``: not the one before it, nor one before the last boot."""
        return self.started_at <= status.beat <= now + _CLOCK_SLACK_S

    def look(self, status: Status | None, now: float) -> None:
        """Takes in what its status file says now; one that cannot be read at the moment is as good as an old one."""
        step_s = min(now - self._looked_at, LONGEST_STEP_S)
        self._looked_at = now
        self.age_s += step_s
        if status is not None and self.wrote(status, now) and status.beat != self.beat:
            self.beat, self.ready, self.silent_s = status.beat, self.ready or status.ready, 0.0
        elif self.ready or is_stopped(self.process.pid):
            self.silent_s += step_s
        else:
            self.silent_s = 0.0

    def forgive(self) -> None:
        """Gives it its time anew."""
        self.silent_s = self.age_s = 0.0

    def excess_mb(self, now: float, limit_mb: int) -> float:
        """Megabytes it uses, when that was above ``limit_mb`` several times in a row; else 0; read once in a while."""
        if limit_mb <= 0 or now < self._memory_at or self.kill_at is not None:
            return 0.0
        self._memory_at = now + MEMORY_INTERVAL_S
        used = used_mb(self.process.pid)
        self._looks_above = self._looks_above + 1 if used > limit_mb else 0
        return used if self._looks_above >= MEMORY_LOOKS else 0.0
