"""What the house costs around the main job: ``python -m bench.main_job``.

Every row has a yardstick from the same run, because machines differ and are busy: accepting a task against merely
listing them, coming back after a kill against starting the same engine by hand, an engine's memory against a bare loop
that decodes and finds motion with the same libraries.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.demo.clip import draw_clip
from tests.e2e.harness import PROJECT, Server, ledger, server, task, wait_for

TASKS = 20
ROUNDS = 5
BARE_LOOP = """
import sys, time, av
from streamserver.vision.motion import MotionDetector, MotionOptions
detector = MotionDetector(MotionOptions())
with av.open(sys.argv[1]) as container:
    for frame in container.decode(video=0):
        detector.update(frame.to_ndarray(format="bgr24"))
print("ready", flush=True)
time.sleep(60)
"""


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "walkers.mp4"
        draw_clip(clip)
        rows = [accepting(Path(folder), clip), coming_back(Path(folder), clip), memory(Path(folder), clip)]
    print(f"| measure | value | yardstick | value | ratio |\n|---|---|---|---|---|\n{chr(10).join(rows)}")


def row(measure: str, value: float, yardstick: str, reference: float, unit: str) -> str:
    """One line of the table."""
    return f"| {measure} | {value:.2f} {unit} | {yardstick} | {reference:.2f} {unit} | {value / reference:.2f} |"


def accepting(folder: Path, clip: Path) -> str:
    """Twenty creates at once against twenty lists at once; both medians over all requests."""
    with ledger() as receiver, server(folder / "accepting") as one, ThreadPoolExecutor(TASKS) as pool:
        bodies = [looping(f"t{i}", clip, receiver.url) for i in range(TASKS)]
        lists = list(pool.map(lambda _: timed(lambda: one.post("/task/list", {})), range(TASKS)))
        creates = list(pool.map(lambda body: timed(lambda: one.create(body)), bodies))
        wait_for(lambda: running(one) == TASKS, "all run", lambda: running(one))
    name = f"/task/create, {TASKS} at once, median (slowest {max(creates):.0f} ms)"
    return row(name, statistics.median(creates), "/task/list likewise", statistics.median(lists), "ms")


def coming_back(folder: Path, clip: Path) -> str:
    """From SIGKILL of an engine to its successor's first frames against a start by hand; medians, alternating."""
    back, bare = [], []
    with ledger() as receiver, server(folder / "back") as one:
        one.create(looping("t", clip, receiver.url))
        one.wait_state("t", "RUNNING")
        (task_dir,) = (one.state_dir / "tasks").iterdir()
        for _ in range(ROUNDS):
            old = streaming_pid(task_dir, not_=0)
            start = time.monotonic()
            os.kill(old, signal.SIGKILL)
            streaming_pid(task_dir, not_=old)
            back.append(time.monotonic() - start)
            bare.append(start_by_hand(task_dir))
    return row("engine killed until frames flow again", statistics.median(back), "engine started by hand",
               statistics.median(bare), "s")  # fmt: skip


def start_by_hand(task_dir: Path) -> float:
    """Seconds until an engine of the same graph, started without any of us, has frames."""
    with tempfile.TemporaryDirectory() as other:
        copy = Path(other)
        for name in ("demo.json", "engine.json"):
            shutil.copy2(task_dir / name, copy / name)
        shutil.copytree(task_dir / "elements", copy / "elements")
        (copy / "run").mkdir()
        (copy / "logs").mkdir()
        command = [
            sys.executable,
            "-m",
            "streamserver.worker",
            "--demo_config_path=demo.json",
            "--task_dir=.",
            "--run=x",
        ]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        start = time.monotonic()
        with subprocess.Popen(command, cwd=copy, env=environment, stderr=subprocess.DEVNULL) as process:
            streaming_pid(copy, not_=0)
            took_s = time.monotonic() - start
            process.kill()
    return took_s


def streaming_pid(task_dir: Path, *, not_: int) -> int:
    """Waits for an engine of another pid than ``not_`` that has frames; its pid."""

    def found() -> int:
        status = EngineStatus.read(task_dir / ENGINE_FILE)
        return status.pid if status and status.pid != not_ and status.source == "streaming" and status.fps > 0 else 0

    wait_for(found, "frames flow")
    return found()


def memory(folder: Path, clip: Path) -> str:
    """Private and shared memory (PSS) of an engine that runs against a bare loop with the same libraries."""
    with ledger() as receiver, server(folder / "memory") as one:
        one.create(looping("t", clip, receiver.url))
        one.wait_state("t", "RUNNING")
        (task_dir,) = (one.state_dir / "tasks").iterdir()
        engine = pss_mb(streaming_pid(task_dir, not_=0))
        client = pss_mb(one.pids("client.py")[0])
        with subprocess.Popen(
            [sys.executable, "-c", BARE_LOOP, str(clip)], cwd=PROJECT, stdout=subprocess.PIPE
        ) as loop:
            assert loop.stdout is not None
            loop.stdout.readline()
            bare = pss_mb(loop.pid)
            loop.kill()
    return row(f"PSS of an engine (its client: {client:.0f} MB)", engine, "bare decode and motion loop", bare, "MB")


def pss_mb(pid: int) -> float:
    """Proportional set size in megabytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def looping(task_id: str, clip: Path, report_url: str) -> dict[str, Any]:
    """A tripwire task that plays the drawn clip for ever, found by motion."""
    return task(task_id, str(clip), report_url, line=(320, 0, 320, 360), extend={"Detector": "motion", "Loop": 0})


def running(one: Server) -> int:
    """How many tasks run."""
    return sum(entry["State"] == "RUNNING" for entry in one.post("/task/list", {})["Result"])


def timed(call: Callable[[], dict[str, Any]]) -> float:
    """Milliseconds that ``call`` took; it must succeed."""
    start = time.monotonic()
    assert call()["Code"] == 0
    return (time.monotonic() - start) * 1000


if __name__ == "__main__":
    main()
