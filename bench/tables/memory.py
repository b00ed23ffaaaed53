"""What twenty tasks hold in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from bench.herd import INTERVAL, held, herd
from bench.measuring import Memory, spread
from bench.running import Running, house, short
from bench.table import Row, Say
from tests.e2e.harness import Server, ledger

TITLE = "Memory of twenty tasks"
ABOUT = f"""\
Twenty tasks of one server, each a 1080p H.264 clip at 25 frames a second for ever, every {INTERVAL}th frame through
yolox_nano so that two cores suffice. Median over the tasks of the proportional set size (PSS) of the engine and its
client, after they have worked for a while; as many looks as rounds. Pages that a task shares with its nursery count by
their share. Yardsticks: the same with `nurseries: false`, and the private memory of the old client.py alone, 27 MB,
without its engine (sophon-stream's own figure for a 1080p channel is not known to us)."""

TASKS = 20
LIMIT_MB = 100.0
OLD_CLIENT_MB = 27.0
_BETWEEN_LOOKS_S = 3.0
_SHARED = {"supervisor": "streamserver.supervise", "nurseries": "streamserver.launchers.nursery", "web": "gunicorn"}

Looks = Sequence[tuple[Memory, Memory]]


def measure(rounds: int, say: Say) -> list[Row]:
    """One server after the other: forty tasks at once are too many for two cores."""
    count = 4 if short() else TASKS
    with ledger() as receiver:
        with house() as one, herd(one, count, receiver.url) as tasks:
            ours = [look for _ in range(rounds) for look in _look(tasks, say)]
            shared = _shared(one)
        with house(STREAMSERVER_NURSERIES="false") as other, herd(other, count, receiver.url) as tasks:
            programs = [look for _ in range(rounds) for look in _look(tasks, say)]
    return [*_rows(ours, programs), *_of_the_server(shared, count)]


def _look(tasks: Sequence[Running], say: Say) -> Looks:
    time.sleep(_BETWEEN_LOOKS_S)
    looks: Looks = [running.memory() for running in tasks]
    say(f"PSS {statistics.median(engine.pss + client.pss for engine, client in looks):.1f} MB a task")
    return looks


def _rows(ours: Looks, programs: Looks) -> list[Row]:
    both = [engine.pss + client.pss for engine, client in ours]
    engines, clients = [engine for engine, _ in ours], [client for _, client in ours]
    rows = [
        Row(
            measure="engine and client, PSS",
            value=statistics.median(both),
            unit="MB",
            yardstick="started as programs",
            reference=statistics.median(engine.pss + client.pss for engine, client in programs),
            limit=LIMIT_MB,
            limit_of="value",
            remark=spread(both),
        ),
        _half("engine", engines, [engine for engine, _ in programs]),
        _half("client", clients, [client for _, client in programs]),
    ]
    private = statistics.median(client.private for client in clients)
    old = Row(measure="client, private", value=private, unit="MB", yardstick="old client.py", reference=OLD_CLIENT_MB)
    return [*rows, old]


def _half(what: str, ours: Sequence[Memory], programs: Sequence[Memory]) -> Row:
    return Row(
        measure=f"{what}, PSS",
        value=statistics.median(one.pss for one in ours),
        unit="MB",
        yardstick="started as programs",
        reference=statistics.median(one.pss for one in programs),
        remark=f"RSS {statistics.median(one.rss for one in ours):.0f} MB, "
        f"private {statistics.median(one.private for one in ours):.0f} MB",
    )


def _shared(one: Server) -> dict[str, Memory]:
    return {name: held(one, word) for name, word in _SHARED.items()}


def _of_the_server(shared: Mapping[str, Memory], count: int) -> list[Row]:
    return [
        Row(measure=f"{name}, PSS, once a server", value=found.pss, unit="MB", remark=f"with {count} tasks running")
        for name, found in shared.items()
    ]
