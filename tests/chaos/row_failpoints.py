"""kill -9 at every named point of the way of a task and of an alarm, the first time it is reached and a later time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from streamserver.core.failpoints import DIR_VARIABLE, NAMES, VARIABLE
from tests.chaos.campaign import PATIENCE_S, Campaign
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.old_files import damage, wait_backed_up, write_old_state
from tests.chaos.receivers import Receivers
from tests.chaos.world import FEW_FRAMES, fast_clip
from tests.e2e.harness import Server, wait_for

ORDER = 20
FAULT = "kill at each fail-point"
PASS = "the same"

ENVIRONMENT = {"STREAMSERVER_DRAIN_TIMEOUT_S": "1", "STREAMSERVER_BACKUP_INTERVAL_S": "1"}
MIGRATION = "migrate.step"
RESTORE = "restore.moved_aside"

_PACE = 8
"""How many times faster than drawn the clip is played: a loop of 1.9 s with 3 alarms."""

_COUNTED_LOOPS = 3
_AT_ONCE = 6
"""Points that are armed in one server's life."""

_LATER = {"accept": (2, 3), "delete": (2, 3), "start": (2, 4), "stop": (2, 3), "state": (2, 8), "backup": (2, 4)}
_LATER_ELSE = (2, 6)
_CYCLES = 8
"""Tasks that are created and deleted in one life at most, until all points were reached."""

Point = tuple[str, int]
"""A name and the how-manieth time it is reached."""


def run(context: Context) -> Outcome:
    """The row."""
    ordinary = [(name, at) for at in (1, 2) for name in NAMES if name not in (MIGRATION, RESTORE)]
    wanted = context.count(len(ordinary), least=_AT_ONCE)
    chosen = sorted(context.random.sample(ordinary, wanted), key=ordinary.index)
    points = [(name, at if at == 1 else later(context, name)) for name, at in chosen]
    lives = deal(points, _AT_ONCE)
    complaints, died, alarms = [], 0, 0
    for n, life in enumerate(lives):
        kills, came, wrong = live(context, context.folder / f"life-{n}", life)
        died, alarms = died + kills, alarms + came
        complaints += wrong
    for at in (1, 2) if context.size >= 0.5 else (context.random.choice((1, 2)),):
        for name, scene in ((MIGRATION, live_migrating), (RESTORE, live_restoring)):
            kills, came, wrong = scene(context, context.folder / f"{name}-{at}", at)
            died, alarms = died + kills, alarms + came
            complaints += wrong
    figure = f"{died} kills at {len({name for name, _ in points}) + 2} points, {alarms:,} alarms: "
    return judged(figure + ("0 tasks and 0 alarms lost" if not complaints else "see the verdict"), complaints)


def later(context: Context, name: str) -> int:
    """A random later time for this point."""
    return context.random.randint(*_LATER.get(name.partition(".")[0], _LATER_ELSE))


