"""The states of a task, which may follow which, and how they look on the wire."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """What a task's processes do now; what they *should* do is another column of the store."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


class SourceState(StrEnum):
    """What the engine says of its stream; empty before it said anything."""

    NONE = ""
    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


ALIVE = frozenset({TaskState.PENDING, TaskState.STARTING, TaskState.RUNNING, TaskState.BACKOFF})
"""States in which the task is meant to run and will: wire ``Status`` 1."""

ENDED = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.STOPPED})
"""States that only a new create leaves."""

_NEXT: dict[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset({TaskState.STARTING, TaskState.FAILED}),
    TaskState.STARTING: frozenset({TaskState.RUNNING, TaskState.BACKOFF, TaskState.FAILED, TaskState.FINISHED}),
    TaskState.RUNNING: frozenset({TaskState.BACKOFF, TaskState.FINISHED, TaskState.FAILED}),
    TaskState.BACKOFF: frozenset({TaskState.STARTING, TaskState.FAILED}),
    TaskState.FINISHED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.STOPPING: frozenset({TaskState.STOPPED}),
    TaskState.STOPPED: frozenset(),
}


def may_follow(now: TaskState, following: TaskState) -> bool:
    """True if a task may go from ``now`` to ``following``; PENDING and STOPPING can be reached from everywhere."""
    return following in (TaskState.PENDING, TaskState.STOPPING) or following in _NEXT[now]


def wire_status(state: TaskState) -> int:
    """The old server's ``Status``: 1 while the task is meant to run and will, 0 otherwise."""
    return 1 if state in ALIVE else 0
