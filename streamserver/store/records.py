"""The rows of the task table as values, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.engine import Row

from streamserver.core.files import new_key
from streamserver.core.revision import FIRST
from streamserver.core.states import TaskState
from streamserver.store import schema


class Desired(StrEnum):
    """What the user wants of a row."""

    RUNNING = "running"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """One accepted version of a task.

    Attributes:
        key: names the task's folder and this run of it; random, made anew for every accepted version.
        task_id: the user's name for the task; any text, never a path.
        src_id: the user's name for the source.
        request: the canonical request (``core.messages.canonical``).
        spec_hash: tells two requests apart.
        desired: what the user wants.
        created_at: seconds since the epoch.
        state: what the task's processes do.
        reason: why, in words.
        since: when ``state`` began, in seconds since the epoch.
        restarts: how often its processes were started again.
        port: of its client process; 0 before it has one.
        revision: grows by 1 with every update of ``request``.
    """

    key: str
    task_id: str
    src_id: str
    request: dict[str, Any]
    spec_hash: str
    desired: Desired
    created_at: float
    state: TaskState
    reason: str
    since: float
    restarts: int
    port: int
    revision: int = FIRST


Records = list[TaskRecord]
"""Rows, oldest first; named because ``TaskStore.list`` hides the built-in within its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some of the tasks.

    Attributes:
        records: the rows.
        total: how many there are on all pages together.
        more: whether there are others after these.
    """

    records: Records
    total: int
    more: bool


@dataclass(frozen=True, slots=True)
class Glance:
    """What tells whether a row is known in its present version."""

    key: str
    desired: str
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """What a task's processes do now.

    Attributes:
        key: the row; one that is gone is no error.
        state: the new state; ``since`` moves when it differs from the old one.
        reason: why, in words; replaces the old one.
        restarts: the new count, unchanged when ``None``.
        port: the client's port, unchanged when ``None``.
    """

    key: str
    state: TaskState
    reason: str = ""
    restarts: int | None = None
    port: int | None = None


class SpoiltRowError(Exception):
    """A row whose checksum is wrong was read."""


def new_record(task_id: str, src_id: str, request: Mapping[str, Any], spec_hash: str) -> TaskRecord:
    """A row for a task that was just accepted."""
    now = time.time()
    return TaskRecord(
        key=new_key(),
        task_id=task_id,
        src_id=src_id,
        request=dict(request),
        spec_hash=spec_hash,
        desired=Desired.RUNNING,
        created_at=now,
        state=TaskState.PENDING,
        reason="",
        since=now,
        restarts=0,
        port=0,
    )


_STATES = {state.value: state for state in TaskState}
_FIELDS = [name for name in schema.COLUMNS if name not in ("id", "checksum")]


def row_values(record: TaskRecord) -> dict[str, Any]:
    """The columns of a row but for ``id``, with its checksum."""
    values = {name: getattr(record, name) for name in _FIELDS}
    values |= {"desired": record.desired.value, "state": record.state.value}
    values["request"] = json.dumps(record.request, ensure_ascii=False, allow_nan=False)
    return values | {"checksum": schema.checksum_of(values)}


def glance_of(key: str, desired: str, revision: object) -> Glance:
    """Of a row's columns; its checksum is looked at when all of it is read."""
    return Glance(key, desired, _revision(revision))


def record_of(row: Row[Any]) -> TaskRecord:
    """A row as it was read, all columns of it; raises ``SpoiltRowError``."""
    values = dict(zip(schema.COLUMNS, row, strict=True))
    if not schema.is_sound(values):
        raise SpoiltRowError(f"row {values['id']} has a wrong checksum")
    values["request"] = json.loads(values["request"])
    values["desired"] = Desired(values["desired"])
    values["state"] = _STATES.get(values["state"], TaskState.PENDING)
    values["reason"] = values["reason"].encode("utf-8", "replace").decode() if isinstance(values["reason"], str) else ""
    values["since"] = values["since"] if isinstance(values["since"], float) else values["created_at"]
    values["restarts"] = _number_below(2**31, values["restarts"])
    values["port"] = _number_below(2**16, values["port"])
    values["revision"] = _revision(values["revision"])
    return TaskRecord(**{name: values[name] for name in _FIELDS})


def _revision(value: object) -> int:
    return max(FIRST, _number_below(2**53, value))


def _number_below(limit: int, value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < limit else 0
