"""The reliability table: ``python -m tests.chaos [ROW …] [--seed N] [--size X] [--kills N] [--out FILE]``.

Each row is a module ``tests/chaos/row_<name>.py`` with ``FAULT`` and ``PASS`` (the words of the table), ``ORDER`` (its
place) and ``run(context) -> Outcome``. Without names all rows run, in order. ``--size 0.1`` runs a tenth of each;
``--kills 3000`` sets the number of kills of the row ``kills``. The exit code is 1 when a row fails.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import ModuleType

import tests.chaos
from tests.chaos.context import Context, Outcome

FULL_KILLS = 200


def main(arguments: list[str]) -> int:
    """Runs rows and prints the table; returns the exit code."""
    options = _parser().parse_args(arguments)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    rows = _rows()
    if unknown := set(options.rows) - set(rows):
        print(f"no row {', '.join(sorted(unknown))}; there are {', '.join(rows)}", file=sys.stderr)
        return 2
    chosen = options.rows or list(rows)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: rows end their servers and unmount their disks
    print(f"seed {seed}", file=sys.stderr)
    lines, failed = [], False
    for name in chosen:
        size = options.kills / FULL_KILLS if name == "kills" and options.kills else options.size
        outcome, took_s = _run(rows[name], name, seed, size)
        failed |= not outcome.passed
        verdict = "pass" if outcome.passed else "**FAIL**: " + "; ".join(outcome.complaints)[:600]
        line = f"| {rows[name].FAULT} | {rows[name].PASS} | {outcome.figure} | {verdict} | {took_s:.0f} s |"
        print(line, flush=True)
        lines.append(line)
        if options.out:
            _write(Path(options.out), lines, seed, options.size)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Breaks the real server and judges it.")
    parser.add_argument("rows", nargs="*", help="names of rows; all unless given")
    parser.add_argument("--seed", type=int, help="of the schedule of faults; random unless given, and printed")
    parser.add_argument("--size", type=float, default=1.0, help="1 for the full size of the table")
    parser.add_argument("--kills", type=int, help=f"kills of the row 'kills', {FULL_KILLS} in the table")
    parser.add_argument("--out", help="the page whose table is replaced")
    return parser


def _rows() -> dict[str, ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(tests.chaos.__path__) if info.name.startswith("row_")]
    modules = {name.removeprefix("row_"): importlib.import_module(f"tests.chaos.{name}") for name in names}
    return dict(sorted(modules.items(), key=lambda item: item[1].ORDER))


def _run(row: ModuleType, name: str, seed: int, size: float) -> tuple[Outcome, float]:
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
    context = Context(folder, seed, size)
    context.say(f"{name}: begins")
    start = time.monotonic()
    try:
        outcome: Outcome = row.run(context)
    except Exception as e:  # noqa: BLE001  a row that breaks is a row that fails; the others go on
        traceback.print_exc()
        outcome = Outcome(False, "the row itself broke", (f"{type(e).__name__}: {e}"[:300],))
    took_s = time.monotonic() - start
    context.say(f"{name}: {'passed' if outcome.passed else 'FAILED, see ' + str(folder)}: {outcome.figure}")
    if outcome.passed:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome, took_s


def _write(page: Path, lines: list[str], seed: int, size: float) -> None:
    head = ["| fault | must hold | measured | verdict | took |", "|---|---|---|---|---|"]
    machine = f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    told = f"Run of {time.strftime('%Y-%m-%d')}, seed {seed}, size {size:g}, on {machine}."
    text = page.read_text() if page.exists() else "# Reliability\n\n<!-- table -->\n<!-- end of table -->\n"
    before, _, rest = text.partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->\n")
    table = "\n".join([told, "", *head, *lines, ""])
    page.write_text(f"{before}<!-- table -->\n{table}<!-- end of table -->\n{after}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
