"""Which outbox kills the courier: one whose visits begin and never end is left alone for longer and longer.

Whatever raises is caught where it happens. This is for what takes the process with it (a library that crashes, memory
that runs out): without it, one such outbox would keep all others waiting, for each courier would die of it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

VISITS_FILE = "run/visits"
"""How many visits in a row began and did not end, relative to the task's folder; absent for none."""

INNOCENT = 1
"""So many say nothing: the courier may have been killed, and with it every visit of that moment."""

_LONGEST_S = 60.0
_APART_S = 1.0
"""Between the visits of two suspects, for several were there when it happened."""


def begin(folder: Path) -> None:
    """A visit begins."""
    with suppress(OSError):
        (folder / VISITS_FILE).write_text(str(unfinished(folder) + 1), "ascii")


def end(folder: Path) -> None:
    """It came to an end, whatever became of it."""
    with suppress(OSError):
        (folder / VISITS_FILE).unlink()


def unfinished(folder: Path) -> int:
    """How many visits in a row did not end."""
    try:
        return int((folder / VISITS_FILE).read_text("ascii"))
    except (OSError, ValueError):
        return 0


def pauses_s(counts: Iterable[tuple[str, int]]) -> dict[str, float]:
    """How long each suspect among keys with their numbers of unfinished visits is left alone, in seconds."""
    suspects = sorted((count, key) for key, count in counts if count > INNOCENT)
    return {
        key: min(_LONGEST_S, 2.0 ** min(count - INNOCENT - 1, 10)) + rank * _APART_S
        for rank, (count, key) in enumerate(suspects)
    }
