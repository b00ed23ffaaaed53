"""kill -9 of every kind of process at random moments, also while others start, while users create, edit and delete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from statistics import quantiles

from tests.chaos.campaign import PATIENCE_S, Campaign
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.receivers import Mode, Receiver, Receivers
from tests.chaos.targets import VICTIMS, Role, Target, count_by_role, kill, of_role, targets
from tests.chaos.world import fast_clip, orphans
from tests.e2e.harness import Server, wait_for

ORDER = 10
FAULT = "kill -9 of web, supervisor, engine, client at random, 200 times"
PASS = "0 tasks lost, 0 alarms lost, no alarm more than twice, 0 orphans, back to RUNNING p95 ≤ 3 s"

KILLS = 200
P95_S = 3.0
ENVIRONMENT = {"STREAMSERVER_DRAIN_TIMEOUT_S": "1", "STREAMSERVER_LOG_LEVEL": "INFO"}

_PACE = 4
"""How many times faster than drawn the clip is played: a loop of 3.75 s with 3 alarms."""

_ENDLESS = 2
_COUNTED_LOOPS = 4
_SECOND_KILL = 0.25
"""How often a second kill follows within ``_SECOND_WITHIN_S``: it meets processes that are just starting."""

_SECOND_WITHIN_S = 1.5
_USER_ACTS = 0.5
_RECEIVER_GOES = 0.15
_OUTAGE_EVERY = 10
"""In every so many rounds nobody takes alarms while a task is deleted: else the courier hardly ever has work."""


def run(context: Context) -> Outcome:
    """The row."""
    with Receivers(2) as several:
        server = Server(context.folder / "state", project=context.project, environment=ENVIRONMENT)
        campaign = Campaign(server, several, fast_clip(context.folder, times=_PACE))
        return strike(context, campaign, kills=context.count(KILLS), p95_s=P95_S)


def strike(
    context: Context,
    campaign: Campaign,
    *,
    kills: int,
    p95_s: float | None,
    roles: Collection[Role] = VICTIMS,
    receiver_goes: float = _RECEIVER_GOES,
    second_kill: float = _SECOND_KILL,
    when_waiting: int = 0,
) -> Outcome:
    """Starts the server, kills, stops it and judges.

    Args:
        context: seed and folder.
        campaign: a server that does not run yet.
        kills: how many.
        p95_s: the longest time to be back for 19 of 20; ``None`` where time is not judged.
        roles: whom the kills meet.
        receiver_goes: how often, from 0 to 1, a receiver is away while a kill comes.
        second_kill: how often, from 0 to 1, a kill is followed by another while its processes start.
        when_waiting: a kill comes when it meets a task of which so many alarms wait, not just at any time.
    """
    storm = _Storm(context, campaign, kills, roles, receiver_goes, second_kill, when_waiting)
    with campaign.serving():
        storm.rage()
        campaign.receivers.set_mode(Mode.TAKE)
        verdict = campaign.conclude()
    median_s, late_s = storm.times()
    if p95_s is not None and late_s > p95_s:
        campaign.complain(f"back to RUNNING in {late_s:.1f} s (p95), more than {p95_s:.0f} s; {storm.slowest()}")
    figure = (
        f"{len(storm.struck)} kills ({count_by_role(storm.struck)}), {campaign.promises.tasks} tasks: {verdict.figure};"
        f" back in {median_s:.1f} s (median), {late_s:.1f} s (p95), {max(storm.back_s, default=0.0):.1f} s (longest)"
    )
    return judged(figure, campaign.complaints)


@dataclass(slots=True)
class _Storm:
    """The schedule of kills; everything random is drawn by the main thread, in order."""

    context: Context
    campaign: Campaign
    kills: int
    roles: Collection[Role] = VICTIMS
    receiver_goes: float = _RECEIVER_GOES
    second_kill: float = _SECOND_KILL
    when_waiting: int = 0
    struck: list[Role] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    detail: list[tuple[float, str]] = field(default_factory=list)
    made: int = 0
    churn: list[str] = field(default_factory=list)

    def rage(self) -> None:
        """Until all kills are done, or something never came back."""
        for n in range(_ENDLESS):
            self.campaign.create(f"endless-{n}")
        self._create_counted()
        one_round = 0
        while len(self.struck) < self.kills and self.campaign.settle():
            one_round += 1
            outage = Role.COURIER in self.roles and one_round % _OUTAGE_EVERY == _OUTAGE_EVERY // 2
            if not (self._outage() if outage else self._one_round()):
                return

    def _one_round(self) -> bool:
        random, campaign = self.context.random, self.campaign
        time.sleep(random.uniform(0.0, 1.0))
        campaign.look()
        spoilt = random.choice(campaign.receivers) if random.random() < self.receiver_goes else None
        if spoilt is not None:
            self._spoil(spoilt)
        act = self._user_act() if random.random() < _USER_ACTS else None
        measured = campaign.running() - ({act[0]} if act else set())
        user = threading.Thread(target=act[1], daemon=True) if act else None
        if user is not None:
            user.start()
        time.sleep(random.uniform(0.0, 0.3) if user is not None else 0.0)
        last_at, words, met = self._kill()
        took_s = campaign.wait_back(measured, last_at)
        if user is not None:
            user.join()
        if spoilt is not None:
            spoilt.mode = Mode.TAKE
            spoilt.listen()
        names = {campaign.name_of(target.key) for target in met if target.key}
        return self._note(took_s, words, timed=names <= measured)

    def _outage(self) -> bool:
        """A task is deleted while nobody takes its alarms; the courier is killed at it, and again while it delivers."""
        campaign, random = self.campaign, self.context.random
        self.made += 1
        name = f"left-{self.made}"
        campaign.create(name)
        if not campaign.settle():
            return False
        for receiver in campaign.receivers:
            receiver.deafen(patience_s=PATIENCE_S)
        wait_for(lambda: campaign.look() or campaign.promises.alarms[name] - campaign.receivers.ids(), "alarms wait")
        campaign.delete(name)
        wait_for(lambda: of_role(campaign.server, Role.COURIER), "the courier begins", campaign.states)
        time.sleep(random.uniform(0.0, 1.0))
        if not self._kill_courier("all receivers away"):
            return False
        campaign.receivers.set_mode(Mode.TAKE)
        time.sleep(random.uniform(0.0, 1.5))
        return self._kill_courier("all receivers back")

    def _kill_courier(self, when: str) -> bool:
        """Unless it has just ended."""
        measured, there = self.campaign.running(), of_role(self.campaign.server, Role.COURIER)
        if not there:
            return True
        self.struck.append(Role.COURIER)
        return self._note(self.campaign.wait_back(measured, kill(there[0])), f"courier, {when}", timed=True)

    def _spoil(self, receiver: Receiver) -> None:
        """Makes a receiver take nothing, in one of several ways."""
        how = self.context.random.choice((None, Mode.UNAVAILABLE, Mode.CLOSE, Mode.TRICKLE))
        if how is None:
            receiver.deafen(patience_s=PATIENCE_S)  # an answer cut off makes a copy that is no fault of the server
        else:
            receiver.mode = how

    def _note(self, took_s: float | None, words: str, *, timed: bool) -> bool:
        """Keeps the time, unless a process was met whose task the user was just changing: that one has no state."""
        if took_s is None:
            states = self.campaign.states()
            self.campaign.complain(f"never back after kill {len(self.struck)} ({words}): {states}")
            return False
        if timed:
            self.back_s.append(took_s)
            self.detail.append((took_s, words))
        self.context.say(f"kill {len(self.struck)} of {self.kills}: {words}: back after {took_s:.2f} s")
        if left := orphans(self.campaign.server):
            self.campaign.complain(f"orphans after kill {len(self.struck)} ({words}): {left}")
        return True

    def _kill(self) -> tuple[float, str, list[Target]]:
        """One or two kills; returns when the last one came, and whom they met."""
        random = self.context.random
        last_at, met = self._kill_one()
        words, all_met = met.role.value, [met]
        if random.random() < self.second_kill and len(self.struck) < self.kills:
            pause_s = random.uniform(0.0, _SECOND_WITHIN_S)
            time.sleep(pause_s)
            last_at, met = self._kill_one()
            words, all_met = f"{words}, {pause_s:.2f} s later {met.role.value}", [*all_met, met]
        return last_at, words, all_met

    def _kill_one(self) -> tuple[float, Target]:
        """One random process of a random role among those that are there."""
        there: list[Target] = []
        wait_for(lambda: there.extend(self._victims()) or there, "there is somebody to kill", self.campaign.states)
        role = self.context.random.choice(sorted({target.role for target in there}, key=VICTIMS.index))
        victims = sorted((target for target in there if target.role is role), key=lambda target: target.key)
        victim = self.context.random.choice(victims)
        self.struck.append(role)
        return kill(victim), victim

    def _victims(self) -> list[Target]:
        """Whom a kill may meet now."""
        there = [target for target in targets(self.campaign.server) if target.role in self.roles]
        if not self.when_waiting:
            return there
        self.campaign.look()
        taken, alarms = self.campaign.receivers.ids(), self.campaign.promises.alarms
        waiting = {name for name, ids in list(alarms.items()) if len(ids - taken) >= self.when_waiting}
        return [target for target in there if target.key and self.campaign.name_of(target.key) in waiting]

    def _user_act(self) -> tuple[str, Callable[[], None]]:
        """What the user does while the kill comes: the task it is about, and the doing."""
        campaign, random = self.campaign, self.context.random
        if self._counted_are_over() and random.random() < 0.5:
            return f"counted-{self.made}", self._create_counted
        if self.churn and random.random() < 0.6:
            name = self.churn[0]
            if name not in campaign.promises.uncounted and random.random() < 0.4:
                return name, lambda: campaign.edit(name)
            self.churn.remove(name)
            return name, lambda: campaign.delete(name)
        if self.churn:
            return self._user_act()
        self.made += 1
        name = f"churn-{self.made}"
        self.churn.append(name)
        return name, lambda: campaign.create(name)

    def _counted_are_over(self) -> bool:
        states = self.campaign.states() or {}
        return all(states.get(name) == "FINISHED" for name in self.campaign.promises.counted)

    def _create_counted(self) -> None:
        self.made += 1
        self.campaign.create(f"counted-{self.made}", loops=_COUNTED_LOOPS)

    def times(self) -> tuple[float, float]:
        """Median and 95th percentile of the seconds until everything was back."""
        if len(self.back_s) < 2:
            return max(self.back_s, default=0.0), max(self.back_s, default=0.0)
        cuts = quantiles(self.back_s, n=20, method="inclusive")
        return cuts[9], cuts[18]

    def slowest(self) -> str:
        """The rounds that took longest, in words."""
        return "; ".join(f"{took_s:.1f} s: {words}" for took_s, words in sorted(self.detail, reverse=True)[:3])
