"""Every graph of sophon-stream's samples, read, built and run: ``python -m bench.conformance [SAMPLE …]``.

One row a graph. "made" weights have the shapes of the real ones and random numbers; all others are real. The graphs
are the fixtures in ../shared/graphs, clips and pictures real recordings; a graph that posts nothing gets an http_push
at its end. "refused" are those that must be: they need Sophgo's hardware, or lack a stage. See
``tests.conformance.table``, which CI runs too.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from streamserver.core.settings import PROJECT_DIR, Settings
from tests.conformance.table import Bench, Row, run_graph_file
from tests.conformance.tree import graph_files

WIDTHS = {
    "verdict": 7,
    "sample": 45,
    "graph": 33,
    "reads": 5,
    "builds": 6,
    "runs": 4,
    "source": 13,
    "messages": 10,
    "valid": 5,
    "found": 0,
    "weights": 0,
    "remarks": 0,
}
"""The columns, and how many characters each has at least."""


def main() -> int:
    """Prints the table; 1 if a graph fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.conformance", description=__doc__)
    parser.add_argument("--frames", type=int, default=30, help="frames of the clip (%(default)s)")
    parser.add_argument("--channels", type=int, default=4, help="channels of a graph at most (%(default)s)")
    parser.add_argument("samples", nargs="*", metavar="SAMPLE", help="only these samples")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the table says what matters
    print(aligned(WIDTHS))
    print(aligned("-" * max(3, width) for width in WIDTHS.values()))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            folder=Path(folder), settings=settings(Path(folder)), frames=options.frames, channels=options.channels
        )
        for sample, graph_file in graph_files():
            if options.samples and sample not in options.samples:
                continue
            for row in run_graph_file(sample, graph_file, bench):
                rows.append(row)
                print(line(row), flush=True)
    verdicts = [row.verdict for row in rows]
    print(f"\n{len(rows)} graphs: " + ", ".join(f"{verdicts.count(v)} {v}" for v in sorted(set(verdicts))))
    return int("FAILS" in verdicts)


def settings(folder: Path) -> Settings:
    """Weights from the shared folder and ``STREAMSERVER_MODELS``; nothing is downloaded, nothing runs on a GPU."""
    named = os.environ.get("STREAMSERVER_MODELS", "")
    models = ":".join(filter(None, [named, str(PROJECT_DIR.parent / "shared" / "models")]))
    return Settings(models=models, model_cache=str(folder / "cache"), model_download=False, device="cpu", file_dirs="/")


def line(row: Row) -> str:
    """One row of the table."""
    found = ", ".join(f"{count} {name}" for name, count in row.found.items() if count)
    messages = f"{row.posted} of {row.expected}" if row.expected else str(row.posted)
    reached = bool(row.builds)
    steps = (row.reads, row.builds, row.runs)
    failures = [step for step in steps if step not in ("", "yes")]
    return aligned(
        (
            row.verdict.partition(",")[0],
            row.sample,
            f"{row.graph_file}[{row.graph_id}]",
            *("no" if step in failures else step for step in steps),
            row.sources,
            messages if reached else "",
            ("no" if row.problems else "all") if reached and row.posted else "",
            found,
            ", ".join(row.weights),
            "; ".join([*failures, *row.problems, *row.notes, *filter(None, [row.refusal])]),
        )
    )


def aligned(cells: Iterable[str]) -> str:
    """A line of the table."""
    padded = [cell.replace("|", "/").ljust(width) for cell, width in zip(cells, WIDTHS.values(), strict=True)]
    return f"| {' | '.join(padded)} |"


if __name__ == "__main__":
    sys.exit(main())
