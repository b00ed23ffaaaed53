"""``python -m bench TABLE`` prints one table, ``python -m bench all --out docs/performance.md`` writes the page."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import tables
from bench.page import write_page
from bench.table import Missing, Table, markdown

ROUNDS = 5


def names() -> list[str]:
    """The tables there are."""
    return sorted(module.name for module in pkgutil.iter_modules(tables.__path__) if not module.name.startswith("_"))


def load(name: str) -> Table:
    """The module of a table."""
    table: Table = importlib.import_module(f"bench.tables.{name}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table, or writes the page; 1 if a limit is not kept, 2 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("table", choices=["all", *names()], metavar="TABLE", help=f"all, {', '.join(names())}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="times that each is measured (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="with 'all': the Markdown page to write")
    options = parser.parse_args(arguments)
    if options.table == "all":
        return write_page(names(), load, rounds=options.rounds, out=options.out)
    table = load(options.table)
    try:
        rows = table.measure(options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    except (Missing, pytest.skip.Exception) as e:
        print(e, file=sys.stderr)
        return 2
    print(f"{table.TITLE}\n\n{table.ABOUT}\n\n{markdown(rows)}")
    return int(any(row.kept is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
