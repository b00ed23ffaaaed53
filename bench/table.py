"""What a table of figures is: rows with their yardsticks, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure beside its yardstick of the same run.

    Attributes:
        measure: what was measured.
        value: the figure, median of the rounds.
        unit: its unit.
        yardstick: what it is held against; empty for none.
        reference: the yardstick's figure in the same unit, median of the same rounds; ``None`` for none.
        limit: what the figure, or its ratio to the yardstick's, has to keep; ``None`` for no limit.
        limit_of: whether ``limit`` is of the ratio or of the figure.
        sense: whether ``limit`` is the most or the least.
        remark: what else has to be known, e.g. the spread or wall times.
    """

    measure: str
    value: float
    unit: str
    yardstick: str = ""
    reference: float | None = None
    limit: float | None = None
    limit_of: Literal["ratio", "value"] = "ratio"
    sense: Literal["at most", "at least"] = "at most"
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        """The figure over the yardstick's; ``None`` without one."""
        return self.value / self.reference if self.reference else None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; ``None`` without one."""
        figure = self.ratio if self.limit_of == "ratio" else self.value
        if self.limit is None or figure is None:
            return None
        return figure <= self.limit if self.sense == "at most" else figure >= self.limit

    def cells(self) -> tuple[str, ...]:
        """What stands in its line."""
        limit = "" if self.limit is None else f"{self.sense} {self.limit:g}"
        if self.limit is not None and self.limit_of == "ratio":
            limit += " x"
        verdict = {True: "kept", False: "**not kept**", None: ""}[self.kept]
        return (
            self.measure,
            f"{self.value:.4g} {self.unit}",
            self.yardstick,
            "" if self.reference is None else f"{self.reference:.4g} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.3f}",
            limit,
            verdict,
            self.remark,
        )


HEADINGS = ("measure", "figure", "yardstick", "its figure", "ratio", "limit", "", "remark")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


Say = Callable[[str], None]
"""Told how a measurement goes on, a line at a time."""


class Table(Protocol):
    """A module of ``bench.tables``.

    Attributes:
        TITLE: the heading of its section in docs/performance.md.
        ABOUT: what is compared and how, in a few sentences.
    """

    TITLE: str
    ABOUT: str

    def measure(self, rounds: int, say: Say) -> list[Row]:
        """Measures, ``rounds`` times each in turns; raises ``Missing`` when this machine has not got what it takes."""


class Missing(Exception):
    """What a table needs is not on this machine; says what it is and how to get it."""
