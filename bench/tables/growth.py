"""Whether a task costs more when there are more of them."""

from __future__ import annotations

import functools
import statistics
import time
from dataclasses import dataclass

from bench.herd import INTERVAL, herd
from bench.measuring import in_turns, telling
from bench.running import house, short
from bench.table import Row, Say
from tests.e2e.harness import Server, ledger

TITLE = "Growth with the number of tasks"
ABOUT = f"""\
One server with 1, 5, 10 and 20 tasks, each a 1080p H.264 clip at 25 frames a second for ever, every {INTERVAL}th frame
through yolox_nano: CPU time of a task's engine and client for one second of its stream (25 frames decoded, one
inferred), and their PSS, as means over the tasks. Yardstick: the one task. With more tasks than cores their caches and
the memory bus are shared, and a virtual core is half a real one; that shows here, too."""

COUNTS = (1, 5, 10, 20)
LIMIT = 1.10
_MEASURED_S = 12.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one task of several costs.

    Attributes:
        cpu_ms: of its two processes for a second of its stream.
        pss_mb: of both.
    """

    cpu_ms: float
    pss_mb: float


def measure(rounds: int, say: Say) -> list[Row]:
    """Each number of tasks in turns."""
    counts = COUNTS[:2] if short() else COUNTS
    with ledger() as receiver, house() as one:
        found = in_turns(
            rounds,
            {str(n): telling(f"{n} tasks", functools.partial(_cost, one, n, receiver.url), say) for n in counts},
        )
    cpu = {n: statistics.median(c.cpu_ms for c in found[str(n)]) for n in counts}
    pss = {n: statistics.median(c.pss_mb for c in found[str(n)]) for n in counts}
    return [
        Row(
            measure=f"{what}, {n} tasks",
            value=figures[n],
            unit=unit,
            yardstick="1 task" if n > 1 else "",
            reference=figures[1] if n > 1 else None,
            limit=LIMIT if n > 1 else None,
        )
        for what, unit, figures in (("CPU a task for a second of stream", "ms", cpu), ("PSS a task", "MB", pss))
        for n in counts
    ]


def _cost(one: Server, count: int, url: str) -> Cost:
    with herd(one, count, url) as tasks:
        before = [running.sample() for running in tasks]
        time.sleep(_MEASURED_S)
        spent = [running.sample() - earlier for running, earlier in zip(tasks, before, strict=True)]
        memories = [running.memory() for running in tasks]
    cpu_ms = statistics.mean(1000 * (s.engine_s + s.client_s) / s.frames for s in spent)
    return Cost(cpu_ms, statistics.mean(engine.pss + client.pss for engine, client in memories))
