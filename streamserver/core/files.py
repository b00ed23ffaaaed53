"""Files that another process reads: written under a temporary name, then renamed; read without trust."""

from __future__ import annotations

import errno
import json
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self


def write_atomically(path: Path, data: bytes, *, sync: bool = False, private: bool = False) -> None:
    """Replaces ``path`` in one step, so that a reader sees the old or the new content and never a part.

    Args:
        path: the file; its folder must exist.
        data: the whole new content.
        sync: also force it to the disk before the rename.
        private: only the owner can read it, from the first moment on.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(
            temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600 if private else 0o666
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class HeldFile:
    """A file that is kept open, for the lock on it, until ``release`` or the end of the process; a context manager.

    Args:
        descriptor: of the file; ``None`` for one that could not be opened.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Lets the next one in; the file stays. A second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def sync_folder(path: Path) -> None:
    """Forces names that were made, changed or removed in the folder ``path`` to the disk; raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_disk_full(error: OSError) -> bool:
    """True when there is no room, or no more of it for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def rewrite_json(path: Path, value: Any) -> None:
    """As ``write_json``; on a full disk the file that is there is written over, which takes no new space.

    A reader may then see half of it once, which is no JSON. What is left of longer content is filled with blanks.

    Raises:
        OSError: it cannot be written, or the disk is full and there is no file yet, or one with less room.
    """
    try:
        write_json(path, value)
    except OSError as e:
        if not is_disk_full(e) or not _write_over(path, value):
            raise


def _write_over(path: Path, value: Any) -> bool:
    """Puts ``value`` into the blocks that ``path`` has; False when there is no file, or one that is too small."""
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
    try:
        with path.open("r+b", buffering=0) as file:
            there = os.fstat(file.fileno())
            if len(data) > max(there.st_size, 512 * there.st_blocks):
                return False
            return file.write(data.ljust(there.st_size)) >= len(data)
    except OSError:
        return False


def write_json(path: Path, value: Any, *, indent: int | None = None, sync: bool = False) -> None:
    """Writes ``value`` as UTF-8 JSON, atomically."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    write_atomically(path, text.encode("utf-8", "backslashreplace"), sync=sync)


def read_json(path: Path) -> Any:
    """The parsed content of ``path``, or ``None`` when it is absent or is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def new_key() -> str:
    """A fresh folder name for a task: identifiers from outside never become paths."""
    return secrets.token_hex(8)
