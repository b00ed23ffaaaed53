"""What processes cost: CPU time and memory of whole groups of them; taking turns, so that all see the same machine."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

_ROUNDING = 1e-9
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a program took.

    Attributes:
        cpu_s: user and system seconds of it and all that it started and waited for.
        wall_s: seconds from its start to its end.
        output: what it wrote to stdout.
    """

    cpu_s: float
    wall_s: float
    output: str


def spend(command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Spent:
    """Runs a program to its end, and nothing else beside it in this process.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    before, start = _of_children_s(), time.monotonic()
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    wall_s, cpu_s = time.monotonic() - start, _of_children_s() - before
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return Spent(cpu_s, wall_s, done.stdout)


def _of_children_s() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_s(pids: Iterable[int], *, children: bool = False) -> float:
    """User and system seconds so far of processes that run; with those of their ended children if asked."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11 : 15 if children else 13])
    return total / _TICKS


def machine_idle_s() -> float:
    """Seconds that the CPUs, added up, had nothing to do since the machine was started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[4]) / _TICKS


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (2**20 bytes) of one or several processes.

    Attributes:
        pss: proportional: shared pages are divided among those who share them.
        rss: resident, shared pages counted in full by each.
        private: pages of nobody else (USS).
    """

    pss: float
    rss: float
    private: float


def memory_mb(pids: Iterable[int]) -> Memory:
    """What processes that run hold now, added up."""
    sums = dict.fromkeys(("Pss", "Rss", "Private_Clean", "Private_Dirty"), 0)
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    megabytes = {name: kilobytes / 1024 for name, kilobytes in sums.items()}
    return Memory(megabytes["Pss"], megabytes["Rss"], megabytes["Private_Clean"] + megabytes["Private_Dirty"])


def in_turns(rounds: int, subjects: Mapping[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Calls each subject once a round, in changing order, so that all see the same machine; what they returned."""
    found: dict[str, list[Any]] = {name: [] for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(subjects[name]())
    return found


def telling(name: str, subject: Callable[[], Any], say: Callable[[str], None]) -> Callable[[], Any]:
    """The subject, saying what it returned each time."""

    def told() -> Any:
        result = subject()
        say(f"{name}: {result}")
        return result

    return told


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - _ROUNDING) - 1)]


def spread(values: Sequence[float]) -> str:
    """The least and the most, for a remark."""
    return f"{min(values):.4g} to {max(values):.4g}"
