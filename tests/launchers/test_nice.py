"""What runs for a task gives way to what answers and supervises."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from streamserver.core.settings import Settings
from streamserver.launchers.base import ProcessSpec
from streamserver.launchers.local import LocalLauncher


def test_a_started_process_gives_way_to_the_one_that_started_it(tmp_path: Path) -> None:
    spec = ProcessSpec(
        argv=(sys.executable, "-c", "import time; time.sleep(60)"), cwd=tmp_path, env={}, out_file=tmp_path / "out"
    )
    process = LocalLauncher(Settings()).start(spec)
    try:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(own + 10, 19)
    finally:
        process.kill()
        while process.poll() is None:
            pass
