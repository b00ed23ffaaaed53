"""Damaged task databases and outboxes: mended at the first opening, quiet at the second, nothing lost in silence."""

from __future__ import annotations

import random
from collections import Counter

from tests.chaos import damaged_outbox, damaged_server, damaged_tasks
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.damaged import Found

FAULT = "300 damaged databases (flips, truncation, empty, missing -wal, read-only)"
PASS = "no crash loop, damage reported"
ORDER = 90

_SERVERS = 4
_LEAST_FOR_SERVERS = 0.05


def run(context: Context) -> Outcome:
    """Damages files of known content and opens them as the server does; then does so to real servers."""
    found, complaints = judge_files(context, context.count(300, least=4))
    told = _figure(found)
    context.say(told)
    servers = context.count(_SERVERS) if context.size >= _LEAST_FOR_SERVERS else 0
    for number in range(servers):
        folder = context.folder / f"server{number}"
        complaints += damaged_server.judge(folder, context.random, running=number % 2 == 1)
    return judged(f"{told}; {servers} servers mended, {len(damaged_server.NAMES) * servers} tasks run on", complaints)


def judge_files(context: Context, number: int) -> tuple[list[Found], list[str]]:
    """Damages ``number`` files, opens each twice, and returns what was found and what must not be."""
    makers = (damaged_tasks.Prototype(context.folder / "tasks"), damaged_outbox.Prototype(context.folder / "outbox"))
    found, complaints = [], []
    for case in range(number):
        rng = random.Random(f"{context.seed}/{case}")
        folder = context.folder / f"case{case}"
        one = makers[case % 2].judge(folder, rng)
        found.append(one)
        complaints += [f"case {case} ({one.told}): {complaint}" for complaint in one.complaints]
    return found, complaints


def _figure(found: list[Found]) -> str:
    kinds = Counter(one.outcome for one in found)
    names = ("salvaged", "restored", "unnoticed", "wrong")
    rows = {name: sum(getattr(one, name) for one in found) for name in names}
    bare, spare = (sum(one.lost for one in found if one.bare is bare) for bare in (True, False))
    return (
        f"{len(found)} files: {kinds['harmless']} harmless, {kinds['mended']} mended, {kinds['refused']} refused with "
        f"a cure; {rows['salvaged']:,} rows salvaged, {rows['restored']:,} restored, lost and reported {spare:,} "
        f"beside a backup or journal and {bare:,} beside nothing, {rows['unnoticed']} lost in silence, "
        f"{rows['wrong']} wrong taken for right"
    )
