"""SHA-256 of weights, remembered for large files, for every start of a task asks for it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from streamserver.core.files import read_json, write_json

MEMORY_FILE = ".checksums.json"
"""Name of the file that remembers, in the cache folder."""

LARGE_BYTES = 16_000_000
"""From this size on, reading the whole file costs more than remembering (about 30 ms)."""

logger = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """The checksum of a file in small hexadecimal digits, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, memory_dir: Path, *, large_bytes: int = LARGE_BYTES) -> str:
    """The checksum of a file, from memory while a large file keeps its size, time of change and inode.

    Args:
        path: the file.
        memory_dir: where ``MEMORY_FILE`` is; if it cannot be written, nothing is remembered.
        large_bytes: smaller files are always read.
    """
    state = path.stat()
    if state.st_size < large_bytes:
        return sha256_of(path)
    memory_file = memory_dir / MEMORY_FILE
    memory = read_json(memory_file)
    known = memory if isinstance(memory, dict) else {}
    mark = [state.st_size, state.st_mtime_ns, state.st_ino]
    row = known.get(str(path))
    if isinstance(row, list) and row[:3] == mark and len(row) == 4:
        return str(row[3])
    digest = sha256_of(path)
    _remember(memory_file, {**known, str(path): [*mark, digest]})
    return digest


def _remember(memory_file: Path, known: dict[str, list[object]]) -> None:
    """Writes the memory without the files that are gone; two writers may lose a row, which costs one more reading."""
    try:
        write_json(memory_file, {name: row for name, row in known.items() if Path(name).exists()})
    except OSError as e:
        logger.debug("checksums are not remembered: %s", e)
