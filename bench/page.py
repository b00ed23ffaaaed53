"""The page docs/performance.md: all tables, with the machine, the versions and the date."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.table import Missing, Table, markdown

_PACKAGES = ("av", "opencv-python-headless", "onnxruntime-gpu", "onnxruntime", "numpy", "flask", "gunicorn", "requests")

_FOOT = """\
## Other figures

Modules of `bench/` that print tables of their own, without yardsticks: `python -m bench.live_sources` (every kind of
source, and how soon it is back after its server was away), `python -m bench.counting` and `bench.vtest_truth` (what
is counted against what is known), `python -m bench.conformance` (sophon-stream's graphs),
`python -m bench.live_faults` and `bench.fuzz_graphs` (what breaks).
"""


def write_page(names: Sequence[str], load: Callable[[str], Table], *, rounds: int, out: Path | None) -> int:
    """Measures all tables, one after another, and writes the page anew after each.

    A table that fails says so in its section; the others are measured all the same.

    Args:
        names: of the tables.
        load: gives the table of a name.
        rounds: how often each figure is measured.
        out: the page; ``None`` for stdout, once all are measured.

    Returns:
        1 if a limit is not kept or a table could not be measured, else 0.
    """
    parts, failed = [_head(rounds)], False
    for name in names:
        print(f"== {name}", file=sys.stderr, flush=True)
        section, kept = _section(name, load, rounds)
        print(section, file=sys.stderr, flush=True)
        parts.append(section)
        failed = failed or not kept
        if out is not None:
            _rewrite(out, "\n".join(parts))
    page = "\n".join([*parts, _FOOT])
    if out is None:
        print(page)
    else:
        _rewrite(out, page)
    return int(failed)


def _section(name: str, load: Callable[[str], Table], rounds: int) -> tuple[str, bool]:
    """A table's part of the page, and whether all its limits are kept."""
    title, about, start_s = name, "", time.monotonic()
    try:
        table = load(name)
        title, about = table.TITLE, table.ABOUT
        rows = table.measure(rounds, lambda line: print(line, file=sys.stderr, flush=True))
    except (Missing, pytest.skip.Exception) as e:
        body, kept = f"Not measured here: {e}", False
    except (Exception, SystemExit) as e:  # noqa: BLE001 - one table that fails must not lose the others' figures
        traceback.print_exc()
        body, kept = f"Not measured, because it failed: `{type(e).__name__}: {str(e)[:300]}`", False
    else:
        kept = all(row.kept is not False for row in rows)
        body = f"{markdown(rows)}\n\nMeasured in {time.monotonic() - start_s:.0f} s."
    return f"## {title}\n\n`python -m bench {name}`. {about}\n\n{body}\n", kept


def _rewrite(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _head(rounds: int) -> str:
    versions = [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    now = datetime.datetime.now(datetime.UTC)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        "# Performance\n\n"
        "Written by `python -m bench all --out docs/performance.md`; every figure stands beside a yardstick of the "
        f"same run. Both take turns, {rounds} times, and medians are given. CPU time is user and system time of all "
        "processes concerned; memory is the proportional set size (PSS), MB are 2**20 bytes. A ratio is the figure "
        "over its yardstick's; **not kept** marks what misses its limit.\n\n"
        f"Measured on {now:%Y-%m-%d} from {now:%H:%M} UTC on {os.cpu_count()} cores of {_cpu_name()}, "
        f"{_memory_gb():.0f} GB, {platform.system()} {platform.release()}, Python {platform.python_version()}; "
        f"{', '.join(versions)}. Load of the machine before (1, 5, 15 min): {load}.\n"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
