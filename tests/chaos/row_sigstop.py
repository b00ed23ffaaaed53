"""Each kind of process is stopped, and is found: killed or replaced, its work done again by another."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable

from streamserver.core.leftovers import STATUS_FILE
from streamserver.core.status import CourierStatus
from streamserver.supervise import lock
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.receivers import Mode, Receivers
from tests.chaos.targets import VICTIMS, Role, Target, of_role, sweep
from tests.chaos.world import alarm_task, alive, fast_clip, orphans, raised, wait_drained, wait_running
from tests.e2e.harness import Server, wait_for

ORDER = 120
FAULT = "SIGSTOP of each role"
PASS = "found ≤ 15 s, mended"

FOUND_S = 15.0
ROUNDS = 3
_MENDED_S = 90.0
_STAYS, _LEFT = "stays", "left"
ENVIRONMENT = {"STREAMSERVER_DRAIN_TIMEOUT_S": "1"}


def run(context: Context) -> Outcome:
    """The row."""
    complaints: list[str] = []
    found_s: dict[Role, list[float]] = defaultdict(list)
    mended_s: dict[Role, list[float]] = defaultdict(list)
    with Receivers(2) as several:
        server = Server(context.folder / "state", project=context.project, environment=ENVIRONMENT)
        try:
            server.start()
            _set_up(context, server, several)
            for _ in range(context.count(ROUNDS)):
                for role in context.random.sample(VICTIMS, len(VICTIMS)):
                    _stop_one(context, server, role, found_s[role], mended_s[role], complaints)
            several[1].mode = several[0].mode = Mode.TAKE
            lost = wait_drained(server, several)
            complaints += [f"{len(lost)} alarms lost"] if lost else []
            complaints += [f"orphans: {left}" for left in (orphans(server),) if left]
        finally:
            server.stop()
            complaints += [f"still running after the stop: {left}" for left in (sweep(server),) if left]
    worst = "; ".join(
        f"{role} {max(times):.1f}/{max(mended_s[role]):.1f} s" for role, times in found_s.items() if times
    )
    return judged(f"found/mended at the latest after: {worst}", complaints)


def _set_up(context: Context, server: Server, several: Receivers) -> None:
    """One task that stays, and one that is deleted while no receiver takes its alarms: work for the courier."""
    clip = fast_clip(context.folder, times=5)
    for name, receiver in ((_STAYS, several[0]), (_LEFT, several[1])):
        receiver.mode = Mode.UNAVAILABLE if name == _LEFT else Mode.TAKE
        assert server.create(alarm_task(name, clip, [receiver.url], fps=25))["Code"] == 0
    wait_running(server, (_STAYS, _LEFT))
    wait_for(lambda: raised(server.state_dir).get(_LEFT), "alarms that wait")
    assert server.post("/task/delete", {"TaskID": _LEFT})["Code"] == 0
    wait_for(lambda: of_role(server, Role.COURIER), "the courier runs")


def _stop_one(
    context: Context, server: Server, role: Role, found_s: list[float], mended_s: list[float], complaints: list[str]
) -> None:
    (victim,) = of_role(server, role)[:1]
    os.kill(victim.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        wait_for(lambda: not alive(victim.pid), f"the stopped {role} is found", patience_s=_MENDED_S)
        found_s.append(time.monotonic() - began)
        wait_for(lambda: _works(server, role, victim), f"the work of the {role} is done again", patience_s=_MENDED_S)
        mended_s.append(time.monotonic() - began)
        context.say(f"{role}: found after {found_s[-1]:.1f} s, mended after {mended_s[-1]:.1f} s")
        if found_s[-1] > FOUND_S:
            complaints.append(f"{role} was found after {found_s[-1]:.1f} s")
    except AssertionError as e:
        complaints.append(str(e)[:200])
        os.kill(victim.pid, signal.SIGCONT)
    wait_running(server, (_STAYS,))


def _works(server: Server, role: Role, before: Target) -> bool:
    others = [target for target in of_role(server, role) if target.pid != before.pid]
    checks: dict[Role, Callable[[], bool]] = {
        Role.SUPERVISOR: lambda: lock.beats(lock.lock_file(server.state_dir), 1.0) and _runs(server),
        Role.ENGINE: lambda: _runs(server),
        Role.CLIENT: lambda: _runs(server),
        Role.COURIER: lambda: _courier_beats(server, before.pid),
    }
    return bool(others) and checks.get(role, lambda: _answers(server))()


def _runs(server: Server) -> bool:
    return _answers(server) and server.query(_STAYS).get("State") == "RUNNING"


def _answers(server: Server) -> bool:
    try:
        return bool(server.post("/task/list", {})["Code"] == 0)
    except OSError:
        return False


def _courier_beats(server: Server, before: int) -> bool:
    status = CourierStatus.read(server.state_dir / STATUS_FILE)
    return status is not None and status.ready and status.pid != before
