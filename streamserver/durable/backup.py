"""Copies of a database that is in use, each checked before it takes the place of the one before."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from streamserver.core import failpoints
from streamserver.core.errors import StoreDamagedError, StoreError
from streamserver.core.files import sync_folder
from streamserver.durable.files import (
    TROUBLE,
    Hold,
    beside,
    connect_to_read,
    make_private,
    remove,
    store_error,
    sync_file,
)
from streamserver.durable.schema import Schema, require_known, require_shape

SUFFIX = ".backup"
"""Behind the name of a file: its newest good copy."""

_PAGES = 512
_PAUSE_S = 0.005


def backup_of(path: Path) -> Path:
    """Where the backup of ``path`` lies."""
    return beside(path, SUFFIX)


def backup_due(path: Path, interval_s: float) -> bool:
    """True when the backup is older than ``interval_s`` (or missing, or from the future) and the file changed since."""
    try:
        made = backup_of(path).stat().st_mtime
    except OSError:
        return path.exists()
    age = time.time() - made
    if 0 <= age < interval_s:
        return False
    return any(_modified(file) > made for file in (path, beside(path, "-wal"))) or age < 0


def _modified(path: Path) -> float:
    """When content was last written to it; readers may leave an empty -wal behind."""
    try:
        found = path.stat()
    except OSError:
        return 0.0
    return found.st_mtime if found.st_size else 0.0


def back_up(path: Path, *, check: Schema) -> None:
    """Makes ``<file>.backup`` anew while others read and write the file; the old one stays until the new one is good.

    Raises:
        StoreDamagedError: the file, or a row of it, is damaged; the old backup is kept.
        StoreError: it cannot be read, or the copy cannot be written.
    """
    new = beside(path, f"{SUFFIX}.new")
    try:
        _require_room(path)
        with Hold(path, exclusive=False):
            remove(new)
            make_private(new)
            _copy(path, new)
            failpoints.hit("backup.copied")
            _require_good(path, new, check)
            sync_file(new)
            new.replace(backup_of(path))
            failpoints.hit("backup.renamed")
            sync_folder(path.parent)
    except (*TROUBLE, StoreError) as e:
        with suppress(OSError):
            remove(new)
        if isinstance(e, StoreError):
            raise
        raise store_error(path, e) from e


def _require_room(path: Path) -> None:
    needed = 2 * sum(file.stat().st_size for file in (path, beside(path, "-wal")) if file.exists())
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreError(
            f"{path}: no backup, for {free // 1_000_000} MB are free and {needed // 1_000_000} MB are wanted for it",
            cure="make room on the disk",
        )


def _copy(path: Path, to: Path) -> None:
    """Copies one state of the file: the transaction keeps it while others write on, so the copy never starts over."""
    with closing(connect_to_read(path)) as source, closing(sqlite3.connect(to, isolation_level=None)) as target:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=_PAGES, sleep=_PAUSE_S)
        target.execute("PRAGMA journal_mode = DELETE").fetchone()  # the copy is one file, without -wal


def _require_good(path: Path, copy: Path, check: Schema) -> None:
    with closing(connect_to_read(copy, without_wal=True)) as connection:
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise StoreDamagedError(
                f"{path} is damaged: {' '.join(found.split())[:200]}", cure="it is mended when it is opened anew"
            )
        require_known(connection, check, path)
        require_shape(connection, check)
        if check.rows_sound is not None and (problem := check.rows_sound(connection)):
            raise StoreDamagedError(f"{path} is damaged: {problem}", cure="it is mended when it is opened anew")
