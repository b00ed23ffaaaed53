"""How long a task takes from the create request to its first processed frame."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from bench.herd import first_frames
from bench.measuring import in_turns, median, percentile, spread, telling
from bench.running import house
from bench.table import Row, Say
from tests.e2e.harness import ledger, wait_for

TITLE = "Start of a task"
ABOUT = """\
From sending `/task/create` until the status file of its engine tells of the first processed frame (yolox_nano, a 1080p
file, a warm server): one task by itself, and twenty created in a row without waiting. Yardstick: the same server with
`nurseries: false`, which starts the same engine and client as programs. CPU time is what engine and client have used
when the first frame shows."""

ONE_LIMIT_S = 0.5
MANY = 20
MANY_LIMIT_S = 3.0
_SINGLES = 4
"""So many single starts in each round: they are short."""

Found = Sequence[tuple[list[float], float]]


def measure(rounds: int, say: Say) -> list[Row]:
    """Both servers in turns."""
    with ledger() as receiver, house() as forks, house(STREAMSERVER_NURSERIES="false") as programs:
        wait_for(lambda: len(forks.pids("streamserver.launchers.nursery")) == 2, "the nurseries are there")
        first_frames(forks, 1, receiver.url)
        subjects = {
            f"{kind} {count}": telling(
                f"{kind} {count}", functools.partial(first_frames, one, count, receiver.url), say
            )
            for kind, one in (("forks", forks), ("programs", programs))
            for count in (1, MANY)
        }
        singles = in_turns(rounds * _SINGLES, {name: subjects[name] for name in ("forks 1", "programs 1")})
        bursts = in_turns(rounds, {name: subjects[name] for name in (f"forks {MANY}", f"programs {MANY}")})
    return [*_alone(singles["forks 1"], singles["programs 1"]), *_together(*bursts.values())]


def _alone(forks: Found, programs: Found) -> list[Row]:
    ours, theirs = ([seconds[0] for seconds, _ in found] for found in (forks, programs))
    return [
        Row(
            measure="create to first processed frame, p50",
            value=median(ours),
            unit="s",
            yardstick="started as programs",
            reference=median(theirs),
            limit=ONE_LIMIT_S,
            limit_of="value",
            remark=f"p95 {percentile(ours, 0.95):.2f} s; {spread(ours)}",
        ),
        _cpu("CPU of engine and client until then", forks, programs),
    ]


def _together(forks: Found, programs: Found) -> list[Row]:
    ours, theirs = ([seconds[-1] for seconds, _ in found] for found in (forks, programs))
    return [
        Row(
            measure=f"{MANY} created at once, until the last has its first frame",
            value=median(ours),
            unit="s",
            yardstick="started as programs",
            reference=median(theirs),
            limit=MANY_LIMIT_S,
            limit_of="value",
            remark=f"{spread(ours)}; half of them after {median(median(seconds) for seconds, _ in forks):.2f} s",
        ),
        _cpu(f"CPU of one of {MANY} until then", forks, programs),
    ]


def _cpu(measure: str, forks: Found, programs: Found) -> Row:
    ours, theirs = (median(cpu for _, cpu in found) for found in (forks, programs))
    return Row(measure=measure, value=ours, unit="s", yardstick="started as programs", reference=theirs)
