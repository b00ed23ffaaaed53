"""Passenger flow on the real server: its totals are right at the end, whoever was killed in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.world import MIDDLE, TARGET_SIZE, fast_clip
from tests.e2e.harness import Ledger, Server, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
LOOPS = 5
PROCESSES = ("streamserver.worker", "client.py", "streamserver.supervise")
EXPECTED = {"In": 2 * LOOPS, "Out": LOOPS}
"""Two of the clip's three walkers go to the right, along the arrow."""


def totals(one: Server) -> dict[str, Any]:
    return (one.query("flow").get("Algorithms") or [{}])[0].get("Totals") or {"In": 0, "Out": 0}


def directions(receiver: Ledger) -> list[str]:
    return [event["Extend"]["Direction"] for report in receiver.reports("flow") for event in report["AnalyzeEvents"]]


def wait_for_people(one: Server, least: int) -> None:
    wait_for(lambda: totals(one)["In"] >= least, f"{least} came in", lambda: one.query("flow"))


def kill(one: Server, word: str) -> None:
    """Kills a process with the word in its command line, and waits for the one that takes its place."""
    old = one.pid(word)
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: (pids := one.pids(word)) and old not in pids, f"{word} runs again", one.processes)


def test_totals_survive_kills_of_engine_client_and_supervisor(tmp_path: Path) -> None:
    extend = {"Detector": "motion", "Loop": LOOPS}
    walkers = fast_clip(tmp_path, times=3)  # at a pace of its own: it must not be over before the last kill
    with ledger() as receiver, server(tmp_path / "state") as one:
        rules: dict[str, Any] = {
            "interval": 2,
            "line": MIDDLE,
            "direction": (20, 0),
            "TargetSize": TARGET_SIZE,
            "extend": extend,
        }
        body = task("flow", str(walkers), receiver.url, type_=7, **rules)
        assert one.create(body)["Code"] == 0
        for number, word in enumerate(PROCESSES, start=1):
            wait_for_people(one, 2 * number)
            before = totals(one)["In"]
            kill(one, word)
            wait_for_people(one, before)
        status = one.wait_finished("flow")
        assert status["Restarts"] >= 2, status
        assert totals(one) | EXPECTED == totals(one)
        assert len(directions(receiver)) == 3 * LOOPS, receiver.counts()
        assert directions(receiver).count("in") == EXPECTED["In"]
        told = [event["Extend"] for report in receiver.reports("flow") for event in report["AnalyzeEvents"]]
        last = max(told, key=lambda said: said["In"] + said["Out"])  # need not be the last to arrive
        assert {"Event": "flow", **EXPECTED} | last == last
