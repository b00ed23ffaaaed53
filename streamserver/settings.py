"""``python -m streamserver.settings show | check``: what the server is set to, and where each value comes from."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from streamserver.core import settings
from streamserver.core.errors import ConfigError
from streamserver.core.processes import end_with_the_reader
from streamserver.core.setting_options import OptionParser, add_settings, given_settings, strange_variables
from streamserver.core.settings import Settings, Sourced

_MASK = "***"
_WIDEST = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 when a setting is wrong."""
    options = _parser().parse_args(arguments)
    try:
        return _check(options.file) if options.command == "check" else _show(options)
    except ConfigError as e:
        sys.stderr.write(f"error: {e}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamserver.settings", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=OptionParser)
    show = commands.add_parser("show", help="every setting, its value, its default and its source; secrets masked")
    show.add_argument("--config", type=Path, help="the settings file instead of configs/server.yaml")
    show.add_argument("--json", action="store_true", help="one JSON list, for machines")
    add_settings(show)
    check = commands.add_parser("check", help="print everything that is wrong with a settings file")
    check.add_argument("file", type=Path, metavar="FILE", help="a YAML file such as configs/server.yaml")
    return parser


def _show(options: argparse.Namespace) -> int:
    file = options.config
    if file is not None and not file.is_file():
        raise ConfigError(f"--config: there is no file '{file}'", cure="correct the path")
    given = given_settings(options, from_here=True)
    entries = described(settings.load_with_sources(file=file, options=given))
    for warning in strange_variables(os.environ):
        sys.stderr.write(f"warning: {warning}\n")
    if options.json:
        sys.stdout.write(json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
        return 0
    rows = [(e["name"], _text(e["value"]), _text(e["default"]), e["source"]) for e in entries]
    rows = [
        ("name", "value", "default", "source"),
        *(row if row[3] != "default" else (*row[:2], "", "") for row in rows),
    ]
    widths = [min(max(len(row[column]) for row in rows), _WIDEST) for column in range(4)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    return 0


def described(sourced: Sourced) -> list[dict[str, Any]]:
    """A dictionary with name, value, default, source and meaning for each setting; secrets are masked."""
    return [
        {
            "name": row.name,
            "value": _shown(row.metadata["secret"], getattr(sourced.settings, row.name)),
            "default": row.default,
            "source": sourced.sources[row.name],
            "meaning": row.metadata["meaning"],
        }
        for row in fields(Settings)
    ]


def _shown(secret: bool, value: Any) -> Any:
    return _MASK if secret and value else value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _check(file: Path) -> int:
    if not file.is_file():
        raise ConfigError(f"there is no file '{file}'", cure="correct the path")
    problems = settings.file_problems(file)
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    if not problems:
        sys.stdout.write(f"{file}: all settings can be used\n")
    return 1 if problems else 0


if __name__ == "__main__":
    end_with_the_reader()
    sys.exit(main())
