"""What should run and what does: the one table that the web process and the supervisor share.

The web side writes what is wanted (``create``, ``delete``) and moves a counter with it; the supervisor polls the
counter and is the only one to call ``set_state`` and ``purge``. Every method is one transaction and may be called from
any thread.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from streamserver.core.errors import StoreError
from streamserver.core.files import new_key
from streamserver.core.states import ENDED, TaskState
from streamserver.store import schema
from streamserver.store.schema import counters, tasks


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


Records = list[TaskRecord]
"""Rows, oldest first; named because ``TaskStore.list`` hides the built-in within its class."""


class TaskStore:
    """The task table behind ``url``, e.g. ``sqlite:////var/lib/stream-server/tasks.sqlite``.

    Raises:
        StoreError: from the constructor and every method, when the database cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        self._name = url
        with self._wrapped():
            self._engine = schema.open_engine(url)
            self._name = self._engine.url.render_as_string(hide_password=True)
            schema.prepare(self._engine)

    def create(self, task_id: str, src_id: str, request: Mapping[str, Any], spec_hash: str) -> tuple[TaskRecord, bool]:
        """Wants this task to run.

        Returns:
            The row and whether it is new. A row with the same hash that has not ended is returned as it is; any other
            row of this ``task_id`` is marked deleted and a new one, with a new key, takes its place.
        """
        with self._writing() as connection:
            existing = _first(connection, tasks.c.task_id == task_id, tasks.c.desired == Desired.RUNNING)
            if existing and existing.spec_hash == spec_hash and existing.state not in ENDED:
                return existing, False
            if existing:
                _mark_deleted(connection, existing.key)
            record = _new_record(task_id, src_id, request, spec_hash)
            connection.execute(tasks.insert().values(_row_values(record)))
            _count(connection)
        return record, True

    def delete(self, task_id: str) -> bool:
        """Wants this task gone, whatever its state; ``False`` when there is no such task."""
        with self._writing() as connection:
            existing = _first(connection, tasks.c.task_id == task_id, tasks.c.desired == Desired.RUNNING)
            if existing is None:
                return False
            _mark_deleted(connection, existing.key)
            _count(connection)
        return True

    def find(self, task_id: str) -> TaskRecord | None:
        """The task that the user knows by this name, ended ones included, deleted ones not."""
        with self._reading() as connection:
            return _first(connection, tasks.c.task_id == task_id, tasks.c.desired == Desired.RUNNING)

    def find_by_source(self, src_id: str) -> Records:
        """The tasks on this source, oldest first, deleted ones not included."""
        with self._reading() as connection:
            return _select(connection, tasks.c.src_id == src_id, tasks.c.desired == Desired.RUNNING)

    def list(self) -> Records:
        """All tasks that the user has, oldest first, ended ones included, deleted ones not."""
        with self._reading() as connection:
            return _select(connection, tasks.c.desired == Desired.RUNNING)

    def all(self) -> Records:
        """Every row, oldest first, with those that are deleted and still have to stop."""
        with self._reading() as connection:
            return _select(connection)

    def version(self) -> int:
        """A number that moves with every ``create`` and ``delete`` that changed something, in whatever process."""
        with self._reading() as connection:
            value = connection.scalar(sa.select(counters.c.value).where(counters.c.name == schema.WRITES))
        return int(value or 0)

    def set_state(
        self, key: str, state: TaskState, *, reason: str = "", restarts: int | None = None, port: int | None = None
    ) -> None:
        """Records what a task's processes do; for the supervisor only.

        Args:
            key: the row; one that is gone is no error.
            state: the new state; ``since`` moves when it differs from the old one.
            reason: why, in words; replaces the old one.
            restarts: the new count, unchanged when ``None``.
            port: the client's port, unchanged when ``None``.
        """
        values: dict[str, Any] = {"state": state, "reason": reason}
        values["since"] = sa.case((tasks.c.state == state, tasks.c.since), else_=time.time())
        values |= {} if restarts is None else {"restarts": restarts}
        values |= {} if port is None else {"port": port}
        with self._writing() as connection:
            connection.execute(tasks.update().where(tasks.c.key == key).values(values))

    def purge(self, key: str) -> None:
        """Forgets a deleted row whose processes and folder are gone; for the supervisor only."""
        with self._writing() as connection:
            connection.execute(tasks.delete().where(tasks.c.key == key, tasks.c.desired == Desired.DELETED))

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as e:
            cause = getattr(e, "orig", None) or e
            raise StoreError(
                f"task database {self._name}: {cause}", cure="check that its folder exists, is writable and has space"
            ) from e

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._wrapped(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._wrapped(), self._engine.connect() as plain:
            connection = plain.execution_options(immediate=True)
            with connection.begin():
                yield connection


def _new_record(task_id: str, src_id: str, request: Mapping[str, Any], spec_hash: str) -> TaskRecord:
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


_COLUMNS = [column for column in tasks.c if column.name != "id"]


def _row_values(record: TaskRecord) -> dict[str, Any]:
    values = {column.name: getattr(record, column.name) for column in _COLUMNS}
    return values | {"request": json.dumps(record.request, ensure_ascii=False, allow_nan=False)}


def _record(row: Row[Any]) -> TaskRecord:
    values = dict(row._mapping)
    values["request"] = json.loads(values["request"])
    values["desired"] = Desired(values["desired"])
    values["state"] = TaskState(values["state"])
    return TaskRecord(**values)


def _select(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Records:
    query = sa.select(*_COLUMNS).where(*conditions).order_by(tasks.c.id)
    return [_record(row) for row in connection.execute(query)]


def _first(connection: Connection, *conditions: sa.ColumnElement[bool]) -> TaskRecord | None:
    found = _select(connection, *conditions)
    return found[0] if found else None


def _mark_deleted(connection: Connection, key: str) -> None:
    connection.execute(tasks.update().where(tasks.c.key == key).values(desired=Desired.DELETED))


def _count(connection: Connection) -> None:
    moved = counters.update().where(counters.c.name == schema.WRITES).values(value=counters.c.value + 1)
    connection.execute(moved)
