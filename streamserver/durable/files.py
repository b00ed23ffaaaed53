"""What durable files have in common below SQLite: names of side files, the lock, connections, moving aside."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamserver.core.errors import StoreDamagedError, StoreError
from streamserver.core.files import HeldFile, is_disk_full

SIDE_FILES = ("-wal", "-shm")
"""What SQLite keeps beside a file in WAL mode."""

KEPT_ASIDE = 3
"""At most so many damaged files are kept of each file, the newest ones."""

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another process's transaction."""

TROUBLE = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What work on a file may raise; the last where SQLite's own message quotes a damaged file."""

_ASIDE_MAX_BYTES = 256_000_000
_DEBT_PAGES = 250
"""So many pages (of 4 kB) may stand in the -wal and have no place in the database yet: a full disk has none."""

PATIENCE_S = 10.0
_ASIDE = re.compile(r"\.damaged-\d{8}-\d{6}(-\d+)?$")
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def beside(path: Path, suffix: str) -> Path:
    """The file whose name is that of ``path`` with ``suffix`` behind it."""
    return path.with_name(path.name + suffix)


def sync_file(path: Path) -> None:
    """Forces the content of ``path`` to the disk; raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Makes an empty file that only its owner can read; SQLite gives its side files the same permissions."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))


def remove(path: Path) -> None:
    """Removes a database with its side files; absent ones are no error."""
    for suffix in ("", "-journal", *SIDE_FILES):
        beside(path, suffix).unlink(missing_ok=True)


def move_aside(path: Path, to: Path) -> None:
    """Renames a damaged database and its side files; absent ones are no error."""
    for suffix in ("", *SIDE_FILES):
        with suppress(FileNotFoundError):
            beside(path, suffix).replace(beside(to, suffix))


def name_aside(path: Path) -> Path:
    """A free name for a damaged file: ``<file>.damaged-<time>``."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    to, number = beside(path, f".damaged-{stamp}"), 1
    while any(beside(to, suffix).exists() for suffix in ("", *SIDE_FILES)):
        number += 1
        to = beside(path, f".damaged-{stamp}-{number}")
    return to


def forget_old_aside(path: Path) -> None:
    """Removes all damaged files of ``path`` but the newest: ``KEPT_ASIDE`` of them, fewer where they are large."""
    found = [file for file in path.parent.glob(f"{path.name}.damaged-*") if _ASIDE.search(file.name)]
    kept_bytes = 0
    for number, file in enumerate(sorted(found, key=_order_aside, reverse=True)):
        with suppress(OSError):
            kept_bytes += file.stat().st_size
            if number >= KEPT_ASIDE or (number and kept_bytes > _ASIDE_MAX_BYTES):
                remove(file)


def _order_aside(path: Path) -> tuple[float, int]:
    with suppress(OSError):
        return path.stat().st_ctime, len(path.name)
    return 0.0, 0


class HeldError(StoreError):
    """Another process has the file open, so it cannot be made or mended now."""


class Hold(HeldFile):
    """A lock on ``<file>.lock``: shared while a connection is open, exclusive while the file is made or mended.

    The kernel drops it with the process. It keeps a file from being replaced while somebody still writes to it.

    Args:
        path: the database.
        exclusive: nobody else may have it open.
        patience_s: how long to wait for others.

    Raises:
        HeldError: others hold it for longer than that.
        OSError: the lock file cannot be made.
    """

    def __init__(self, path: Path, *, exclusive: bool, patience_s: float = PATIENCE_S) -> None:
        descriptor = os.open(beside(path, ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        super().__init__(descriptor)
        try:
            _lock(descriptor, path, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, patience_s)
        except BaseException:
            self.release()
            raise

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.release()


def _lock(descriptor: int, path: Path, kind: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise HeldError(
                    f"{path} has to be made or mended, but another process (or another part of this one) has it open",
                    cure=f"end that process ('fuser {path}' names it), or wait until it has ended",
                ) from None
        time.sleep(0.02)


class Connection(sqlite3.Connection):
    """A connection that keeps its file from being replaced (``Hold``) until it is closed."""

    hold: Hold | None = None

    def close(self) -> None:
        """Closes the connection, then lets go of the file."""
        super().close()
        if self.hold is not None:
            self.hold.release()


def connect(path: Path, *, hold: Hold | None = None) -> Connection:
    """A connection for use: WAL, every commit on the disk before it returns, transactions begun by hand.

    Raises:
        sqlite3.Error: the file cannot be opened; ``hold`` stays the caller's then.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 8000000")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_DEBT_PAGES}")
    except BaseException:
        connection.close()
        raise
    connection.hold = hold
    return connection


def is_full(error: BaseException | None) -> bool:
    """Whether SQLite found no room; ``settle`` and another try may do, for the -wal begins anew in what it has then."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def settle(connection: sqlite3.Connection) -> None:
    """Moves what stands in the -wal into the database, as far as disk and readers let it; for a disk that fills.

    What is committed later then takes the place of what was there, and needs no more room.
    """
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switches to WAL; SQLite does not apply the busy timeout to this step, so we wait here."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """What is done inside is one commit, or nothing after an exception; raises ``sqlite3.Error``."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def connect_to_read(path: Path, *, without_wal: bool = False) -> sqlite3.Connection:
    """A connection that changes nothing, not even by a checkpoint when it closes; text that is no UTF-8 is read.

    Args:
        path: the file.
        without_wal: read the main file alone, as it was at the last checkpoint.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if without_wal else ''}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = tolerant_text
    return connection


def tolerant_text(data: bytes) -> str:
    """A ``text_factory`` that reads text that is no UTF-8, too; its checksum is wrong then."""
    return data.decode("utf-8", "surrogateescape")


def is_damage(error: BaseException | None) -> bool:
    """True for a broken file, also for one whose tables are not ours; False for a full disk, a lock and the like."""
    if error is None or isinstance(error, StoreDamagedError):
        return error is not None
    if isinstance(error, UnicodeDecodeError):
        return True
    if not isinstance(error, sqlite3.Error):
        return is_damage(getattr(error, "orig", None))  # SQLAlchemy wraps
    code = getattr(error, "sqlite_errorcode", 0) or 0
    if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return True
    text = str(error)
    return text.startswith(
        ("no such table", "no such column", "unsupported file format", "malformed", "Could not decode to UTF-8")
    ) or (" has no column named " in text)


def store_error(path: Path, error: BaseException) -> StoreError:
    """What the user reads of ``error`` at the file ``path``, with its cure; raise it ``from error``."""
    if isinstance(error, StoreError):
        return error
    cause = getattr(error, "orig", None) or error
    if is_damage(cause):
        return StoreDamagedError(
            f"{path} is damaged: {cause}", cure="it is mended when it is opened anew; restart the server if it is not"
        )
    code = (getattr(cause, "sqlite_errorcode", 0) or 0) & 0xFF
    number = getattr(cause, "errno", None)
    if code == sqlite3.SQLITE_FULL or (isinstance(cause, OSError) and is_disk_full(cause)):
        return StoreError(f"{path}: the disk is full", cure="make room on it; nothing has to be restarted")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN) or number in _DENIED:
        return StoreError(
            f"{path}: {cause}",
            cure="check that its folder exists, and that file and folder belong to the server's user and are writable",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path}: another process has been writing for too long", cure="try again")
    return StoreError(f"{path}: {cause}", cure="check that its folder exists, is writable and has space, and the disk")
