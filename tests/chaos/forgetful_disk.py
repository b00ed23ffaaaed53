"""A disk that forgets what was not fsynced: the shim ``shim/undo.c`` takes notes, ``roll_back`` undoes by them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent / "shim" / "undo.c"

_HEAD = struct.Struct("<IIQQQQQIIII")
_MAGIC = 0x4F444E55
_BLOCKS = (512, 4096)
"""What a disk writes in one go: sectors, or pages."""

_FAST_FOLDER = Path("/dev/shm")
_GONE_PATIENCE_S = 60.0


def missing_tools() -> str:
    """Why the shim cannot be built here; empty when it can."""
    if sys.platform != "linux":
        return "the shim is for Linux"
    return "" if shutil.which("gcc") else "gcc is not installed"


@dataclass(frozen=True, slots=True)
class _Note:
    """One record; see ``struct record`` in the shim."""

    at: int
    kind: str
    inode: int
    offset: int
    length: int
    old_size: int
    grave: int
    path: str
    other: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What went: writes (and changes of size) to files, and names that came, went or changed."""

    writes: int
    names: int


class ForgetfulDisk:
    """Everything below ``root``, for processes that run with ``environment``.

    Args:
        root: an existing folder; all in it counts as synced now.
        folder: for the shim and the graveyard, on the same file system as ``root`` and not inside it.
        fsync_us: how long an fsync takes, in microseconds.
    """

    def __init__(self, root: Path, folder: Path, *, fsync_us: int = 2000) -> None:
        self.root = root.resolve()
        self._graveyard = folder / "graveyard"
        self._graveyard.mkdir(parents=True, exist_ok=True)
        fast = _FAST_FOLDER if os.access(_FAST_FOLDER, os.W_OK) else folder
        self._notes = Path(tempfile.mkdtemp(prefix="powerloss-", dir=fast))
        self._journal = self._notes / "journal"
        self._fsync_us = fsync_us
        self._library = build(folder)

    def __enter__(self) -> ForgetfulDisk:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._notes, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to run on this disk; its children inherit it."""
        return {
            "LD_PRELOAD": str(self._library),
            "POWERLOSS_ROOT": str(self.root),
            "POWERLOSS_GRAVEYARD": str(self._graveyard),
            "POWERLOSS_JOURNAL": str(self._journal),
            "POWERLOSS_FSYNC_US": str(self._fsync_us),
        }

    def roll_back(self, chance: random.Random | None = None) -> RolledBack:
        """The power is back: what was not synced is gone. No process may run on the disk.

        Args:
            chance: picks for each block of a file, and for the names, which state between the last sync and the loss
                of power is found; ``None`` for the oldest.
        """
        notes = list(_read_notes(self._journal))
        writes = self._undo_writes(notes, chance)
        names = self._undo_names(notes, chance)
        for shared_memory in self.root.rglob("*-shm"):
            shared_memory.unlink()
        self._journal.unlink(missing_ok=True)
        for grave in self._graveyard.iterdir():
            grave.unlink()
        return RolledBack(writes, names)

    def _undo_writes(self, notes: list[_Note], chance: random.Random | None) -> int:
        synced: dict[int, int] = {}
        for note in notes:
            if note.kind == "S":
                synced[note.inode] = max(synced.get(note.inode, 0), note.offset)
        pending: dict[int, list[_Note]] = defaultdict(list)
        for note in notes:
            if note.kind in "WT" and note.at >= synced.get(note.inode, 0):
                pending[note.inode].append(note)
        files = {path.lstat().st_ino: path for path in _files((self.root, self._graveyard))}
        for inode, file_notes in pending.items():
            if inode in files:
                _undo_file(files[inode], file_notes, chance)
        return sum(map(len, pending.values()))

    def _undo_names(self, notes: list[_Note], chance: random.Random | None) -> int:
        synced: dict[str, int] = {}
        for note in notes:
            if note.kind == "S" and note.path:
                synced[note.path] = max(synced.get(note.path, 0), note.offset)

        def durable(note: _Note) -> bool:
            return all(note.at < synced.get(str(Path(p).parent), 0) for p in (note.path, note.other) if p)

        pending = [note for note in notes if note.kind in "CURD" and not durable(note)]
        kept = chance.randint(0, len(pending)) if chance else 0  # a file system keeps the order of names
        undo: dict[str, Callable[[_Note], None]] = {
            "C": _undo_created,
            "U": self._undo_removed,
            "R": self._undo_renamed,
            "D": lambda note: Path(note.path).mkdir(parents=True, exist_ok=True),
        }
        for note in reversed(pending[kept:]):
            undo[note.kind](note)
        return len(pending) - kept

    def _undo_removed(self, note: _Note) -> None:
        path = Path(note.path)
        if note.grave and path.parent.is_dir() and not path.exists():
            os.link(self._graveyard / str(note.grave), path)

    def _undo_renamed(self, note: _Note) -> None:
        old, new = Path(note.path), Path(note.other)
        if new.exists() and new.lstat().st_ino == note.inode and old.parent.is_dir():
            new.rename(old)
        if note.grave and new.parent.is_dir() and not new.exists():
            os.link(self._graveyard / str(note.grave), new)


def build(folder: Path) -> Path:
    """Puts the shim into ``folder``.

    Raises:
        subprocess.CalledProcessError: the compiler refuses.
    """
    library = folder / "undo.so"
    if not library.exists():
        library.write_bytes(_compiled())
    return library


@cache
def _compiled() -> bytes:
    """The shim, compiled once for all disks of a process."""
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "undo.so"
        subprocess.run(["gcc", *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
        return library.read_bytes()


def kill_all(pids: Callable[[], Iterable[int]]) -> None:
    """SIGKILLs what ``pids`` names until it names nobody: the nearest to a loss of power that processes can have."""
    deadline = time.monotonic() + _GONE_PATIENCE_S
    while left := list(pids()):
        assert time.monotonic() < deadline, f"cannot be killed: {left}"
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


def _read_notes(journal: Path) -> Iterator[_Note]:
    content = journal.read_bytes() if journal.exists() else b""
    at, magic = 0, struct.pack("<I", _MAGIC)
    while (at := content.find(magic, at)) >= 0 and at + _HEAD.size <= len(content):
        _, kind, inode, offset, length, old_size, grave, path_len, other_len, data_len, check = _HEAD.unpack_from(
            content, at
        )
        end = at + _HEAD.size + path_len + other_len + data_len
        sound = (kind ^ inode ^ offset ^ length ^ path_len ^ other_len ^ data_len) & 0xFFFFFFFF == check
        if not sound or end > len(content):  # the process was killed while it wrote this, and changed nothing
            at += len(magic)
            continue
        begin = at + _HEAD.size
        path = content[begin : begin + path_len]
        other = content[begin + path_len : begin + path_len + other_len]
        data = content[end - data_len : end]
        yield _Note(at, chr(kind), inode, offset, length, old_size, grave, os.fsdecode(path), os.fsdecode(other), data)
        at = end


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path


def _undo_file(path: Path, notes: list[_Note], chance: random.Random | None) -> None:
    size = path.stat().st_size
    if any(note.length for note in notes):
        content = bytearray(path.read_bytes())
        most = max(len(content), *(max(note.old_size, note.offset + note.length) for note in notes))
        content.extend(bytes(most - len(content)))
        if chance is None:
            _undo_bytes(content, reversed(notes), 0, most)
        else:
            _undo_blocks(content, notes, chance)
        with path.open("r+b") as file:
            file.write(content)
    sizes = [note.old_size for note in notes] + [size]
    os.truncate(path, chance.choice(sizes) if chance else sizes[0])


def _undo_blocks(content: bytearray, notes: list[_Note], chance: random.Random) -> None:
    """Each block goes back to one of the states it was in, whatever its neighbours do."""
    block = chance.choice(_BLOCKS)
    touching: dict[int, list[_Note]] = defaultdict(list)
    for note in notes:
        if note.length:
            for number in range(note.offset // block, (note.offset + note.length - 1) // block + 1):
                touching[number].append(note)
    for number, several in touching.items():
        undone = several[chance.randint(0, len(several)) :]
        _undo_bytes(content, reversed(undone), number * block, (number + 1) * block)


def _undo_bytes(content: bytearray, notes: Iterable[_Note], begin: int, end: int) -> None:
    """Puts the old bytes back that lie from ``begin`` to ``end``."""
    for note in notes:
        first, last = max(begin, note.offset), min(end, note.offset + note.length)
        if first < last:
            old = note.data[first - note.offset : last - note.offset]
            content[first:last] = old.ljust(last - first, b"\0")


def _undo_created(note: _Note) -> None:
    path = Path(note.path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
