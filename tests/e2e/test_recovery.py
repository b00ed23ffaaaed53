"""The server is stopped or killed and started again, and a receiver is away: nothing is lost, nothing stays behind.

Kills of single processes while alarms flow: tests/chaos/test_kills.py.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.e2e.harness import Ledger, Server, ledger, server, task, wait_for

pytestmark = pytest.mark.e2e
MIDDLE = (320, 0, 320, 360)
LOOPS = 60
ALARMS_A_LOOP = 3


def looping_task(task_id: str, clip: Path, receiver: Ledger, loops: int = LOOPS) -> dict[str, object]:
    """The drawn clip played ``loops`` times as fast as it goes, so that alarms flow all the time."""
    extend = {"Detector": "motion", "Loop": loops, "Fps": -1}
    return task(task_id, str(clip), receiver.url, line=MIDDLE, extend=extend)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_running_tasks_run_again_and_finished_ones_stay_finished(
    tmp_path: Path, walkers: Path, signal_number: int
) -> None:
    with ledger() as receiver:
        one = Server(tmp_path / "state")
        one.start()
        try:
            once = task("once", str(walkers), receiver.url, line=MIDDLE, extend={"Detector": "motion", "Fps": -1})
            assert one.create(once)["Code"] == 0
            assert one.create(looping_task("always", walkers, receiver, loops=0))["Code"] == 0
            one.wait_state("once", "FINISHED")
            one.wait_state("always", "RUNNING")
            wait_for(lambda: len(receiver.reports("once")) == ALARMS_A_LOOP, "the file's alarms came")
            one.stop(signal_number)
            wait_for(lambda: not one.processes(), "nothing stays behind", one.processes)
            one.start()
            before = len(receiver.reports("always"))
            wait_for(lambda: len(receiver.reports("always")) > before, "alarms flow again", lambda: one.query("always"))
            listed = {row["TaskID"]: row["Status"] for row in one.post("/task/list", {})["Result"]}
            assert listed == {"once": 0, "always": 1}
            assert one.query("once")["State"] == "FINISHED"
            assert len(receiver.reports("once")) == ALARMS_A_LOOP
        finally:
            one.stop()
        assert not one.processes()


def test_alarms_wait_for_a_receiver_that_is_down_even_when_the_task_has_ended(tmp_path: Path, walkers: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state") as one:
        receiver.failing = True
        body = task("t", str(walkers), receiver.url, line=MIDDLE, extend={"Detector": "motion", "Fps": -1})
        assert one.create(body)["Code"] == 0
        one.wait_state("t", "FINISHED")
        assert receiver.counts() == {}
        receiver.failing = False
        wait_for(lambda: len(receiver.reports("t")) == ALARMS_A_LOOP, "delivered", lambda: one.query("t"))
        wait_for(lambda: not one.pids("client.py"), "the client has nothing left to do", one.processes)
