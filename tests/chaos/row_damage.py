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


def run(context: Context) -> Outcome:
    """Damages files of known content and opens them as the server does; then does so to real servers."""
    found, complaints = judge_files(context, context.count(300, least=4))
    told = _figure(found)
    context.say(told)
    for number in range(context.count(_SERVERS, least=1) if context.size >= 0.05 else 0):
        complaints += damaged_server.judge(context.folder / f"server{number}", context.random, running=number % 2 == 1)
    return judged(told, complaints)


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
    names = ("salvaged", "restored", "lost", "unnoticed", "wrong")
    rows = {name: sum(getattr(one, name) for one in found) for name in names}
    return (
        f"{len(found)} files: {kinds['harmless']} harmless, {kinds['mended']} mended, {kinds['refused']} refused with "
        f"a cure; {rows['salvaged']:,} rows salvaged, {rows['restored']:,} restored, {rows['lost']:,} lost and "
        f"reported, {rows['unnoticed']} lost in silence, {rows['wrong']} wrong taken for right"
    )
