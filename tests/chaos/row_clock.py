"""The wall clock is stepped under the running server: while alarms flow, while they wait, and across a restart."""

from __future__ import annotations

import time
from itertools import pairwise
from uuid import UUID

from streamserver.core.status import CLIENT_FILE, ClientStatus
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.feeder import Feeder, dead_camera_task, frame_of, wait_client
from tests.chaos.stepped_clock import SteppedClock, missing_tools
from tests.chaos.world import Mode, Receivers
from tests.e2e.harness import PATIENCE_S, Server, wait_for

FAULT = "clock +1 h, −1 h, +10 years (libfaketime)"
PASS = "no restart, no retry storm, no stuck retry"
ORDER = 130

HOUR_S, TEN_YEARS_S = 3600, 315_576_000
STEPS = (HOUR_S, -HOUR_S, TEN_YEARS_S, 0)
_SOME_STEPS = (-HOUR_S, TEN_YEARS_S)
"""Of small runs."""

_ALONE = 0.05

_TASK = "clock"
_FULL_CYCLES = 10
_BACKLOG = 40
_QUIET_S = 3.0
"""How long nothing is raised while the POSTs to a receiver that refuses all are counted."""

_MOST_POSTS = 10
"""In that time: one every 2 s is due, and a storm would try all that wait."""

_FIRST_RETRY_S = 5.0
"""After the receiver's return; the promise is 2 s, the rest is for a machine that is busy.

Small runs, those of pytest, share the machine with others and only want that there is a retry at all.
"""


def run(context: Context) -> Outcome:
    """Cycles of all steps in all three situations."""
    if reason := missing_tools():
        return Outcome(False, reason, (reason,))
    clock = SteppedClock(context.folder / "clock")
    server = Server(context.folder / "state", project=context.project, environment=clock.environment)
    kinds = STEPS if context.size >= _ALONE else _SOME_STEPS
    cycles = context.count(_FULL_CYCLES)
    with Receivers(1) as receivers:
        trial = _Trial(context, server, clock, receivers)
        server.start()
        try:
            assert (reply := server.create(dead_camera_task(_TASK, receivers.urls)))["Code"] == 0, reply
            for number in range(cycles):
                steps = context.random.sample(kinds, len(kinds))
                trial.while_alarms_flow(steps)
                trial.while_they_wait(steps)
                trial.across_a_restart(steps[number % len(steps)])
                context.say(f"clock: cycle {number + 1} of {cycles}")
        finally:
            server.stop()
        trial.check_ids()
    return judged(trial.figure(), trial.complaints)