def deal(points: Sequence[Point], at_once: int) -> list[list[Point]]:
    """Deals points to as few lives as possible: neighbours come apart, and no name twice into one life."""
    firsts = [point for point in points if point[1] == 1]
    lates = [point for point in points if point[1] != 1]
    lives = []
    for group in (firsts, lates):
        count = -(-len(group) // at_once)
        lives += [group[n::count] for n in range(count)]
    return lives


def arm(folder: Path, points: Sequence[Point]) -> dict[str, str]:
    """The environment of a server that kills itself at ``points``; they are counted in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return {VARIABLE: ",".join(f"{name}=kill@{at}" for name, at in points), DIR_VARIABLE: str(folder)}


def unreached(folder: Path, points: Sequence[Point]) -> list[str]:
    """Those of ``points`` that nobody came to so often."""
    return [f"{name}@{at}" for name, at in points if _hits(folder, name) < at]


def _hits(folder: Path, name: str) -> int:
    path = folder / name
    return path.stat().st_size if path.exists() else 0


def live(
    context: Context, folder: Path, points: Sequence[Point], *, patience_s: float = PATIENCE_S
) -> tuple[int, int, list[str]]:
    """One life of a server that is killed at each of ``points``; returns kills, alarms and complaints."""
    counts = folder / "points"
    context.say(f"armed: {', '.join(f'{name}@{at}' for name, at in points)}")
    with Receivers(2) as several:
        server = Server(folder / "state", project=context.project, environment=ENVIRONMENT | arm(counts, points))
        campaign = Campaign(
            server, several, fast_clip(context.folder, times=_PACE, rate=FEW_FRAMES), patience_s=patience_s
        )
        with campaign.serving():
            campaign.create("counted", loops=_COUNTED_LOOPS)
            campaign.create("endless")
            for n in range(_CYCLES):
                if campaign.complaints or (n >= 2 and not unreached(counts, points)):
                    break
                _cycle(campaign, f"churn-{n}")
            alarms = campaign.conclude().alarms
    return _account(campaign, alarms, counts, points)


def _cycle(campaign: Campaign, name: str) -> None:
    """One task from create to delete, with an update and an alarm between."""
    campaign.create(name)
    campaign.settle()
    campaign.update(name)
    until = time.monotonic() + campaign.patience_s
    while time.monotonic() < until and not any(row.task_id == name for row in campaign.receivers.all()):
        time.sleep(0.1)
    campaign.look()
    campaign.delete(name)


def _account(campaign: Campaign, alarms: int, counts: Path, points: Sequence[Point]) -> tuple[int, int, list[str]]:
    """Kills, alarms and complaints of a life that is over."""
    missed = unreached(counts, points)
    if missed:
        campaign.complain(f"never reached: {', '.join(missed)}")
    words = ", ".join(f"{name}@{at}" for name, at in points)
    return len(points) - len(missed), alarms, [f"[{words}] {text}" for text in campaign.complaints]


def live_migrating(context: Context, folder: Path, at: int) -> tuple[int, int, list[str]]:
    """A server that begins with databases of the first version: the task database, then an outbox."""
    points = [(MIGRATION, at)]
    context.say(f"armed: {MIGRATION}@{at}")
    with Receivers(2) as several:
        server = Server(
            folder / "state", project=context.project, environment=ENVIRONMENT | arm(folder / "points", points)
        )
        campaign = Campaign(server, several, fast_clip(context.folder, times=_PACE, rate=FEW_FRAMES))
        write_old_state(server.state_dir, campaign)
        with campaign.serving():
            campaign.settle()
            alarms = campaign.conclude().alarms
    return _account(campaign, alarms, folder / "points", points)


def live_restoring(context: Context, folder: Path, at: int) -> tuple[int, int, list[str]]:
    """A server whose databases are damaged between two starts: it is killed while it mends them."""
    points = [(RESTORE, at)]
    context.say(f"armed: {RESTORE}@{at}")
    with Receivers(2) as several:
        server = Server(folder / "state", project=context.project, environment=ENVIRONMENT)
        campaign = Campaign(server, several, fast_clip(context.folder, times=_PACE, rate=FEW_FRAMES))
        with campaign.serving():
            _prepare_restoring(campaign)
        damage(campaign)
        server.environment = ENVIRONMENT | arm(folder / "points", points)
        with campaign.serving():
            campaign.settle()
            wait_for(lambda: not unreached(folder / "points", points), f"{RESTORE}@{at}", patience_s=PATIENCE_S)
            alarms = campaign.conclude().alarms
    return _account(campaign, alarms, folder / "points", points)


def _prepare_restoring(campaign: Campaign) -> None:
    """A task that runs, one that has finished and one that was deleted, all of it in the backups."""
    campaign.create("counted", loops=1)
    campaign.create("endless")
    campaign.promises.uncounted.add("endless")  # loops after the backup are played again, under other ids
    _cycle(campaign, "churn")
    campaign.wait_finished()
    wait_backed_up(campaign)
