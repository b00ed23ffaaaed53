"""What should run and what does: the one table that the web process and the supervisor share.

The web side writes what is wanted (``create``, ``update``, ``delete``) and moves a counter with it; the supervisor
polls the counter, looks at what is at work (``at_work``, ``records``), and is the only one to call ``set_states``,
``purge`` and ``back_up_if_due``. Every method is one transaction, on the disk before it returns, and may be called from
any thread. What the web side wrote is checked at each reading by the row's checksum; what the supervisor wrote is read
as well as it can be.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from streamserver import durable
from streamserver.core import failpoints
from streamserver.core.errors import StoreDamagedError
from streamserver.core.states import ENDED, TaskState
from streamserver.store import schema
from streamserver.store.journal import Journal
from streamserver.store.records import (
    Desired,
    Glance,
    Page,
    Records,
    SpoiltRowError,
    StateChange,
    TaskRecord,
    glance_of,
    new_record,
    record_of,
    row_values,
)
from streamserver.store.rescue import Rescue, mend_rows
from streamserver.store.schema import counters, tasks
from streamserver.store.upkeep import Upkeep

Result = TypeVar("Result")

_KEYS_A_QUERY = 500
_LAST_CHARACTER = chr(0x10FFFF)

_IS_WANTED = tasks.c.desired == sa.literal(Desired.RUNNING.value, literal_execute=True)
"""As a literal, for the index of wanted tasks is only used where this stands in the query."""

_IS_AT_REST = _IS_WANTED & tasks.c.state.in_([state.value for state in ENDED])


class TaskStore:
    """The task table behind ``url``, e.g. ``sqlite:////var/lib/stream-server/tasks.sqlite``.

    A damaged file is mended by the constructor (``damage`` says so), a row with a wrong checksum whenever it is read.

    Raises:
        StoreDamagedError: from every method, when the file turns out to be damaged while it is in use; close the store,
            and open it anew once every process has closed it.
        StoreError: from the constructor and every method, when the database cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        self._path = schema.path_of(url)
        self._journal = Journal(self._path)
        self._schema = schema.schema(lambda _: self._journal.number())
        with self._wrapped():
            self._path.parent.mkdir(parents=True, exist_ok=True)
        rescue = functools.cache(lambda: Rescue(self._path, self._journal))  # the journal is read when it is needed
        opened = durable.open_database(
            self._path,
            self._schema,
            salvage=lambda source, target: rescue().salvage(source, target),
            complete=lambda target: rescue().complete(target),
        )
        self.damage = opened.damage
        self._anchor = opened.connection  # keeps the file from being replaced as long as the store is open
        self._engine = schema.make_engine(self._connect)
        self._upkeep = Upkeep(self._path)
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def create(self, task_id: str, src_id: str, request: Mapping[str, Any], spec_hash: str) -> tuple[TaskRecord, bool]:
        """Wants this task to run.

        Returns:
            The row and whether it is new. A row with the same hash that has not ended is returned as it is; any other
            row of this ``task_id`` is marked deleted and a new one, with a new key, takes its place.
        """

        def work(connection: Connection) -> tuple[TaskRecord, dict[str, Any], str | None, int]:
            existing = _first(connection, tasks.c.task_id == task_id, _IS_WANTED)
            if existing and existing.spec_hash == spec_hash and existing.state not in ENDED:
                return existing, {}, None, 0
            if existing:
                _mark_deleted(connection, existing)
            record = new_record(task_id, src_id, request, spec_hash)
            values = row_values(record)
            connection.execute(tasks.insert().values(values))
            values["id"] = connection.scalar(sa.text("SELECT last_insert_rowid()"))
            number = _count(connection)
            failpoints.hit("accept.before_commit")
            return record, values, existing.key if existing else None, number

        record, values, replaced, number = self._run(work, immediate=True)
        if not values:
            return record, False
        failpoints.hit("accept.committed")
        self._journal.created(number, values, replaces=replaced)
        return record, True

    def update(self, read: TaskRecord, request: Mapping[str, Any], spec_hash: str) -> TaskRecord | None:
        """Wants a task that runs to go on with another request; its key and its processes stay.

        Args:
            read: the row as it was read when ``request`` was made of it.
            request: the new canonical request, of the same task and source.
            spec_hash: its hash.

        Returns:
            The new row; ``None`` when it is no longer as it was read, or is over: read it again.
        """

        def work(connection: Connection) -> tuple[TaskRecord, dict[str, Any], int] | None:
            row = _first(connection, tasks.c.key == read.key, _IS_WANTED)
            if row is None or row.revision != read.revision or row.state in ENDED:
                return None
            row = replace(row, request=dict(request), spec_hash=spec_hash, revision=row.revision + 1)
            values = row_values(row)
            changed = {name: values[name] for name in ("request", "spec_hash", "revision", "checksum")}
            connection.execute(tasks.update().where(tasks.c.key == row.key).values(changed))
            values["id"] = connection.scalar(sa.select(tasks.c.id).where(tasks.c.key == row.key))
            number = _count(connection)
            failpoints.hit("update.before_commit")
            return row, values, number

        done = self._run(work, immediate=True)
        if done is None:
            return None
        failpoints.hit("update.committed")
        row, values, number = done
        self._journal.updated(number, values)
        return row

    def delete(self, task_id: str) -> bool:
        """Wants this task gone, whatever its state; ``False`` when there is no such task."""

        def work(connection: Connection) -> tuple[str, int]:
            existing = _first(connection, tasks.c.task_id == task_id, _IS_WANTED)
            if existing is None:
                return "", 0
            _mark_deleted(connection, existing)
            number = _count(connection)
            failpoints.hit("delete.before_commit")
            return existing.key, number

        key, number = self._run(work, immediate=True)
        if not key:
            return False
        failpoints.hit("delete.committed")
        self._journal.deleted(number, key)
        return True

    def find(self, task_id: str) -> TaskRecord | None:
        """The task that the user knows by this name, ended ones included, deleted ones not."""
        return self._run(lambda c: _first(c, tasks.c.task_id == task_id, _IS_WANTED))

    def find_by_source(self, src_id: str) -> Records:
        """The tasks on this source, oldest first, deleted ones not included."""
        return self._run(lambda c: _select(c, tasks.c.src_id == src_id, _IS_WANTED))

    def list(self) -> Records:
        """All tasks that the user has, oldest first, ended ones included, deleted ones not."""
        return self._run(lambda c: _select(c, _IS_WANTED))

    def page(
        self, *, limit: int | None = None, after: str = "", prefix: str = "", state: TaskState | None = None
    ) -> Page:
        """Some of the tasks that ``list`` gives, in the order of their names: it stays whatever comes and goes.

        Args:
            limit: how many at most; all unless given.
            after: only names after this one, which need not exist.
            prefix: only names that begin so.
            state: only tasks in this state.
        """
        chosen = [_IS_WANTED, *_begins_with(prefix)] + ([tasks.c.state == state.value] if state else [])

        def work(connection: Connection) -> Page:
            query = sa.select(tasks).where(*chosen, tasks.c.task_id > after).order_by(tasks.c.task_id)
            rows = connection.execute(query.limit(None if limit is None else limit + 1)).all()
            total = connection.scalar(sa.select(sa.func.count()).select_from(tasks).where(*chosen))
            found = [record_of(row) for row in rows[:limit]]
            return Page(records=found, total=int(total or 0), more=len(rows) > len(found))

        return self._run(work)

    def all(self) -> Records:
        """Every row, oldest first, with those that are deleted and still have to stop."""
        return self._run(_select)

    def versions_of(self, task_id: str) -> Records:
        """Every row of this name, oldest first, with those that are deleted."""
        return self._run(lambda c: _select(c, tasks.c.task_id == task_id))

    def keys(self) -> frozenset[str]:
        """The keys of all rows."""
        return frozenset(self._run(lambda c: c.execute(sa.select(tasks.c.key)).scalars().all()))

    def states(self) -> Sequence[tuple[str, str]]:
        """TaskID and state of every task that is wanted; not checked."""
        query = sa.select(tasks.c.task_id, tasks.c.state).where(_IS_WANTED)
        return self._run(lambda c: [(task_id, state) for task_id, state in c.execute(query)])

    def at_work(self) -> Sequence[Glance]:
        """What the supervisor compares with what it knows, oldest first: all rows but those at rest; not checked."""
        query = sa.select(tasks.c.key, tasks.c.desired, tasks.c.revision).where(~_IS_AT_REST).order_by(tasks.c.id)
        return self._run(lambda c: [glance_of(*row) for row in c.execute(query)])

    def at_rest(self, *, limit: int, after: str = "") -> Sequence[str]:
        """Keys of tasks that have ended and are still wanted, in the order of keys, from after ``after`` on."""
        query = sa.select(tasks.c.key).where(_IS_AT_REST, tasks.c.key > after).order_by(tasks.c.key).limit(limit)
        return self._run(lambda c: c.execute(query).scalars().all())

    def records(self, keys: Sequence[str]) -> Records:
        """The rows of these keys, oldest first; of those that are gone, nothing."""

        def work(connection: Connection) -> Records:
            parts = (keys[at : at + _KEYS_A_QUERY] for at in range(0, len(keys), _KEYS_A_QUERY))
            return [record for part in parts for record in _select(connection, tasks.c.key.in_(part))]

        return self._run(work)

    def version(self) -> int:
        """A number that moves with all that ``create``, ``update`` and ``delete`` change, in whatever process."""
        return self._run(_read_count)

    def set_states(self, changes: Sequence[StateChange]) -> None:
        """Records what tasks' processes do, all in one commit; for the supervisor only."""

        def work(connection: Connection) -> None:
            for change in changes:
                connection.execute(_state_update(change))
            failpoints.hit("state.before_save")

        if changes:
            self._run(work, immediate=True)

    def set_state(
        self, key: str, state: TaskState, *, reason: str = "", restarts: int | None = None, port: int | None = None
    ) -> None:
        """As ``set_states`` for one row."""
        self.set_states([StateChange(key=key, state=state, reason=reason, restarts=restarts, port=port)])

    def purge(self, key: str) -> None:
        """Forgets a deleted row whose processes and folder are gone; for the supervisor only."""
        gone = tasks.delete().where(tasks.c.key == key, tasks.c.desired == Desired.DELETED)
        if self._run(lambda connection: connection.execute(gone).rowcount, immediate=True):
            self._journal.purged(key)

    def check(self) -> None:
        """Looks at every row and mends those whose checksum is wrong.

        Raises:
            StoreDamagedError: the file itself is damaged.
        """
        with self._wrapped(), closing(self._connect()) as connection:
            damage = mend_rows(connection, self._path, self._journal)
        if damage is not None:
            durable.note(damage)
            self.damage = self.damage or damage

    def settle(self) -> None:
        """Leaves the file so that the next changes need as little room as can be; for a disk that is nearly full."""
        with self._wrapped():
            durable.settle(self._anchor)

    def back_up_if_due(self, interval_s: float, *, soon_after_change_s: float = 60.0) -> None:
        """Makes the backup anew every ``interval_s``, and ``soon_after_change_s`` after tasks came or went.

        For the supervisor, about once a second.

        Raises:
            StoreDamagedError: the database is damaged; the backup stays as it is.
            StoreError: there can be no backup now; the next try is due in a minute.
        """
        if not self._upkeep.is_due(self.version(), interval_s, soon_after_change_s):
            return
        self.check()
        durable.back_up(self._path, check=self._schema)
        self._upkeep.done()
        self.settle()  # a -wal that gets lost then takes little with it

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()
        self._anchor.close()

    def _connect(self) -> sqlite3.Connection:
        hold = durable.Hold(self._path, exclusive=False)
        try:
            connection = durable.connect(self._path, hold=hold)
        except BaseException:
            hold.release()
            raise
        connection.text_factory = durable.tolerant_text
        return connection

    def _run(self, work: Callable[[Connection], Result], *, immediate: bool = False) -> Result:
        try:
            return self._transaction(work, immediate)
        except SpoiltRowError:
            self.check()
        try:
            return self._transaction(work, immediate)
        except SpoiltRowError as e:
            raise StoreDamagedError(f"{self._path}: {e}", cure="restart the server; the file is mended then") from e

    def _transaction(self, work: Callable[[Connection], Result], immediate: bool) -> Result:
        with self._wrapped():
            try:
                return self._attempt(work, immediate)
            except OperationalError as e:
                if not durable.is_full(e.orig):
                    raise
                durable.settle(self._anchor)
                return self._attempt(work, immediate)

    def _attempt(self, work: Callable[[Connection], Result], immediate: bool) -> Result:
        with self._engine.connect() as plain:
            connection = plain.execution_options(immediate=immediate)
            with connection.begin():
                return work(connection)

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, *durable.TROUBLE) as e:
            raise durable.store_error(self._path, e) from e


