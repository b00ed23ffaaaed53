"""What runs for a task gives way to what answers and supervises."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamserver.core.settings import Settings
from streamserver.launchers.base import ProcessSpec
from streamserver.launchers.local import LocalLauncher
from tests.supervise.house import wait_until

PROGRAM = """
import threading, time
threading.Thread(target=time.sleep, args=[60], daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


def niceness(pid: int) -> set[int]:
    """Of all threads of a process, over our own."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    return {os.getpriority(os.PRIO_PROCESS, int(one.name)) - own for one in Path(f"/proc/{pid}/task").iterdir()}


@pytest.mark.skipif(os.getpriority(os.PRIO_PROCESS, 0) > 9, reason="there is no room to be nicer")
@pytest.mark.parametrize(("nursery", "before"), [("engine", 4), ("", 10)], ids=["a task's process", "another"])
def test_a_process_gives_way_to_its_starter_and_once_it_has_settled_to_starts(
    tmp_path: Path, nursery: str, before: int
) -> None:
    out = tmp_path / "out"
    spec = ProcessSpec(argv=(sys.executable, "-c", PROGRAM), cwd=tmp_path, out_file=out, nursery=nursery)
    process = LocalLauncher(Settings()).start(spec)
    try:
        wait_until(lambda: out.read_text() == "ready\n", "it has two threads")
        assert niceness(process.pid) == {before}
        process.settle()
        assert niceness(process.pid) == {10}
    finally:
        process.kill()
        wait_until(lambda: process.poll() is not None, "it has ended")
    process.settle()
