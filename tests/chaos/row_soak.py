"""Half an hour of ten tasks, a kill every half minute and a camera that is never there: does memory grow?

Memory can only be followed in a process that lives. So the kills of the first sixth meet every kind of process; those
of the rest meet one half of the tasks, while web, supervisor, guard and the other half, the dead camera's among them,
live on and are measured.

A process that has just started is not in its usual state yet: caches fill, and each new peak of frames under way takes
a buffer that is kept. In a run of 75 minutes without kills all engines grew like that for 8 to 13 minutes, by steps of
one or two frames, and not at all afterwards. So the slope is that of the time after ``_WARM_UP_S``. The largest single
step of that time is taken out as well: what grows on and on has more of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from tests.chaos.campaign import Campaign
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.judge import Verdict
from tests.chaos.receivers import Receivers
from tests.chaos.targets import VICTIMS, Role, Target, count_by_role, kill, targets
from tests.chaos.world import clip
from tests.e2e.harness import Server, free_port, task

ORDER = 150
FAULT = "30 min soak, 10 tasks, a kill every 30 s, one camera dead all the time"
PASS = "memory slope < 1 MB/h per process, 0 lost"

SOAK_S = 1800.0
KILL_EVERY_S = 30.0
MOST_KB_AN_HOUR = 1000.0

_TASKS = 10
_SPARED = 5
_DEAD = "dead-camera"
_SAMPLE_S = 2.0
_LEAST_PAUSE = 0.2
"""A short soak kills more often, but not without a pause."""

_WARM_UP_S = 780.0
_LEAST_S = 500.0
"""A slope over less time than this says nothing."""

ENVIRONMENT = {"STREAMSERVER_DRAIN_TIMEOUT_S": "1"}


def run(context: Context) -> Outcome:
    """The row."""
    with Receivers(2) as several:
        server = Server(context.folder / "state", project=context.project, environment=ENVIRONMENT)
        campaign = Campaign(server, several, clip(context.folder))
        soak = _Soak(context, campaign)
        with campaign.serving():
            soak.create_all()
            soak.last()
            verdict = campaign.conclude()
        return soak.outcome(verdict)


@dataclass(slots=True)
class _Soak:
    context: Context
    campaign: Campaign
    samples: dict[Target, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    struck: list[Role] = field(default_factory=list)

    def create_all(self) -> None:
        """Nine clips at their own pace and one address where nobody listens."""
        for n in range(_TASKS - 1):
            self.campaign.create(f"task-{n}")
        dead = task(_DEAD, f"rtsp://127.0.0.1:{free_port()}/nobody", self.campaign.receivers[0].url)
        self.campaign.submit(_DEAD, dead)

    def last(self) -> None:
        """Kills and measures until the time is over."""
        whole_s = SOAK_S * self.context.size
        began_at = time.monotonic()
        pause_s = KILL_EVERY_S * max(self.context.size, _LEAST_PAUSE)
        next_kill_at = began_at + pause_s
        while (now := time.monotonic()) - began_at < whole_s:
            if now >= next_kill_at:
                next_kill_at += pause_s
                self._kill(everybody=now - began_at < whole_s / 6)
            self._sample()
            self.campaign.look()
            time.sleep(_SAMPLE_S)

    def _kill(self, *, everybody: bool) -> None:
        spared = {f"task-{n}" for n in range(_SPARED - 1)} | {_DEAD}
        there = [
            target
            for target in targets(self.campaign.server)
            if target.role in VICTIMS
            and (everybody or (bool(target.key) and self.campaign.name_of(target.key) not in spared))
        ]
        roles = sorted({target.role for target in there}, key=VICTIMS.index)
        if roles:
            role = self.context.random.choice(roles)
            victims = sorted((target for target in there if target.role is role), key=lambda target: target.key)
            kill(self.context.random.choice(victims))
            self.struck.append(role)

    def _sample(self) -> None:
        for target in targets(self.campaign.server):
            if (kilobytes := anonymous_kb(target.pid)) is not None:
                self.samples[target].append((time.monotonic(), kilobytes))

    def outcome(self, verdict: Verdict) -> Outcome:
        """Slopes of what lived long enough, and the verdict on tasks and alarms."""
        slopes = {
            target: slope_kb_an_hour([sample for sample in series if sample[0] - series[0][0] >= _WARM_UP_S])
            for target, series in self.samples.items()
            if series[-1][0] - series[0][0] >= _WARM_UP_S + _LEAST_S
        }
        worst = max(slopes, key=lambda target: slopes[target], default=None)
        for target, slope in sorted(slopes.items(), key=lambda item: -item[1]):
            self.context.say(f"{self._name(target)}: {slope:+.0f} kB/h, {self.samples[target][-1][1]} kB")
            if slope >= MOST_KB_AN_HOUR:
                self.campaign.complain(f"{self._name(target)} grows by {slope / 1000:.1f} MB/h")
        told = (
            f"{len(slopes)} processes measured, the steepest {slopes[worst] / 1000:+.2f} MB/h ({self._name(worst)})"
            if worst is not None
            else "too short for slopes"
        )
        if worst is None and self.context.size >= 1:
            self.campaign.complain("no process lived long enough to be measured")
        figure = f"{len(self.struck)} kills ({count_by_role(self.struck)}): {verdict.figure}; {told}"
        return judged(figure, self.campaign.complaints)

    def _name(self, target: Target) -> str:
        return f"{target.role.value} {self.campaign.name_of(target.key) if target.key else ''}".strip()


def anonymous_kb(pid: int) -> int | None:
    """Memory that is this process's own (not shared code, which others coming and going would move), in kB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return None


def slope_kb_an_hour(series: list[tuple[float, int]]) -> float:
    """Least squares through (seconds, kB), after the largest rise from one sample to the next was taken out."""
    rises = [after - before for (_, before), (_, after) in pairwise(series)]
    largest = max(rises)
    at = rises.index(largest) + 1
    level = [(t, kb - max(largest, 0) * (n >= at)) for n, (t, kb) in enumerate(series)]
    mean_t, mean_kb = fmean(t for t, _ in level), fmean(kb for _, kb in level)
    spread = sum((t - mean_t) ** 2 for t, _ in level)
    return 3600.0 * sum((t - mean_t) * (kb - mean_kb) for t, kb in level) / spread
