"""A second account of what was accepted, updated and deleted: one line each, beside the database.

It is only read when the database is opened, to see whether commits are missing (a lost ``-wal``, an old copy), and when
it is mended: what the damaged file and the backup do not hold any more stands here. Lines are appended after the commit
and before the answer; one that is torn or changed is known by its checksum and left out.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamserver.core.files import sync_folder

_log = logging.getLogger(__name__)

MAX_BYTES = 4_000_000
"""A longer journal becomes ``<journal>.1``, and the one before it goes: the backup is much newer."""


class Journal:
    """The journal of the database ``database``; any process may append."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_suffix(".journal")
        self._complained = False

    def created(self, number: int, row: dict[str, Any], *, replaces: str | None) -> None:
        """Notes an accepted row (all its columns) and the key of the row whose place it takes."""
        self._append({"n": number, "op": "create", "row": row, "replaces": replaces})

    def updated(self, number: int, row: dict[str, Any]) -> None:
        """Notes what a row (all its columns) asks for from now on."""
        self._append({"n": number, "op": "update", "row": row})

    def deleted(self, number: int, key: str) -> None:
        """Notes that the row is wanted no more."""
        self._append({"n": number, "op": "delete", "key": key})

    def purged(self, key: str) -> None:
        """Notes that the row is gone; not synced, for it only saves work."""
        self._append({"n": 0, "op": "purge", "key": key}, sync=False)

    def number(self) -> int:
        """The highest number of a commit that was noted; 0 for none."""
        return max((entry["n"] for entry in self.entries()), default=0)

    def entries(self) -> Iterator[dict[str, Any]]:
        """All lines that can be read, oldest first; never raises."""
        for path in (self.path.with_name(f"{self.path.name}.1"), self.path):
            try:
                content = path.read_bytes()
            except OSError:
                continue
            for line in content.split(b"\n"):
                if (entry := _parse(line)) is not None:
                    yield entry

    def _append(self, entry: dict[str, Any], *, sync: bool = True) -> None:
        """The commit stands already, so a journal that cannot be written is no reason to refuse."""
        content = json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass")
        try:
            self._write(b"%08x %s\n" % (zlib.crc32(content), content), sync)
            self._complained = False
        except OSError as e:
            if not self._complained:
                _log.warning("%s cannot be written, the database stands alone meanwhile: %s", self.path, e)
            self._complained = True

    def _write(self, line: bytes, sync: bool) -> None:
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" + line if torn else line)
            if sync:
                os.fdatasync(descriptor)
            if size > MAX_BYTES and os.path.samestat(os.fstat(descriptor), self.path.stat()):
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(self.path.parent)


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, content = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(content):
            return None
        entry = json.loads(content)
        return entry if isinstance(entry, dict) and isinstance(entry.get("n"), int) else None
    except ValueError:
        return None
