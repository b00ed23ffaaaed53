"""What becomes of the children of a process that died: they are waited for, whoever the first process is."""

from __future__ import annotations

import subprocess
import sys

from tests.supervise.house import is_alive, wait_until

PROGRAM = """
import subprocess, sys, time
from streamserver.core.processes import adopt_orphans, bury_strangers
assert adopt_orphans()
middle = subprocess.Popen([sys.executable, "-c",
    "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'pass']).pid, flush=True)"],
    stdout=subprocess.PIPE, text=True)
orphan = int(middle.stdout.readline())
mine = subprocess.Popen([sys.executable, "-c", "pass"])
assert middle.wait() == 0
buried = 0
deadline = time.monotonic() + 60
while not buried and time.monotonic() < deadline:
    mine.poll()
    buried += bury_strangers({mine.pid} if mine.returncode is None else set())
    time.sleep(0.02)
assert mine.wait() == 0, "one's own are left to whoever waits for them"
print(buried, orphan)
"""


def test_an_orphan_is_adopted_and_buried_and_ones_own_children_are_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True)
    buried, orphan = done.stdout.split()
    assert buried == "1"
    wait_until(lambda: not is_alive(int(orphan)), "it is gone")
