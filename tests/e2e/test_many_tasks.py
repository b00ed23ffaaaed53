"""Twenty tasks at once: all run, all are listed, all go, and nothing of them stays."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.world import alarm_task, clip
from tests.e2e.harness import Server, ledger, server, wait_for

pytestmark = pytest.mark.e2e
COUNT = 20


CONNECTIONS = 64
"""Descriptors of the database that a process may have: how many depends on who asked together.

Each of at most 17 connections has three, of the database, its -wal and its lock; they share the -shm. SQLite keeps a
few of the database for later when a connection is closed. One that each request or task left behind makes hundreds.
"""


def targets(pid: int) -> list[str]:
    """What the descriptors of a process lead to; nothing for one that has ended."""
    found = []
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(FileNotFoundError):
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def open_files(one: Server) -> tuple[int, int]:
    """How many descriptors the guard, the web processes and the supervisor hold together, but for the database's; and
    the most of the database in one of them.
    """
    total = most = 0
    for pid, command in one.processes().items():
        if "streamserver.worker" not in command and "client.py" not in command:
            found = targets(pid)
            others = [target for target in found if not target.startswith(str(one.state_dir / "tasks.sqlite"))]
            most = max(most, len(found) - len(others))
            total += len(others)
    return total, most


def wait_until_few(one: Server, most_others: float = float("inf")) -> int:
    """Waits until no more descriptors are open than that, and of the database no more than the kept connections have.

    Returns the descriptors that are not of the database.
    """
    seen: list[tuple[int, int]] = []

    def are_few() -> bool:
        assert one.post("/task/list", {})["Code"] == 0
        seen.append(open_files(one))
        return seen[-1][0] <= most_others and seen[-1][1] <= CONNECTIONS

    wait_for(are_few, f"at most {most_others} descriptors and {CONNECTIONS} of the database", lambda: seen[-1])
    return seen[-1][0]


def programs(one: Server) -> Counter[str]:
    """The command lines of the server's processes: a nursery that is slow to fork is given up for another one."""
    return Counter(one.processes().values())


def is_settled(one: Server) -> bool:
    """Whether all that a server without tasks consists of has been started, and has become what it is to be."""
    found = programs(one)
    nurseries = sum("streamserver.launchers.nursery" in command for command in found)
    said = (one.state_dir / "logs" / "supervisor.log").read_text()
    ready = all(f"nursery for the {kind} ready" in said for kind in ("client", "engine"))
    return nurseries == 2 and ready and not any("tether" in command and "start.py" not in command for command in found)


def test_a_burst_of_tasks_is_accepted_run_listed_and_deleted_without_a_trace(tmp_path: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state") as one:
        walkers = clip(tmp_path)
        bodies = [alarm_task(f"任务/{i} ..", walkers, [receiver.url], fps=12) for i in range(COUNT)]
        wait_for(lambda: is_settled(one), "the server has all its processes", one.processes)
        with ThreadPoolExecutor(COUNT) as pool:
            list(pool.map(lambda _: one.post("/task/list", {}), range(5 * COUNT)))
        programs_before, files_before = programs(one), wait_until_few(one)

        def create(body: dict[str, object]) -> tuple[dict[str, object], float]:
            start = time.monotonic()
            return one.create(body), time.monotonic() - start

        with ThreadPoolExecutor(COUNT) as pool:
            replies = list(pool.map(create, bodies))
        assert all(reply == {"Code": 0, "Msg": "success"} for reply, _ in replies)
        print(f"create: slowest {max(seconds for _, seconds in replies) * 1000:.0f} ms")

        def running() -> int:
            return sum(row["State"] == "RUNNING" for row in one.post("/task/list", {})["Result"])

        took_s = wait_for(lambda: running() == COUNT, "all run", running)
        print(f"all RUNNING after {took_s:.1f} s")
        rows = one.post("/task/list", {})["Result"]
        assert sorted(row["TaskID"] for row in rows) == sorted(str(body["TaskID"]) for body in bodies)
        assert {row["Status"] for row in rows} == {1}
        ports = [row["Algorithms"][0]["Port"] for row in rows]
        assert len(set(ports)) == COUNT
        assert listening(one) >= {one.port, *ports}

        for body in bodies:
            assert one.post("/task/delete", {"TaskID": body["TaskID"]}) == {"Code": 0, "Msg": "success"}
        assert one.post("/task/list", {})["Result"] == []
        gone = f"no more processes than {programs_before}"
        wait_for(lambda: is_settled(one) and programs(one) <= programs_before, gone, one.processes)
        wait_for(lambda: not list((one.state_dir / "tasks").iterdir()), "the folders are gone")
        wait_until_few(one, files_before)
        assert not listening(one) & set(ports)


def listening(one: Server) -> set[int]:
    """The ports on which a process of the server listens (state 0A in /proc/net/tcp)."""
    own = {target for pid in one.processes() for target in targets(pid)}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own}
