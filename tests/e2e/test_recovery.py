"""Every process is killed while alarms flow, and the machine reboots: nothing is lost, nothing stays behind."""

from __future__ import annotations

import http.client
import os
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


def kill_and_wait_until_it_is_back(one: Server, word: str) -> float:
    """SIGKILLs the processes whose command line holds ``word``; returns the seconds until others run in their place."""
    old = one.pids(word)
    assert old, f"no process with '{word}': {one.processes()}"
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    return wait_for(lambda: set(one.pids(word)) - set(old), f"'{word}' is back", one.processes)


def test_killing_any_process_loses_no_alarm_and_repeats_none_under_another_id(tmp_path: Path, walkers: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state") as one:
        assert one.create(looping_task("t", walkers, receiver))["Code"] == 0
        for word in ("streamserver.worker", "client.py", "streamserver.supervise", "gunicorn"):
            before = len(receiver.reports("t"))
            wait_for(lambda n=before: len(receiver.reports("t")) > n, "alarms flow", lambda: one.query("t"))
            back_s = kill_and_wait_until_it_is_back(one, word)
            print(f"{word}: back after {back_s:.2f} s")
            wait_for(lambda: answers(one), "the API answers")
            one.wait_state("t", "RUNNING", "FINISHED")
        status = one.wait_state("t", "FINISHED")
        wait_for(lambda: len(receiver.reports("t")) >= LOOPS * ALARMS_A_LOOP, "all delivered", lambda: one.query("t"))
        counts = receiver.counts()
        places = [(report["FrameIndex"], str(report["AnalyzeEvents"][0]["Box"])) for report in receiver.reports("t")]
        assert len(counts) == LOOPS * ALARMS_A_LOOP, (counts, status)
        assert max(counts.values()) <= 2
        assert all(places.count(place) == LOOPS for place in set(places)), "each loop raised the same alarms"
        assert status["Restarts"] >= 2


def answers(one: Server) -> bool:
    try:
        return one.post("/task/list", {})["Code"] == 0
    except (OSError, http.client.HTTPException):
        return False


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
