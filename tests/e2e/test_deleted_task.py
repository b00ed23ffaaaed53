"""A task that was deleted before its receiver was there: what it raised arrives, refused alarms after a replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.outbox.box import Outbox
from tests.chaos.receivers import receivers
from tests.chaos.world import alarm_task, clip
from tests.e2e.harness import Server, server, wait_for

pytestmark = pytest.mark.e2e


def _folders(one: Server) -> list[Path]:
    return list((one.state_dir / "tasks").iterdir())


def test_alarms_of_a_deleted_task_arrive_across_a_restart_and_dead_ones_after_a_replay(tmp_path: Path) -> None:
    options = {"STREAMSERVER_DRAIN_TIMEOUT_S": "1", "STREAMSERVER_NURSERIES": "false"}
    with receivers(1) as several:
        [receiver] = several
        receiver.deafen()
        with server(tmp_path / "state", environment=options) as one:
            assert one.create(alarm_task("gate", clip(tmp_path), several.urls, loops=1))["Code"] == 0
            one.wait_status("gate", lambda now: (now["State"], now["Pending"]) == ("FINISHED", 3), "all three wait")
            assert one.post("/task/delete", {"TaskID": "gate"})["Code"] == 0
            wait_for(lambda: one.pids("business.courier"), "the courier has it")
            [folder] = _folders(one)
        box = Outbox(folder / "outbox.sqlite")
        [refused] = box.claim(1, early=True)
        box.bury(refused.id, "answered 400")
        box.close()
        with server(tmp_path / "state", environment=options) as one:
            wait_for(lambda: one.pids("business.courier"), "the courier has it again")
            assert not one.pids("client.py")
            receiver.listen()
            wait_for(lambda: len(several.ids()) == 2, "what waits arrives")
            wait_for(lambda: (folder / "run" / "drained").exists(), "it is drained")
            [letter] = one.post("/alarm/dead", {"TaskID": "gate"})["Result"]
            assert (letter["AlarmID"], letter["Reason"]) == (refused.id, "answered 400")
            assert one.post("/task/list", {})["Result"] == [] and folder.exists()
            assert one.post("/alarm/replay", {"TaskID": "gate", "All": True})["Replayed"] == 1
            wait_for(lambda: len(several.ids()) == 3, "the refused one arrives")
            wait_for(lambda: not _folders(one), "the folder is gone")
            wait_for(lambda: one.post("/alarm/dead", {"TaskID": "gate"})["Code"] == -1, "nobody knows it any more")
        assert set(several.counts().values()) == {1}
