"""Runs spoilt tasks: each runs, or is refused by an error of ours that says where; none hangs or leaves a thread."""

from __future__ import annotations

import functools
import json
import re
import shutil
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamserver.core.errors import StreamServerError
from streamserver.core.settings import Settings
from streamserver.engine.runner import Runner
from streamserver.worker.prepare import build_runner
from tests.fuzz.mutations import mutate

CASE_LIMIT_S = 120.0
"""Longer than anything that works takes, also on a busy machine."""

RUN_S = 1.5
"""How long a graph that has no end of its own runs."""

_PLACE = re.compile(
    r"\.json\b|element \d+|channel -?\d+|graph -?\d+|engine_config_path|(video file|picture folder) '|^'[^']*':"
)
"""What an error must hold: a file, an element, a channel, or the source that is meant."""


@dataclass
class Report:
    """What became of the cases.

    Attributes:
        outcomes: how many were refused when read, ran, were refused by a running element, or were only built.
        failures: everything that must not happen, with the seed.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Base:
    """A good task to spoil: its name, and its files parsed."""

    name: str
    files: dict[str, Any]

    @classmethod
    def from_folder(cls, folder: Path) -> Base:
        """Reads all JSON files of a task's folder."""
        paths = [folder / "demo.json", folder / "engine.json", *sorted((folder / "elements").glob("*.json"))]
        return cls(folder.name, {str(path.relative_to(folder)): json.loads(path.read_bytes()) for path in paths})


def run_cases(
    bases: Sequence[Base], seeds: Sequence[int], *, folder: Path, settings: Settings, run_every: int
) -> Report:
    """Spoils the bases in turn, once a seed; of those that can be built, runs each ``run_every``-th."""
    report = Report()
    threads = set(threading.enumerate())
    built = 0
    for seed in seeds:
        base = bases[seed % len(bases)]
        case = folder / f"case{seed}"
        _write(mutate(base.files, seed), case)
        outcome = _watched(functools.partial(_one, case, settings, run=built % run_every == 0))
        built += outcome != "refused"
        left = _left_behind(threads)
        if outcome.startswith("!") or left:
            report.failures.append(f"seed {seed} ({base.name}): {outcome} {left or ''}")
            threads |= set(threading.enumerate())
        report.outcomes[outcome.partition(":")[0]] += 1
        shutil.rmtree(case)
    return report


def _write(files: dict[str, bytes], case: Path) -> None:
    for name, content in files.items():
        (case / name).parent.mkdir(parents=True, exist_ok=True)
        (case / name).write_bytes(content)


def _one(case: Path, settings: Settings, *, run: bool) -> str:
    """What became of one case; an outcome that must not be begins with ``!``."""
    try:
        runner, _ = build_runner(case / "demo.json", settings=settings, base_dir=case)
    except StreamServerError as e:
        return "refused" if _PLACE.search(str(e)) else f"!the error does not say where: {e}"
    except Exception:  # noqa: BLE001 - finding these is what this is for
        return f"!built with {traceback.format_exc()}"
    if not run:
        return "built"
    return _run(runner)


def _run(runner: Runner) -> str:
    stopper = threading.Timer(RUN_S, runner.stop)
    stopper.start()
    try:
        left_behind = runner.run()
    except StreamServerError as e:
        return "refused while running" if _PLACE.search(str(e)) else f"!the error does not say where: {e}"
    except Exception:  # noqa: BLE001 - finding these is what this is for
        return f"!ran with {traceback.format_exc()}"
    finally:
        stopper.cancel()
        stopper.join()
    return f"!did not end: {', '.join(left_behind)}" if left_behind else "ran"


def _watched(work: Callable[[], str]) -> str:
    """The result of ``work``, or where it hangs."""
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(work()), name="case", daemon=True)
    thread.start()
    thread.join(CASE_LIMIT_S)
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)
        return "!hangs: " + "".join(traceback.format_stack(frame)[-6:])
    return results[0] if results else "!died without a word"


def _left_behind(before: set[threading.Thread]) -> list[str]:
    """Threads that do not end, but for those of the receiver's connections."""
    deadline = time.monotonic() + CASE_LIMIT_S
    while True:
        left = [t.name for t in set(threading.enumerate()) - before if "process_request" not in t.name]
        if not left or time.monotonic() > deadline:
            return sorted(left)
        time.sleep(0.02)
