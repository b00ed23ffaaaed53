"""Files that another process reads: written under a temporary name, then renamed; read without trust."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Replaces ``path`` in one step, so that a reader sees the old or the new content and never a part.

    Args:
        path: the file; its folder must exist.
        data: the whole new content.
        sync: also force it to the disk before the rename.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