class _Trial:
    """One server, one task and what was seen of them."""

    def __init__(self, context: Context, server: Server, clock: SteppedClock, receivers: Receivers) -> None:
        self.complaints: list[str] = []
        self._first_retry_s = _FIRST_RETRY_S if context.size >= _ALONE else PATIENCE_S
        self._quiet_s = max(1.0, _QUIET_S * min(1.0, context.size * 10))
        self._server = server
        self._clock = clock
        self._receivers = receivers
        self._feeder = Feeder()
        self._steps = 0
        self._most_posts = 0
        self._slowest_s = 0.0

    def figure(self) -> str:
        """For the table."""
        return (
            f"{self._steps} steps, {len(self._feeder.promised)} alarms: {len(self.complaints)} complaints, at most "
            f"{self._most_posts} POSTs in {self._quiet_s:g} s while {_BACKLOG} alarms wait, first retry at most "
            f"{self._slowest_s:.1f} s after the return"
        )

    def while_alarms_flow(self, steps: list[int]) -> None:
        """After each step alarms are still raised and delivered, by the same processes."""
        port = wait_client(self._server, _TASK)
        before, restarts = self._server.processes(), self._restarts()
        self._feeder.start(port, pause_s=0.05)
        for step in steps:
            self._set(step)
            self._feeder.wait_promised(5)
            self._wait_delivered(f"step {step:+d} s while alarms flow")
        self._feeder.stop()
        self._check_same(before, restarts)

    def while_they_wait(self, steps: list[int]) -> None:
        """After each step the receiver, which refuses all, is asked no more often; after its return all arrives."""
        before, restarts = self._server.processes(), self._restarts()
        self._receivers.set_mode(Mode.UNAVAILABLE)
        self._feeder.raise_alarms(wait_client(self._server, _TASK), _BACKLOG)
        wait_for(lambda: self._posts_in_quiet() <= _MOST_POSTS, "what was raised has been tried once")
        for step in steps:
            self._set(step)
            posts = self._posts_in_quiet()
            self._most_posts = max(self._most_posts, posts)
            if posts > _MOST_POSTS:
                self.complaints.append(f"{posts} POSTs in {self._quiet_s:g} s after a step of {step:+d} s")
        self._wait_return("while alarms wait")
        self._check_same(before, restarts)

    def across_a_restart(self, step: int) -> None:
        """What waits when the server stops is delivered by the next one, whose clock is another."""
        self._receivers.set_mode(Mode.UNAVAILABLE)
        self._feeder.raise_alarms(wait_client(self._server, _TASK), _BACKLOG)
        self._server.stop()
        self._set(step)
        self._server.start()
        wait_client(self._server, _TASK)
        self._wait_return(f"step {step:+d} s across a restart")

    def check_ids(self) -> None:
        """Within the outbox ids grow with every alarm, whatever the clock did."""
        ids = {frame_of(row): row.alarm_id for row in self._receivers.all()}
        latest_s = max(UUID(alarm_id).int >> 80 for alarm_id in ids.values()) / 1000
        if latest_s < time.time() + TEN_YEARS_S / 2:
            self.complaints.append("the processes did not see the steps of the clock")
        wrong = [(a, b) for a, b in pairwise(sorted(ids)) if ids[a] >= ids[b]]
        if wrong:
            self.complaints.append(f"ids do not grow, first at frames {wrong[0]}")
        if protests := self._receivers.protests():
            self.complaints.append(f"the receiver got what is no report: {protests[0]}")

    def _posts_in_quiet(self) -> int:
        """How often the receiver was asked in the quiet time; where the machine stood still, as if it had not."""
        posts, since = self._receivers[0].posts, time.monotonic()
        time.sleep(self._quiet_s)
        longer = max(1.0, (time.monotonic() - since) / self._quiet_s)
        return round((self._receivers[0].posts - posts) / longer)

    def _set(self, step: int) -> None:
        self._clock.set(step)
        self._steps += 1

    def _wait_return(self, when: str) -> None:
        already = len(self._receivers.all())
        self._receivers.set_mode(Mode.TAKE)
        took_s = wait_for(lambda: len(self._receivers.all()) > already, f"{when}: something is tried again")
        self._slowest_s = max(self._slowest_s, took_s)
        if took_s > self._first_retry_s:
            self.complaints.append(f"{when}: the first retry came {took_s:.1f} s after the receiver's return")
        self._wait_delivered(when)

    def _wait_delivered(self, when: str) -> None:
        promised = set(self._feeder.promised)

        def missing() -> set[int]:
            return promised - {frame_of(row) for row in self._receivers.all()}

        wait_for(lambda: not missing(), f"{when}: all {len(promised)} alarms come", missing)

    def _restarts(self) -> int:
        return int(self._server.query(_TASK)["Restarts"])

    def _check_same(self, before: dict[int, str], restarts: int) -> None:
        """Nothing was started anew since ``before``, nothing was given up."""
        if gone := {pid: line for pid, line in before.items() if pid not in self._server.processes()}:
            self.complaints.append(f"processes ended: {gone}")
        if more := self._restarts() - restarts:
            self.complaints.append(f"{more} restarts")
        for file in self._server.state_dir.glob(f"tasks/*/{CLIENT_FILE}"):
            status = ClientStatus.read(file)
            if status is not None and status.dropped + status.dead + status.lost:
                self.complaints.append(f"alarms were given up: {status}")