def _select(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Records:
    query = sa.select(tasks).where(*conditions).order_by(tasks.c.id)
    return [record_of(row) for row in connection.execute(query)]


def _first(connection: Connection, *conditions: sa.ColumnElement[bool]) -> TaskRecord | None:
    found = _select(connection, *conditions)
    return found[0] if found else None


def _begins_with(prefix: str) -> list[sa.ColumnElement[bool]]:
    """As a range, which an index can find: up to the first text that is greater than all that begin so."""
    most = prefix.rstrip(_LAST_CHARACTER)
    if not most:
        return [tasks.c.task_id >= prefix]
    following = ord(most[-1]) + 1
    end = most[:-1] + chr(0xE000 if following == 0xD800 else following)  # what lies between is no text
    return [tasks.c.task_id >= prefix, tasks.c.task_id < end]


def _mark_deleted(connection: Connection, record: TaskRecord) -> None:
    query = sa.select(tasks).where(tasks.c.key == record.key)
    values = dict(connection.execute(query).one()._mapping) | {"desired": Desired.DELETED.value}
    update = tasks.update().where(tasks.c.key == record.key)
    connection.execute(update.values(desired=Desired.DELETED.value, checksum=schema.checksum_of(values)))


def _state_update(change: StateChange) -> sa.Update:
    values: dict[str, Any] = {"state": change.state.value, "reason": change.reason}
    values["since"] = sa.case((tasks.c.state == change.state.value, tasks.c.since), else_=time.time())
    values |= {} if change.restarts is None else {"restarts": change.restarts}
    values |= {} if change.port is None else {"port": change.port}
    return tasks.update().where(tasks.c.key == change.key).values(values)


def _read_count(connection: Connection) -> int:
    value = connection.scalar(sa.select(counters.c.value).where(counters.c.name == schema.WRITES))
    return value if isinstance(value, int) else 0


def _count(connection: Connection) -> int:
    moved = counters.update().where(counters.c.name == schema.WRITES).values(value=counters.c.value + 1)
    connection.execute(moved)
    return _read_count(connection)
