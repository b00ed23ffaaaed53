"""``python -m streamserver.models list | fetch | verify | inspect``: weights on this machine, and how to use a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamserver.core import logs
from streamserver.core.errors import ModelError, StreamServerError
from streamserver.core.processes import end_with_the_reader
from streamserver.core.settings import load
from streamserver.models.registry import REGISTRY_FILE, ModelEntry
from streamserver.models.store import ModelStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 when all is well, 1 when weights are missing or wrong."""
    options = _parser().parse_args(arguments)
    try:
        settings = load(options={"device": getattr(options, "device", None)})
        quiet = options.command == "inspect" and not options.device
        logs.configure(level="WARNING" if quiet else settings.log_level)
        store = ModelStore(settings, registry_file=options.registry)
        if options.command == "list":
            return _list(store, as_json=options.json)
        if options.command == "inspect":
            return _inspect(store, options.files, as_json=options.json, device=options.device)
        entries = [store.entry(name) for name in options.names] or [
            e for e in store.registry.models.values() if e.remote is None
        ]
        return (
            _verify(store, entries, named=bool(options.names))
            if options.command == "verify"
            else _fetch(store, entries)
        )
    except StreamServerError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m streamserver.models", description=__doc__)
    parser.add_argument("--registry", type=Path, default=REGISTRY_FILE, help="the list of weights (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="which weights there are, where they are and under which licence")
    listing.add_argument("--json", action="store_true", help="one JSON list, for machines")
    fetch = commands.add_parser("fetch", help="download weights that are missing, even if that failed a moment ago")
    group = fetch.add_mutually_exclusive_group(required=True)
    group.add_argument("names", nargs="*", default=[], metavar="NAME", help="names as shown by 'list'")
    group.add_argument("--all", action="store_true", help="all of them")
    verify = commands.add_parser("verify", help="read the files and compare their checksums")
    verify.add_argument("names", nargs="*", default=[], metavar="NAME", help="only these")
    inspect = commands.add_parser("inspect", help="which element can run an ONNX file or a model on a server")
    inspect.add_argument("files", nargs="+", metavar="FILE", help="an ONNX file, a name or an address as graphs use it")
    inspect.add_argument("--device", help="also run it there and say how long it takes: cpu, cuda:0, tensorrt:0 …")
    inspect.add_argument("--json", action="store_true", help="one JSON list, for machines")
    return parser


def _list(store: ModelStore, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([_described(store, e) for e in store.registry.models.values()], indent=2, ensure_ascii=False))
        return 0
    rows = [("name", "task", "licence", "where")]
    rows += [(e.name, e.task, e.licence, _place(store, e)) for e in store.registry.models.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row[:3], widths, strict=True)), row[3]]))
    print(f"searched: {store.searched}")
    return 0


def _described(store: ModelStore, entry: ModelEntry) -> dict[str, Any]:
    """What machines are told; ``path`` is null where the file is missing, ``problem`` empty where it is right."""
    path, problem = store.locate(entry), ""
    if path is not None:
        try:
            store.check(entry, path)
        except ModelError as e:
            problem = str(e)
    return {
        "name": entry.name,
        "file": entry.file,
        "task": entry.task,
        "licence": entry.licence,
        "server": str(entry.remote or ""),
        "path": None if path is None else str(path),
        "offered": entry.offered,
        "problem": problem,
    }


def _place(store: ModelStore, entry: ModelEntry) -> str:
    if entry.remote is not None:
        return f"on a server: {entry.remote}"
    path = store.locate(entry)
    if path is None:
        return (
            f"missing; 'fetch {entry.name}' gets it" if entry.offered else "missing, and nobody offers it for download"
        )
    try:
        store.check(entry, path)
    except ModelError:
        return f"{path} (WRONG CHECKSUM)"
    return str(path)


def _fetch(store: ModelStore, entries: Sequence[ModelEntry]) -> int:
    """Fetches one after another; a failure does not keep the others from being fetched."""
    failed = 0
    for entry in entries:
        try:
            print(f"{entry.name}: {store.fetch(entry)}")
        except StreamServerError as e:
            failed += 1
            print(f"error: {e}", file=sys.stderr)
    return 1 if failed else 0


def _verify(store: ModelStore, entries: Sequence[ModelEntry], *, named: bool) -> int:
    """Checks the files that are there; a missing one is a failure only if it was asked for by name."""
    failed = 0
    for entry in entries:
        if entry.remote is not None:
            print(f"{entry.name}: on a server ({entry.remote}); 'inspect {entry.name}' asks it")
            continue
        path = store.locate(entry)
        if path is None:
            failed += named
            print(f"{entry.name}: missing")
            continue
        try:
            store.check(entry, path)
            print(f"{entry.name}: right ({path})")
        except ModelError as e:
            failed += 1
            print(f"error: {e}", file=sys.stderr)
    return 1 if failed else 0


def _inspect(store: ModelStore, files: Sequence[str], *, as_json: bool, device: str | None) -> int:
    """Tells about one file after another; a file that cannot be read does not keep the others from being told of."""
    from streamserver.models.inspect import inspect  # loads onnxruntime and all families
    from streamserver.models.trial import try_on

    told: list[dict[str, Any]] = []
    failed = 0
    for name in files:
        try:
            report = inspect(store, name)
            ran = try_on(report.path, device) if device else ""
        except StreamServerError as e:
            failed += 1
            told.append({"name": name, "error": str(e)})
            print(f"error: {e}", file=sys.stderr)
            continue
        told.append(report.to_dict() | ({"ran": ran} if ran else {}))
        if not as_json:
            print(f"{report.to_text()}\n{f'  {ran}{chr(10)}' if ran else ''}")
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    return 1 if failed else 0


if __name__ == "__main__":
    end_with_the_reader()
    sys.exit(main())
