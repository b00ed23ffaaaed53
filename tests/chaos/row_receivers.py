"""One of three receivers is down, or answers a byte a second, or closes: alarms' delay, and whether any is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.world import (
    FEW_FRAMES,
    Mode,
    Receiver,
    Receivers,
    alarm_task,
    fast_clip,
    raised,
    receivers,
    wait_drained,
    wait_running,
)
from tests.e2e.harness import Server, server, wait_for

FAULT = "one of three receivers down; one answering a byte a second; one closing"
PASS = "0 lost, p95 delay ≤ 1.5 s"
ORDER = 70

SEVERAL = 4
PACE = 2
"""The clip's loop takes 7.5 s, so a task raises an alarm every 2.5 s."""

BAD_S = 60
"""How long the one is bad, twice: when the task begins, and after it was well for a while."""

LEAST_BAD_S = 12
WELL_S = 5
P95_S = 1.5


def _down(one: Receiver) -> None:
    one.deafen()


def _trickle(one: Receiver) -> None:
    one.mode = Mode.TRICKLE


def _close(one: Receiver) -> None:
    one.mode = Mode.CLOSE


FAULTS: dict[str, Callable[[Receiver], None]] = {"down": _down, "a byte a second": _trickle, "closing": _close}


def run(context: Context) -> Outcome:
    """Each fault with receivers of one task, and at the same time with receivers that several tasks share."""
    return measure(context, FAULTS, bad_s=context.count(BAD_S, least=LEAST_BAD_S), p95_s=P95_S)


def measure(
    context: Context, faults: Mapping[str, Callable[[Receiver], None]], *, bad_s: int, p95_s: float | None
) -> Outcome:
    """Faults one after another, each twice for ``bad_s`` seconds; without ``p95_s`` no delay is too long."""
    complaints: list[str] = []
    figures: list[str] = []
    film = fast_clip(context.folder / "clip", times=PACE, rate=FEW_FRAMES)
    with server(context.folder / "state", project=context.project) as running:
        for number, (what, spoil) in enumerate(faults.items()):
            context.say(f"receivers: one of three: {what}")
            with receivers(3) as own, receivers(3) as shared:
                groups = {f"{number} alone": (own, 1), f"{number} of several": (shared, SEVERAL)}
                names = _create(running, film, groups)
                since = time.time()
                _spoil_twice(context, [own, shared], spoil, bad_s)
                _end(running, names, [own, shared], what, complaints)
                for group, (several, _) in groups.items():
                    title = f"{what}, {group.partition(' ')[2]}"
                    figures.append(_judge(title, several, since, p95_s, complaints))
    return judged("; ".join(figures), complaints)


def _create(running: Server, film: Path, groups: dict[str, tuple[Receivers, int]]) -> list[str]:
    names = []
    for group, (several, tasks) in groups.items():
        for task in range(tasks):
            names.append(f"{group} {task}")
            reply = running.create(alarm_task(names[-1], film, several.urls, fps=25))
            assert reply["Code"] == 0, reply
    wait_running(running, names)
    return names


def _spoil_twice(context: Context, groups: list[Receivers], spoil: Callable[[Receiver], None], bad_s: int) -> None:
    for last in (False, True):
        chosen = [context.random.choice(several) for several in groups]
        before = [len(several.ids()) for several in groups]
        for one in chosen:
            spoil(one)
        time.sleep(bad_s)
        wait_for(lambda b=before: all(len(g.ids()) > n for g, n in zip(groups, b, strict=True)), "alarms come")
        if last:
            return  # what comes late has to come while it is still bad
        for several in groups:
            several.set_mode(Mode.TAKE)
        time.sleep(WELL_S)


def _end(running: Server, names: list[str], groups: list[Receivers], what: str, complaints: list[str]) -> None:
    wanted = [raised(running.state_dir)]
    for name in names:
        assert running.post("/task/delete", {"TaskID": name})["Code"] == 0
    wanted.append(raised(running.state_dir))
    for several, kind in zip(groups, ("alone", "several"), strict=True):
        ours = [name for name in names if kind in name]
        ids = {alarm_id for found in wanted for name in ours for alarm_id in found.get(name, ())}
        missing = wait_drained(running, several, ids=ids, patience_s=60.0)
        if missing:
            complaints.append(f"{what}, {kind}: {len(missing)} of {len(ids)} alarms are lost")


def _judge(what: str, several: Receivers, since: float, limit_s: float | None, complaints: list[str]) -> str:
    """The delays of all alarms from their making, which the id tells, to the ledger."""
    epoch = time.time() - time.monotonic()
    first: dict[str, float] = {}
    for row in several.all():
        made = (UUID(row.alarm_id).int >> 80) / 1000
        if made >= since:
            first.setdefault(row.alarm_id, row.at_s + epoch - made)
    delays = sorted(first.values())
    if not delays:
        complaints.append(f"{what}: no alarm came")
        return f"{what}: no alarms"
    p95_s = delays[min(len(delays) - 1, int(0.95 * len(delays)))]
    if limit_s is not None and p95_s > limit_s:
        complaints.append(f"{what}: p95 of the delay is {p95_s:.2f} s")
    if (most := max(several.counts().values())) > 2:
        complaints.append(f"{what}: an alarm came {most} times")
    complaints.extend(several.protests())
    return f"{what}: {len(delays)} alarms, p95 {p95_s:.2f} s, longest {delays[-1]:.2f} s"
