"""Many tasks of one server at once, each a 1080p clip at its own pace, seen from outside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.clips import street_1080p
from bench.measuring import Memory, cpu_s, memory_mb
from bench.running import POLL_S, Running
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from tests.e2e.harness import PATIENCE_S, Server, task, wait_for

INTERVAL = 25
"""One frame a second is inferred, so that two cores can decode twenty clips of 25 frames a second."""


def body(task_id: str, url: str) -> dict[str, Any]:
    """A create request: the clip for ever, 25 frames a second, a line across it."""
    extend = {"Fps": 25, "Loop": 0}
    return task(task_id, str(street_1080p()), url, line=(0, 500, 1920, 500), interval=INTERVAL, extend=extend)


@contextlib.contextmanager
def herd(one: Server, count: int, url: str) -> Iterator[list[Running]]:
    """``count`` tasks that have processed a few frames; deleted afterwards."""
    with contextlib.ExitStack() as stack:
        tasks = [stack.enter_context(Running(one, body(f"herd-{number}", url))) for number in range(count)]
        for running in tasks:
            running.wait_frames(3)
        yield tasks


def first_frames(one: Server, count: int, url: str) -> tuple[list[float], float]:
    """Creates ``count`` tasks at once: seconds to the first processed frame of each, and CPU seconds a task until then.

    The tasks are deleted afterwards.
    """
    tasks = one.state_dir / "tasks"
    before = set(tasks.glob("*"))
    start = time.monotonic()
    for number in range(count):
        reply = one.create(body(f"burst-{number}", url))
        assert reply["Code"] == 0, reply
    took: dict[Path, tuple[float, float]] = {}
    while len(took) < count:
        assert time.monotonic() - start < PATIENCE_S, f"{len(took)} of {count} have begun: {one.post('/task/list', {})}"
        for folder in set(tasks.glob("*")) - before - set(took):
            engine, client = EngineStatus.read(folder / ENGINE_FILE), ClientStatus.read(folder / CLIENT_FILE)
            if engine is not None and client is not None and engine.frames:
                took[folder] = time.monotonic() - start, cpu_s([engine.pid, client.pid])
        time.sleep(POLL_S)
    for number in range(count):
        one.post("/task/delete", {"TaskID": f"burst-{number}"})
    wait_for(lambda: not any(folder.exists() for folder in took), "the tasks are gone")
    return sorted(s for s, _ in took.values()), sum(cpu for _, cpu in took.values()) / count


def held(one: Server, word: str) -> Memory:
    """What this server's processes hold whose command line has ``word``, added up."""
    return memory_mb(one.pids(word))
