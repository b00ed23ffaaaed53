"""The real supervisor, killed between the steps of a task's end: nothing of the task is left after the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core import exitcodes
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.states import TaskState
from streamserver.store import TaskStore, store_url
from tests.supervise.house import wait_until


def supervise(state: Path, **more: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "STREAMSERVER_STATE_DIR": str(state), "STREAMSERVER_NURSERIES": "false", **more}
    command = [sys.executable, "-m", "streamserver.supervise"]
    return subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("point", ["stop.drained", "stop.folder_removed", "stop.purged"])
def test_a_kill_between_the_steps_of_a_delete_leaves_nothing_behind(tmp_path: Path, point: str) -> None:
    store = TaskStore(store_url(tmp_path))
    try:
        record, _ = store.create("t1", "cam", {"TaskID": "t1"}, "hash")  # a request that never gets as far as a process
        folder = tmp_path / "tasks" / record.key
        with supervise(tmp_path, STREAMSERVER_FAILPOINTS=f"{point}=kill") as first:
            wait_until(lambda: store.all()[0].state is TaskState.BACKOFF and folder.is_dir(), "it was tried")
            store.delete("t1")
            assert first.wait() == -signal.SIGKILL
        left = tmp_path / "tasks" / f"{record.key}.removed"
        if folder.exists():
            folder.rename(left)  # as a kill in the middle of the removal leaves it
        with supervise(tmp_path) as second:
            log = tmp_path / "logs" / "supervisor.log"
            wait_until(lambda: log.read_text().count("started, pid") == 2, "the second one works")
            wait_until(lambda: store.all() == [] and not left.exists(), "row and folder are gone")
            second.terminate()
            assert second.wait() == exitcodes.FINISHED
        assert list((tmp_path / "tasks").iterdir()) == []
    finally:
        store.close()
