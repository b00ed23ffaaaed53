"""All receivers are away for a while, first without anybody who listens, then answering 503; then they are back."""

from __future__ import annotations

import time

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.world import Mode, Receivers, alarm_task, fast_clip, raised, receivers, wait_running
from tests.e2e.harness import Server, server, wait_for

FAULT = "all receivers down 10 min (time may be scaled)"
PASS = "backlog kept, drained at ≥ 100 a second, first retry ≤ 2 s after return, ≤ 10 at a time per URL"
ORDER = 60

TASKS = 4
PACE = 10
"""The clip's loop takes 1.5 s, so each task raises 2 alarms a second."""

DOWN_S = 600
UNAVAILABLE_S = 60
LEAST_DOWN_S = 8
RATE = 100.0
FIRST_S = 2.0
AT_A_TIME = 10


def run(context: Context) -> Outcome:
    """Measures both outages on one server."""
    complaints: list[str] = []
    figures: list[str] = []
    film = fast_clip(context.folder / "clip", times=PACE)
    with receivers(2) as several, server(context.folder / "state") as running:
        names = [f"task {number}" for number in range(TASKS)]
        for name in names:
            reply = running.create(alarm_task(name, film, several.urls, fps=25))
            assert reply["Code"] == 0, reply
        wait_running(running, names)
        wait_for(lambda: len(several.ids()) >= TASKS, "alarms arrive")
        for what, seconds in (("nobody listens", DOWN_S), ("503", UNAVAILABLE_S)):
            lasting_s = context.count(seconds, least=LEAST_DOWN_S)
            context.say(f"outage: {what} for {lasting_s} s")
            figures.append(_outage(running, several, what, lasting_s, complaints))
        complaints += _judge_at_the_end(running, several, names)
    busiest = max(one.busiest for one in several)
    if busiest > AT_A_TIME:
        complaints.append(f"{busiest} reports were under way to one address at a time")
    return judged("; ".join([*figures, f"at most {busiest} at a time"]), complaints)


def _outage(running: Server, several: Receivers, what: str, lasting_s: int, complaints: list[str]) -> str:
    _begin(several, what)
    time.sleep(lasting_s)
    backlog = _backlog(running, several)
    posts = sum(one.posts for one in several)
    back_at = time.monotonic()
    several.set_mode(Mode.TAKE)
    wait_for(lambda: backlog <= several.ids(), "the backlog is delivered", lambda: len(backlog - several.ids()))
    rows = [row for row in several.all() if row.at_s >= back_at]
    first_s = rows[0].at_s - back_at
    last = max(row.at_s for row in rows if row.alarm_id in backlog)
    drained = [row for row in rows if row.at_s <= last]
    rate = len(drained) / max(last - rows[0].at_s, 0.001)
    if len(backlog) < TASKS * lasting_s / 2:
        complaints.append(f"{what}: only {len(backlog)} alarms waited after {lasting_s} s")
    if last - back_at > FIRST_S + len(drained) / RATE:  # time to find out, for each task, and then the rate
        complaints.append(f"{what}: drained at {rate:.0f} a second, {last - back_at:.1f} s after the return")
    if first_s > FIRST_S:
        complaints.append(f"{what}: first retry {first_s:.2f} s after the return")
    needless = sum(one.posts for one in several) - posts - len(rows)
    if needless > TASKS * len(several):
        complaints.append(f"{what}: {needless} reports after the return that were not taken")
    return f"{what} {lasting_s} s: {len(backlog):,} waited, first after {first_s:.2f} s, drained at {rate:.0f} a second"


def _begin(several: Receivers, what: str) -> None:
    for one in several:
        if what == "503":
            one.mode = Mode.UNAVAILABLE
        else:
            one.deafen(patience_s=5.0)


def _backlog(running: Server, several: Receivers) -> set[str]:
    """What is committed and has not arrived."""
    return set().union(*raised(running.state_dir).values()) - several.ids()


def _judge_at_the_end(running: Server, several: Receivers, names: list[str]) -> list[str]:
    complaints = []
    for name in names:
        state = running.query(name)
        if state.get("State") != "RUNNING" or state.get("Restarts"):
            complaints.append(f"{name}: {state}")
        assert running.post("/task/delete", {"TaskID": name})["Code"] == 0
    everything = set().union(*raised(running.state_dir).values()) | several.ids()
    wait_for(lambda: everything <= several.ids(), "the last alarms arrive", lambda: len(everything - several.ids()))
    most = max(several.counts().values())
    if most > 2:
        complaints.append(f"an alarm came {most} times")
    return complaints + several.protests()
