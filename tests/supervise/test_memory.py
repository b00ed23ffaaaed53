from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from streamserver.supervise.memory import family, used_mb
from tests.supervise.house import wait_until

HOLD = "held = b'x' * 60_000_000; print(flush=True); import time; time.sleep(1e9)"
RUN = f"subprocess.run([sys.executable, '-c', {HOLD!r}])"
CHILD = f"import subprocess, sys, threading; threading.Thread(target=lambda: {RUN}).start()"
RESTLESS = """
import subprocess, threading, time
for number in range(60):
    threading.Timer(0.3 + number / 200, int).start()
threading.Thread(target=lambda: subprocess.run(["sleep", "1000"])).start()
time.sleep(1e9)
"""


def test_memory_of_a_process_is_what_it_and_its_descendants_hold() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            child = next(pid for pid in family(parent.pid) if pid != parent.pid)
            assert used_mb(child) >= 60
            assert used_mb(parent.pid) > used_mb(child)
        finally:
            for pid in reversed(family(parent.pid)):
                os.kill(pid, 9)
    wait_until(lambda: used_mb(child) == 0, "it is gone")


def test_a_child_is_seen_while_other_threads_of_its_parent_end() -> None:
    with subprocess.Popen([sys.executable, "-c", RESTLESS]) as parent:
        try:
            wait_until(lambda: len(family(parent.pid)) == 2, "there is the child")
            threads = Path(f"/proc/{parent.pid}/task")
            while len(list(threads.iterdir())) > 2:
                assert len(family(parent.pid)) == 2
        finally:
            for pid in reversed(family(parent.pid)):
                os.kill(pid, 9)


def test_mapped_files_do_not_count() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with open(f"/proc/{process.pid}/status") as file:
            resident_kb = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
        assert 0 < used_mb(process.pid) < resident_kb * 1024 / 1e6
        process.kill()
