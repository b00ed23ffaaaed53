"""What the house costs around the main job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.measuring import Memory, median, memory_mb
from bench.running import Running, house
from bench.table import Row, Say
from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.demo.clip import draw_clip
from tests.e2e.harness import PROJECT, Server, ledger, task, wait_for

TITLE = "Around the main job"
ABOUT = """\
Tripwire tasks on a small drawn clip that plays for ever, found by motion. Accepting twenty tasks at once against
merely listing them; coming back after SIGKILL of an engine against an engine of the same graph started by hand as a
program; memory (PSS) of a running engine against a bare loop that decodes and finds motion with the same libraries."""

TASKS = 20
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


def measure(rounds: int, say: Say) -> list[Row]:
    """Accepting once, coming back ``rounds`` times each way, memory at the end."""
    with tempfile.TemporaryDirectory() as folder, ledger() as receiver:
        clip = Path(folder) / "walkers.mp4"
        draw_clip(clip)
        with house() as one:
            rows = [_accepting(one, clip, receiver.url)]
        say(f"{rows[0]}")
        with house() as one, Running(one, looping("t", clip, receiver.url)) as running:
            return [*rows, _coming_back(running, rounds, say), _memory(running, clip)]


def _accepting(one: Server, clip: Path, url: str) -> Row:
    """Twenty creates at once against twenty lists at once; both medians over all requests."""
    bodies = [looping(f"t{i}", clip, url) for i in range(TASKS)]
    with ThreadPoolExecutor(TASKS) as pool:
        lists = list(pool.map(lambda _: _timed_ms(lambda: one.post("/task/list", {})), range(TASKS)))
        creates = list(pool.map(lambda body: _timed_ms(lambda: one.create(body)), bodies))
    wait_for(lambda: _running(one) == TASKS, "all run", lambda: _running(one))
    return Row(
        measure=f"/task/create, {TASKS} at once, wall",
        value=median(creates),
        unit="ms",
        yardstick="/task/list likewise",
        reference=median(lists),
        remark=f"slowest {max(creates):.0f} ms",
    )


def _coming_back(running: Running, rounds: int, say: Say) -> Row:
    """From SIGKILL of an engine to its successor's first frames against a start by hand."""
    back, by_hand = [], []
    for number in range(rounds):
        old = streaming_pid(running.folder, not_=0)
        start = time.monotonic()
        os.kill(old, signal.SIGKILL)
        streaming_pid(running.folder, not_=old)
        back.append(time.monotonic() - start)
        by_hand.append(start_by_hand(running.folder))
        say(f"round {number + 1}: back after {back[-1]:.2f} s, by hand {by_hand[-1]:.2f} s")
    return Row(
        measure="engine killed until frames flow again, wall",
        value=median(back),
        unit="s",
        yardstick="engine started by hand",
        reference=median(by_hand),
        remark="pauses before restarts included, which grow with each",
    )


def _memory(running: Running, clip: Path) -> Row:
    streaming_pid(running.folder, not_=0)
    engine, client = running.memory()
    loop = _bare_loop(clip)
    return Row(
        measure="engine, PSS",
        value=engine.pss,
        unit="MB",
        yardstick="bare decode and motion loop",
        reference=loop.pss,
        remark=f"RSS {engine.rss:.0f} and {loop.rss:.0f} MB; its client's PSS {client.pss:.0f} MB",
    )


def _bare_loop(clip: Path) -> Memory:
    command = [sys.executable, "-c", BARE_LOOP, str(clip)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as loop:
        assert loop.stdout is not None
        loop.stdout.readline()
        memory = memory_mb([loop.pid])
        loop.kill()
    return memory


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


def looping(task_id: str, clip: Path, report_url: str) -> dict[str, Any]:
    """A tripwire task that plays the drawn clip for ever, found by motion."""
    return task(task_id, str(clip), report_url, line=(320, 0, 320, 360), extend={"Detector": "motion", "Loop": 0})


def _running(one: Server) -> int:
    return sum(entry["State"] == "RUNNING" for entry in one.post("/task/list", {})["Result"])


def _timed_ms(call: Callable[[], dict[str, Any]]) -> float:
    start = time.monotonic()
    assert call()["Code"] == 0
    return (time.monotonic() - start) * 1000
