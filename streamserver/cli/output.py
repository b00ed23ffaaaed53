"""What people and scripts see: tables, JSON, and text that cannot command a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streamserver.core.log_lines import plain

if TYPE_CHECKING:
    from rich.table import Table

COLOURS = {
    "ok": "green", "RUNNING": "green", "streaming": "green",
    "warn": "yellow", "BACKOFF": "yellow", "STARTING": "yellow", "reconnecting": "yellow", "stalled": "yellow",
    "fail": "red", "FAILED": "red",
}  # fmt: skip
"""Words of tables that have a colour on a terminal."""


def say(text: str) -> None:
    """A line of output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line for people beside the output."""
    sys.stderr.write(f"{text}\n")


def show_json(value: Any) -> None:
    """For scripts."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal; elsewhere whole lines with two spaces between the columns, never wrapped."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_table(head, rows))
        return
    lines = [tuple(head), *(tuple(map(plain, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        say("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The table for a terminal; nothing in ``rows`` is taken for markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in head:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(text), style=COLOURS.get(text, "")) for text in row))
    return table
