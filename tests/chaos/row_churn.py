"""A thousand creates and deletes, at every moment of a task's life: nothing of them may be left."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.light import light_server, light_task
from tests.chaos.world import orphans, raised, receivers, zombies
from tests.e2e.harness import Server, wait_for

FAULT = "1,000 creates and deletes"
PASS = "0 zombies, descriptors and memory within 5 %"
ORDER = 110

CREATES = 1000
_WARM_UP = 100
_WAVE = 12
_PATIENCE_S = 300.0
_SAMPLES = 20
_TOLERANCE = 1.05
_SLACK_KB = 1024
"""A page here and there is no leak: an allocator's arena comes and goes in pieces of this size."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the long-lived processes hold: role -> descriptors, role -> private memory in kB, names in the folders."""

    descriptors: dict[str, int]
    memory_kb: dict[str, int]
    files: frozenset[str]


def run(context: Context) -> Outcome:
    """Warms up, takes the measure, creates and deletes, takes it again."""
    count = context.count(CREATES, least=2 * _WAVE)
    server = light_server(context.folder)
    complaints: list[str] = []
    with receivers(1) as several:
        server.start()
        try:
            server.create(light_task("stays", several.urls[0]))
            _churn(context, server, several.urls[0], context.count(_WARM_UP, least=_WAVE), "warm up")
            before = _look(server)
            pids = _pids(server)
            _churn(context, server, several.urls[0], count, "churn")
            after = _look(server)
            complaints += [f"zombie {pid}" for pid in zombies(server)]
            complaints += [f"orphan {pid}: {line}" for pid, line in orphans(server).items()]
            if _pids(server) != pids:
                complaints.append(f"processes were replaced: {pids} -> {_pids(server)}")
            missing = set().union(*raised(server.state_dir).values()) - several.ids()
            if missing:
                complaints.append(f"{len(missing)} alarms were not delivered")
        finally:
            server.stop()
    complaints += _compare(before, after)
    shown = ", ".join(
        f"{role} {before.descriptors[role]} -> {after.descriptors[role]} descriptors, "
        f"{before.memory_kb[role] / 1024:.1f} -> {after.memory_kb[role] / 1024:.1f} MB"
        for role in before.memory_kb
    )
    alarms = len(several.ids())
    return judged(f"{count} creates and deletes, {alarms} alarms of theirs delivered; 0 left; {shown}", complaints)


def _churn(context: Context, server: Server, url: str, count: int, name: str) -> None:
    """Creates and deletes in waves: at once, while they start, and after they were RUNNING."""
    done = 0
    while done < count:
        wave = [f"{name} {done + i}" for i in range(min(_WAVE, count - done))]
        for task_id in wave:
            reply = server.create(light_task(task_id, url))
            assert reply["Code"] == 0, reply
            if context.random.random() < 0.3:
                server.post("/task/delete", {"TaskID": task_id})
        if context.random.random() < 0.5:
            time.sleep(context.random.uniform(0.0, 2.0))
        else:
            wait_for(partial(_are_up, server, wave), "the wave runs", patience_s=_PATIENCE_S)
        for task_id in wave:
            server.post("/task/delete", {"TaskID": task_id})
        done += len(wave)
        context.say(f"{name}: {done} of {count}")
    root = server.state_dir / "tasks"
    wait_for(lambda: len(os.listdir(root)) == 1, "all folders are gone", lambda: os.listdir(root), _PATIENCE_S)
    wait_for(lambda: not server.pids("business.courier"), "the courier has left", patience_s=_PATIENCE_S)


def _are_up(server: Server, names: list[str]) -> bool:
    return all(server.query(name).get("State", "RUNNING") == "RUNNING" for name in names)


def _pids(server: Server) -> dict[str, int]:
    """Role -> pid of the processes that live as long as the server."""
    assert server.process is not None
    web = sorted(server.pids("gunicorn"))
    found = {"guard": server.process.pid, "supervisor": server.pids("streamserver.supervise")[0]}
    return found | {"web": web[-1], "web's arbiter": web[0]}


def _look(server: Server) -> _Look:
    """The least of several looks: requests and rounds of loops come and go."""
    descriptors: dict[str, int] = {}
    memory_kb: dict[str, int] = {}
    for _ in range(_SAMPLES):
        for role, pid in _pids(server).items():
            count = len(os.listdir(f"/proc/{pid}/fd"))
            descriptors[role] = min(count, descriptors.get(role, count))
            used = _private_kb(pid)
            memory_kb[role] = min(used, memory_kb.get(role, used))
        time.sleep(0.2)
    return _Look(descriptors, memory_kb, frozenset(_files(server.state_dir)))


def _private_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _files(state_dir: Path) -> set[str]:
    """Every file and folder but what lies in the folder of the task that stays; an address's ten slots count as one."""
    found = {str(path.relative_to(state_dir)) for path in state_dir.rglob("*")}
    found = {name.rpartition(".")[0] if name.startswith("receivers/") else name for name in found}
    stays = {name for name in found if name.startswith("tasks/") and name.count("/") > 1}
    return found - stays


def _compare(before: _Look, after: _Look) -> list[str]:
    complaints = []
    for role, count in before.descriptors.items():
        if after.descriptors[role] > count * _TOLERANCE:
            complaints.append(f"{role}: {count} -> {after.descriptors[role]} descriptors")
    for role, used in before.memory_kb.items():
        if after.memory_kb[role] > max(used * _TOLERANCE, used + _SLACK_KB):
            complaints.append(f"{role}: {used} -> {after.memory_kb[role]} kB")
    if left := after.files - before.files - {"damage.jsonl"}:
        complaints.append(f"{len(left)} files are left: {sorted(left)[:5]}")
    return complaints
