"""One SQLite connection for several threads: those who wait for the disk at the same time share one commit."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from streamserver.core.errors import StoreError
from streamserver.durable import is_damage, is_full, settle, store_error

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

_log = logging.getLogger(__name__)

_KEPT_OPEN = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CONSTRAINT}
)
"""After these the connection is still good; on a full disk, a new one could not even be opened."""


_TROUBLE = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What SQLite raises; the last when its message quotes a damaged file."""


_OWN_FAULT = (StoreError, *_TROUBLE, ValueError, TypeError, LookupError, ArithmeticError)
"""What one caller's work may raise without the others' work coming to nothing."""


class _Job(Generic[Result]):
    """One caller's part of a transaction; ``after`` runs once it is committed, still under the lock."""

    def __init__(self, work: Work[Result], after: Callable[[Result], None] | None) -> None:
        self._work = work
        self._after = after
        self._results: list[Result] = []
        self.error: Exception | None = None
        self.done = False

    def run(self, connection: sqlite3.Connection) -> None:
        """Works inside the transaction; what goes wrong is undone and kept in ``error``, damage is raised."""
        self.error = None
        self._results.clear()
        connection.execute("SAVEPOINT job")
        try:
            self._results.append(self._work(connection))
        except _OWN_FAULT as e:
            if is_damage(e) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            self.error = e
        connection.execute("RELEASE job")

    def committed(self) -> None:
        """The transaction is on the disk."""
        self.done = True
        if self.error is None and self._after is not None:
            self._after(self._results[0])

    def failed(self, error: Exception) -> None:
        """The transaction came to nothing."""
        self.done = True
        self.error = error

    def result(self) -> Result:
        """What the work returned; only after ``committed`` without an error."""
        return self._results[0]


@dataclass(frozen=True, slots=True)
class Owed:
    """What became of claimed alarms and could not be written yet."""

    what: str
    ids: Sequence[str]
    work: Work[None]


class SharedFile:
    """A durable SQLite file, opened when it is needed and mended when it is damaged. Thread-safe.

    Args:
        path: the file, for messages.
        opener: opens it; mends it first when it is damaged, or when the damage is named to it.
        adopt: brings a connection that was just opened up to date; runs in a transaction of its own.
        seal: called at the end of each transaction, before its commit; what it returns is given to ``committed``.
        committed: called after each commit.
    """

    def __init__(
        self,
        path: Path,
        *,
        opener: Callable[[str], sqlite3.Connection],
        adopt: Work[None],
        seal: Work[Any],
        committed: Callable[[Any], None],
    ) -> None:
        self._path = path
        self._opener = opener
        self._adopt = adopt
        self._seal = seal
        self._committed = committed
        self._lock = threading.RLock()
        self._queue: list[_Job[Any]] = []
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self.commits = 0
        """Transactions that were committed for callers, however many shared one."""

    def write(self, work: Work[Result], after: Callable[[Result], None] | None = None) -> Result:
        """Does ``work`` in a transaction, which is on the disk when this returns; ``after`` gets the result first.

        Raises:
            StoreError: nothing of it was written.
        """
        job = _Job(work, after)
        self._queue.append(job)
        with self._lock:  # whoever has it commits for all who queued while the one before was at it
            if not job.done:
                jobs, self._queue = self._queue, []
                try:
                    self._commit(jobs)
                finally:
                    for left in jobs:
                        if not left.done:
                            left.failed(sqlite3.OperationalError("interrupted"))
        if job.error is not None:
            raise self._in_words(job.error) from job.error
        return job.result()

    def read(self, work: Work[Result]) -> Result:
        """Does ``work``, which writes nothing.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._lock:
            try:
                try:
                    return work(self._connected())
                except _TROUBLE as e:
                    if not is_damage(e):
                        raise
                    self._mend(e)
                    return work(self._connected())
            except _TROUBLE as e:
                self._note(e)
                raise self._in_words(e) from e

    def close(self) -> None:
        """Ends the use of the file; later calls raise ``StoreError``."""
        with self._lock:
            self._disconnect()
            self._closed = True

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        error = self._attempt(jobs)
        if is_full(error) and self._connection is not None:
            settle(self._connection)
            error = self._attempt(jobs)
        if error is not None and is_damage(error):
            try:
                self._mend(error)
            except (StoreError, *_TROUBLE) as e:
                for job in jobs:
                    job.failed(e)
                return
            error = self._attempt(jobs)
        if error is None:
            return
        if len(jobs) == 1:
            jobs[0].failed(error)
            return
        for job in jobs:  # one of them may be at fault, e.g. too large for what is left of the disk
            alone = self._attempt([job])
            if alone is not None:
                job.failed(alone)

    def _attempt(self, jobs: list[_Job[Any]]) -> Exception | None:
        """One transaction; returns why it came to nothing."""
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.run(connection)
            sealed = self._seal(connection)
            connection.execute("COMMIT")
        except (StoreError, *_TROUBLE) as e:
            self._note(e)
            return e
        finally:
            self._roll_back()
        self.commits += 1
        self._committed(sealed)
        for job in jobs:
            job.committed()
        return None

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as e:
                _log.error("%s: cannot be rolled back: %s", self._path, e)
                self._disconnect()

    def _connected(self, damage: str = "") -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the outbox is closed")
        if self._connection is None:
            self._connection = self._opener(damage)
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._adopt(self._connection)
                sealed = self._seal(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                self._disconnect()
                raise
            self._committed(sealed)
        return self._connection

    def _mend(self, error: Exception) -> None:
        self._disconnect()
        self._connected(str(error) or type(error).__name__)

    def _note(self, error: Exception) -> None:
        """Gives a connection up that may not serve any more; it is opened anew by the next call."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL) & 0xFF
        if code not in _KEPT_OPEN and not self._closed:
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as e:
                _log.error("%s: cannot be closed: %s", self._path, e)

    def _in_words(self, error: Exception) -> Exception:
        if not isinstance(error, _TROUBLE):
            return error
        return store_error(self._path, error)
