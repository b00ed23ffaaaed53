"""Which accepted content a task's files hold: a number that grows with every update of the running task.

Whoever writes the files takes the number away first and puts the new one there last. So a reader that finds the same
number before and after it has read them has read one whole version of them.
"""

from __future__ import annotations

from pathlib import Path

from streamserver.core.files import write_atomically

REVISION_FILE = "revision"
"""Relative to the task's folder."""

FIRST = 1
"""Of a task that was never updated."""


def read_revision(folder: Path) -> int:
    """The revision of the files in a task's folder; 0 while they are being written, and where nobody numbers them."""
    try:
        text = (folder / REVISION_FILE).read_bytes()
    except OSError:
        return 0
    return int(text) if text.strip().isdigit() else 0


def forget_revision(folder: Path) -> None:
    """To be called before the first file is written; raises ``OSError``."""
    (folder / REVISION_FILE).unlink(missing_ok=True)


def write_revision(folder: Path, revision: int) -> None:
    """To be called when every file is written; raises ``OSError``."""
    write_atomically(folder / REVISION_FILE, f"{revision}\n".encode())
