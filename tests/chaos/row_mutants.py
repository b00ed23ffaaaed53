"""Servers that break a promise on purpose: the harness has to fail each, and must not fail the real one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import row_failpoints, row_kills
from tests.chaos.campaign import PATIENCE_S, Campaign
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.mutants import Mutant, RottenMutantError, breed
from tests.chaos.receivers import Receivers
from tests.chaos.targets import Role
from tests.chaos.world import FEW_FRAMES, fast_clip
from tests.e2e.harness import Server

ORDER = 30
FAULT = (
    "the harness against seeded mutants (acknowledge before post, no PDEATHSIG, synchronous off, answer before commit,"
    " port not rechecked)"
)
PASS = "it fails each"

_PACE = 8
_PATIENCE_S = 12.0
"""Less than elsewhere: most mutants make the harness wait in vain."""

_WAITING = 3
"""Alarms that wait before a client is killed: the first of them was surely taken up by who delivers."""

ARRIVAL_S = _PATIENCE_S
"""How long alarms may take once all receivers are there; the test of a mutant, whose alarms never come, takes less."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A mutant and the part of the harness that has to notice it; ``told`` stands in the complaint that counts."""

    mutant: Mutant
    check: Callable[[Context], Outcome]
    told: str = ""


def run(context: Context) -> Outcome:
    """The row: every check against the real server, and against its mutant."""
    complaints: list[str] = []
    caught = 0
    for check in dict.fromkeys(one.check for one in TRIALS):
        outcome = check(_context(context, f"real-{check.__name__}", context.project))
        complaints += [f"{check.__name__} fails the real server: {text}" for text in outcome.complaints]
    for one in TRIALS:
        try:
            outcome = trial(context, one)
        except RottenMutantError as e:
            complaints.append(str(e))
            continue
        noticed = [text for text in outcome.complaints if one.told in text]
        context.say(f"mutant '{one.mutant.name}': {noticed[:1] or f'NOT CAUGHT: {outcome}'}")
        caught += bool(noticed)
        if not noticed:
            complaints.append(f"mutant '{one.mutant.name}' was not caught by {one.check.__name__}: {outcome.figure}")
    return judged(f"{caught} of {len(TRIALS)} mutants caught", complaints)


def trial(context: Context, one: Trial) -> Outcome:
    """What the harness says of the mutant."""
    name = one.mutant.name.replace(" ", "-")
    tree = breed(one.mutant, context.project, context.folder / f"tree-{name}")
    return one.check(_context(context, name, tree))


def _context(context: Context, name: str, project: Path) -> Context:
    folder = context.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return Context(folder, context.seed, min(context.size, 0.1), project)


def kills_while_nobody_listens(context: Context) -> Outcome:
    """Clients are killed while the only receiver is away and alarms are raised."""
    with Receivers(1) as several:
        campaign = _campaign(context, several, patience_s=PATIENCE_S)
        clients = (Role.CLIENT,)
        return row_kills.strike(
            context, campaign, kills=2, p95_s=None, roles=clients, receiver_goes=1.0, when_waiting=_WAITING
        )


def kills_of_the_supervisor(context: Context) -> Outcome:
    """The supervisor is killed: what it started has to end."""
    with Receivers(1) as several:
        campaign = _campaign(context, several)
        return row_kills.strike(context, campaign, kills=1, p95_s=None, roles=(Role.SUPERVISOR,))


def kills_before_the_commit(context: Context) -> Outcome:
    """The web process is killed just before a create and a delete are committed."""
    points = [("accept.before_commit", 2), ("delete.before_commit", 1)]
    died, _, complaints = row_failpoints.live(context, context.folder / "life", points, patience_s=_PATIENCE_S)
    return judged(f"{died} kills", complaints)


def power_losses(context: Context) -> Outcome:
    """The row of lost power, small."""
    return _row("powerloss", context)


def fsyncs(context: Context) -> Outcome:
    """The row that reads system calls, small."""
    return _row("fsync", context)


def taken_ports(context: Context) -> Outcome:
    """The row of taken ports, small."""
    return _row("ports", context)


def _row(name: str, context: Context) -> Outcome:
    try:
        outcome: Outcome = importlib.import_module(f"tests.chaos.row_{name}").run(context)
    except AssertionError as e:  # a row that waits in vain says so like this
        return Outcome(False, "it waited in vain", (str(e)[:300],))
    return outcome


def _campaign(context: Context, several: Receivers, *, patience_s: float = _PATIENCE_S) -> Campaign:
    server = Server(context.folder / "state", project=context.project, environment=row_kills.ENVIRONMENT)
    clip = fast_clip(context.folder, times=_PACE, rate=FEW_FRAMES)
    return Campaign(server, several, clip, patience_s=patience_s, arrival_s=ARRIVAL_S)


_DISPATCH = "streamserver/business/dispatch.py"
_TAKE = "        self._ready.extend(Errand(event,"

ACKNOWLEDGE_FIRST = Trial(
    Mutant(
        "acknowledge before post",
        {_DISPATCH: ((_TAKE, f"        self._outbox.delivered([event.id for event in events])\n{_TAKE}"),)},
    ),
    kills_while_nobody_listens,
    "never arrived",
)
NO_DEATH_SIGNAL = Trial(
    Mutant(
        "no PDEATHSIG",
        {"streamserver/core/processes.py": (("prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)", "getpid()"),)},
    ),
    kills_of_the_supervisor,
    "orphans",
)
SYNCHRONOUS_OFF = Trial(
    Mutant(
        "synchronous off",
        {"streamserver/durable/files.py": (("PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),)},
    ),
    power_losses,
    "lost",
)
CREATE_ANSWERS_FIRST = Trial(
    Mutant(
        "create answers before commit",
        {
            "streamserver/web/tasks.py": (
                (
                    "record, created = at_hand.store.create(",
                    "__import__('threading').Timer(0.3, at_hand.store.create, (",
                ),
                (
                    "src_id, content, spec_hash(content))\n",
                    "src_id, content, spec_hash(content))).start()\n        created = True\n",
                ),
                ('"accepted" if created else "is unchanged", record.key)', '"accepted", "")'),
            )
        },
    ),
    kills_before_the_commit,
    "lost",
)
CLIENT_ANSWERS_FIRST = Trial(
    Mutant(
        "client answers before commit",
        {
            "streamserver/outbox/box.py": (
                (
                    "        added = self._file.write(work, self._hand_over)\n",
                    "        __import__('threading').Timer(0.3, self._file.write, (work, self._hand_over)).start()\n"
                    "        added = events\n",
                ),
            )
        },
    ),
    fsyncs,
    "fsync",
)
PORT_NOT_RECHECKED = Trial(
    Mutant(
        "port not rechecked",
        {
            "streamserver/supervise/policy.py": (
                ("history=moved, next_port=True)", "history=moved)"),
                ("next_port=isinstance(event, Exited) and event.code == exitcodes.PORT_TAKEN,", "next_port=False,"),
            )
        },
    ),
    taken_ports,
    "between",
)
TRIALS = (
    ACKNOWLEDGE_FIRST,
    NO_DEATH_SIGNAL,
    SYNCHRONOUS_OFF,
    CREATE_ANSWERS_FIRST,
    CLIENT_ANSWERS_FIRST,
    PORT_NOT_RECHECKED,
)
"""The issue's five; "answer before commit" once for the API and once for the client."""
