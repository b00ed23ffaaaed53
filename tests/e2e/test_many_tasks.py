"""Twenty tasks at once: all run, all are listed, all go, and nothing of them stays."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.harness import Server, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
COUNT = 20


def open_files(one: Server) -> int:
    """How many descriptors the guard, the web processes and the supervisor hold together."""
    total = 0
    for pid, command in one.processes().items():
        if "streamserver.worker" not in command and "client.py" not in command:
            try:
                total += len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue
    return total


def test_a_burst_of_tasks_is_accepted_run_listed_and_deleted_without_a_trace(tmp_path: Path, walkers: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state") as one:
        extend = {"Detector": "motion", "Loop": 0, "Fps": 2}
        bodies = [
            task(f"任务/{i} ..", str(walkers), receiver.url, line=(320, 0, 320, 360), extend=extend)
            for i in range(COUNT)
        ]
        with ThreadPoolExecutor(
            COUNT
        ) as pool:  # the web process keeps a few database connections open, once it has them
            list(pool.map(lambda _: one.post("/task/list", {}), range(5 * COUNT)))
        processes_before, files_before = set(one.processes()), open_files(one)

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

        for body in bodies:
            assert one.post("/task/delete", {"TaskID": body["TaskID"]}) == {"Code": 0, "Msg": "success"}
        assert one.post("/task/list", {})["Result"] == []
        wait_for(lambda: set(one.processes()) == processes_before, "the processes are gone", one.processes)
        wait_for(lambda: not list((one.state_dir / "tasks").iterdir()), "the folders are gone")
        wait_for(
            lambda: open_files(one) <= files_before, "no descriptor stays", lambda: (open_files(one), files_before)
        )
        for port in ports:
            assert not listening(port)


def listening(port: int) -> bool:
    """True if anything listens on the port (state 0A in /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == "0A" and int(row[1].split(":")[1], 16) == port for row in rows)
