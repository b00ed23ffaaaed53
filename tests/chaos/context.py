"""What every row of the reliability table gets, and what it gives back."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row found.

    Attributes:
        passed: every condition of the row held.
        figure: the numbers, for the table, e.g. ``200 kills: 0 tasks lost, 0 of 5,412 alarms lost, …``.
        complaints: what did not hold, one line each; empty when ``passed``.
    """

    passed: bool
    figure: str
    complaints: tuple[str, ...] = ()


@dataclass(slots=True)
class Context:
    """One run of one row.

    Attributes:
        folder: an empty folder of its own.
        seed: of ``random``; the same seed gives the same schedule of faults.
        size: 1.0 for the full size that docs/reliability.md shows; rows scale their counts and times by it.
        project: the tree whose programs run; another one for mutants.
        random: seeded.
    """

    folder: Path
    seed: int
    size: float = 1.0
    project: Path = field(default_factory=lambda: Path(__file__).resolve().parents[2])
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def count(self, full: int, *, least: int = 1) -> int:
        """So many of something for this size."""
        return max(least, round(full * self.size))

    def say(self, text: str) -> None:
        """A line of progress, on stderr."""
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def judged(figure: str, complaints: list[str]) -> Outcome:
    """The outcome of a row that collected ``complaints``."""
    return Outcome(not complaints, figure, tuple(complaints))
