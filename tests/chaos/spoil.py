"""Ways to damage a database and what lies beside it, each from a seeded random number generator."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

Spoil = Callable[[Path, random.Random], None]


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _without_shm(path: Path) -> None:
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _overwrite(path: Path, rng: random.Random, *, times: int, length: int, start: int = 0) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(times):
        if len(data) <= start + length:
            return
        at = rng.randrange(start, len(data) - length)
        data[at : at + length] = rng.randbytes(length)
    path.write_bytes(data)


def flip_bits(path: Path, rng: random.Random) -> None:
    """One to eight single bits of the main file."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    _without_shm(path)


def flip_text(path: Path, rng: random.Random) -> None:
    """One bit within a row's content, where SQLite itself sees nothing."""
    data = bytearray(path.read_bytes())
    places = [at for word in (b'"TaskID"', b"rtsp://", b"running", b'"n":', b"xxxx") for at in _all(data, word)]
    if places:
        data[rng.choice(places) + rng.randrange(8)] ^= 1 << rng.randrange(7)
    path.write_bytes(data)
    _without_shm(path)


def _all(data: bytearray, word: bytes) -> list[int]:
    found, at = [], data.find(word)
    while at >= 0:
        found.append(at)
        at = data.find(word, at + 1)
    return found


def overwrite(path: Path, rng: random.Random) -> None:
    """64 random bytes at one to four places of the main file."""
    _overwrite(path, rng, times=rng.randint(1, 4), length=64)
    _without_shm(path)


def overwrite_rows(path: Path, rng: random.Random) -> None:
    """As ``overwrite``, but the header and the first page stay."""
    _overwrite(path, rng, times=rng.randint(1, 4), length=64, start=4096)
    _without_shm(path)


def zero_pages(path: Path, rng: random.Random) -> None:
    """One to three whole pages are zeros, as after a lost write."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 3)):
        at = 4096 * rng.randrange(max(1, len(data) // 4096))
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    path.write_bytes(data)
    _without_shm(path)


def truncate(path: Path, rng: random.Random) -> None:
    """The main file ends somewhere."""
    os.truncate(path, rng.randrange(1, path.stat().st_size))
    _without_shm(path)


def empty(path: Path, _rng: random.Random) -> None:
    """The main file has no content."""
    os.truncate(path, 0)
    _without_shm(path)


def remove(path: Path, _rng: random.Random) -> None:
    """The main file is gone."""
    path.unlink()


def garbage(path: Path, rng: random.Random) -> None:
    """The main file is something else."""
    path.write_bytes(rng.randbytes(rng.randrange(1, 20_000)))
    _without_shm(path)


def foreign(path: Path, _rng: random.Random) -> None:
    """The main file is a database of another program."""
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE moz_places (id INTEGER PRIMARY KEY, url TEXT); PRAGMA user_version = 2;")
    _wal(path).unlink(missing_ok=True)
    _without_shm(path)


def lose_wal(path: Path, _rng: random.Random) -> None:
    """What was committed since the last checkpoint is gone."""
    _wal(path).unlink(missing_ok=True)
    _without_shm(path)


def spoil_wal(path: Path, rng: random.Random) -> None:
    """64 random bytes somewhere in the write-ahead log."""
    if _wal(path).exists():
        _overwrite(_wal(path), rng, times=1, length=64)
    _without_shm(path)


def truncate_wal(path: Path, rng: random.Random) -> None:
    """The write-ahead log ends somewhere."""
    if _wal(path).exists() and _wal(path).stat().st_size > 1:
        os.truncate(_wal(path), rng.randrange(1, _wal(path).stat().st_size))
    _without_shm(path)


def stale_wal(path: Path, _rng: random.Random) -> None:
    """The write-ahead log of another database lies beside it."""
    other = path.with_name("other.sqlite")
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); PRAGMA user_version = 7;")
        connection.execute("INSERT INTO t SELECT randomblob(9000) FROM (SELECT 1 UNION SELECT 2)")
        shutil.copyfile(_wal(other), _wal(path))
    other.unlink()
    _without_shm(path)


def stale_shm(path: Path, rng: random.Random) -> None:
    """The shared-memory file is garbage."""
    path.with_name(f"{path.name}-shm").write_bytes(rng.randbytes(32768))


SPOILS: tuple[Spoil, ...] = (
    flip_bits,
    flip_text,
    overwrite,
    overwrite_rows,
    zero_pages,
    truncate,
    empty,
    remove,
    garbage,
    foreign,
    lose_wal,
    spoil_wal,
    truncate_wal,
    stale_wal,
    stale_shm,
)

OF_THE_LOG = (lose_wal, spoil_wal, truncate_wal, stale_wal)
"""After these SQLite sees a sound file that lacks its last commits: only a note kept elsewhere tells."""
