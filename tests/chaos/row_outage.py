"""All receivers are away for a while, first without anybody who listens, then answering 503; then they are back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.world import FEW_FRAMES, Mode, Receivers, alarm_task, fast_clip, raised, receivers, wait_running
from tests.e2e.harness import PATIENCE_S, Server, server, wait_for

FAULT = "all receivers down 10 min (time may be scaled)"
PASS = "backlog kept, drained at ≥ 100 a second, first retry ≤ 2 s after return, ≤ 10 at a time per URL"
ORDER = 60

TASKS = 4
PACE = 10
"""The clip's loop takes 1.5 s, so each task raises 2 alarms a second."""

OUTAGES = {"nobody listens": 600, "503": 60}
"""Seconds at full size."""

LEAST_DOWN_S = 8
RATE = 100.0
FIRST_S = 2.0
AT_A_TIME = 10


def run(context: Context) -> Outcome:
    """Measures both outages on one server."""
    lasting_s = {what: context.count(full_s, least=LEAST_DOWN_S) for what, full_s in OUTAGES.items()}
    return measure(context, lasting_s, tasks=TASKS, timed=True)


def measure(context: Context, lasting_s: Mapping[str, int], *, tasks: int, timed: bool) -> Outcome:
    """Outages of so many seconds, one after another; unless ``timed``, how long things take is not judged."""
    complaints: list[str] = []
    figures: list[str] = []
    film = fast_clip(context.folder / "clip", times=PACE, rate=FEW_FRAMES)
    with receivers(2) as several, server(context.folder / "state", project=context.project) as running:
        names = [f"task {number}" for number in range(tasks)]
        for name in names:
            reply = running.create(alarm_task(name, film, several.urls, fps=25))
            assert reply["Code"] == 0, reply
        wait_running(running, names)
        wait_for(lambda: several.ids(), "alarms arrive")
        for what, seconds in lasting_s.items():
            context.say(f"outage: {what} for {seconds} s")
            outage = _outage(running, several, what, seconds)
            figures.append(outage.figure)
            complaints += outage.late() if timed else []
            if not outage.backlog:
                complaints.append(f"{what}: nothing waited after {seconds} s")
        complaints += _judge_at_the_end(running, several, names, restarts=not timed)
    busiest = max(one.busiest for one in several)
    if busiest > AT_A_TIME:
        complaints.append(f"{busiest} reports were under way to one address at a time")
    return judged("; ".join([*figures, f"at most {busiest} at a time"]), complaints)


@dataclass(frozen=True, slots=True)
class _Outage:
    """One outage: ``first_s`` and ``last_s`` after the receivers' return the backlog's first and last alarm came."""

    what: str
    lasting_s: int
    backlog: int
    drained: int
    first_s: float
    last_s: float

    @property
    def rate(self) -> float:
        return self.drained / max(self.last_s - self.first_s, 0.001)

    @property
    def figure(self) -> str:
        return (
            f"{self.what} {self.lasting_s} s: {self.backlog:,} waited, first after {self.first_s:.2f} s,"
            f" drained at {self.rate:.0f} a second"
        )

    def late(self) -> list[str]:
        found = []
        if self.backlog < self.lasting_s / 2:
            found.append(f"{self.what}: only {self.backlog} alarms waited, which says little")
        if self.last_s > FIRST_S + self.drained / RATE:  # each task has its time to find out, then the rate holds
            found.append(f"{self.what}: drained at {self.rate:.0f} a second, {self.last_s:.1f} s after the return")
        if self.first_s > FIRST_S:
            found.append(f"{self.what}: first retry {self.first_s:.2f} s after the return")
        return found


def _outage(running: Server, several: Receivers, what: str, lasting_s: int) -> _Outage:
    _begin(several, what)
    time.sleep(lasting_s)
    wait_for(lambda: _backlog(running, several), "an alarm waits")
    backlog = _backlog(running, several)
    back_at = time.monotonic()
    several.set_mode(Mode.TAKE)
    wait_for(lambda: backlog <= several.ids(), "the backlog is delivered", lambda: len(backlog - several.ids()))
    rows = [row for row in several.all() if row.at_s >= back_at]
    last = max(row.at_s for row in rows if row.alarm_id in backlog)
    drained = sum(row.at_s <= last for row in rows)
    return _Outage(what, lasting_s, len(backlog), drained, rows[0].at_s - back_at, last - back_at)


def _begin(several: Receivers, what: str) -> None:
    for one in several:
        if what == "503":
            one.mode = Mode.UNAVAILABLE
            one.wait_answered(PATIENCE_S)
        else:
            one.deafen(patience_s=PATIENCE_S)


def _backlog(running: Server, several: Receivers) -> set[str]:
    """What is committed and has not arrived."""
    return set().union(*raised(running.state_dir).values()) - several.ids()


def _judge_at_the_end(running: Server, several: Receivers, names: list[str], *, restarts: bool) -> list[str]:
    complaints = []
    for name in names:
        state = running.query(name)
        if not restarts and (state.get("State") != "RUNNING" or state.get("Restarts")):
            complaints.append(f"{name} had to be started again: {state}")
        assert running.post("/task/delete", {"TaskID": name})["Code"] == 0
    everything = set().union(*raised(running.state_dir).values()) | several.ids()
    wait_for(lambda: everything <= several.ids(), "the last alarms arrive", lambda: len(everything - several.ids()))
    most = max(several.counts().values())
    if most > 2:
        complaints.append(f"an alarm came {most} times")
    return complaints + several.protests()
