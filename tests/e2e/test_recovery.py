"""The server is stopped or killed and started again, and a receiver is away: nothing is lost, nothing stays behind.

Kills of single processes while alarms flow: tests/chaos/test_kills.py.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.chaos.world import ALARMS_A_LOOP, alarm_task, clip, fast_clip
from tests.e2e.harness import Ledger, Server, ledger, server, wait_for

pytestmark = pytest.mark.e2e


def test_after_a_restart_running_tasks_run_again_and_finished_ones_stay_finished(tmp_path: Path) -> None:
    with ledger() as receiver:
        always = alarm_task("always", fast_clip(tmp_path, times=4), [receiver.url], fps=12, interval=2)
        one = Server(tmp_path / "state")
        one.start()
        try:
            once = alarm_task("once", clip(tmp_path), [receiver.url], loops=1)
            assert one.create(once)["Code"] == 0
            assert one.create(always)["Code"] == 0
            one.wait_state("once", "FINISHED")
            wait_for(lambda: len(receiver.reports("once")) == ALARMS_A_LOOP, "the file's alarms came")
            for signal_number in (signal.SIGTERM, signal.SIGKILL):
                one.wait_state("always", "RUNNING")
                one.stop(signal_number)
                wait_for(lambda: not one.processes(), "nothing stays behind", one.processes)
                one.start()
                one.wait_state("always", "RUNNING")
                wait_for_one_more(one, receiver, "always")
                listed = {row["TaskID"]: row["Status"] for row in one.post("/task/list", {})["Result"]}
                assert listed == {"once": 0, "always": 1}, signal_number
                assert one.query("once")["State"] == "FINISHED"
                assert len(receiver.reports("once")) == ALARMS_A_LOOP
        finally:
            one.stop()
            one.wait_gone()


def wait_for_one_more(one: Server, receiver: Ledger, task_id: str) -> None:
    """Waits until another alarm of the task came."""
    before = len(receiver.reports(task_id))
    wait_for(lambda: len(receiver.reports(task_id)) > before, "alarms flow again", lambda: one.query(task_id))


def test_alarms_wait_for_a_receiver_that_is_down_even_when_the_task_has_ended(tmp_path: Path) -> None:
    with ledger() as receiver, server(tmp_path / "state", environment={"STREAMSERVER_NURSERIES": "false"}) as one:
        receiver.failing = True
        body = alarm_task("t", clip(tmp_path), [receiver.url], loops=1)
        assert one.create(body)["Code"] == 0
        one.wait_state("t", "FINISHED")
        assert receiver.counts() == {}
        receiver.failing = False
        wait_for(lambda: len(receiver.reports("t")) == ALARMS_A_LOOP, "delivered", lambda: one.query("t"))
        wait_for(lambda: not one.pids("client.py"), "the client has nothing left to do", one.processes)
