"""A hundred tasks after a reboot: everything is killed at once and started again; the API answers all the while."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

from tests.chaos.context import Context, Outcome, judged
from tests.chaos.light import light_server, light_task
from tests.chaos.world import orphans, receivers, zombies
from tests.e2e.harness import Server

FAULT = "100 tasks after a reboot (light engines)"
PASS = "list answers < 500 ms throughout, all up ≤ 60 s"
ORDER = 140

TASKS = 100
_ANSWER_S = 0.5
_UP_S = 60.0
_PATIENCE_S = 300.0
_ASK_EVERY_S = 0.05


class _Asker:
    """Asks for the list without a pause worth mentioning, and remembers how long the answers took, in seconds."""

    def __init__(self, server: Server) -> None:
        self.took_s: list[float] = []
        self.tasks: dict[str, dict[str, Any]] = {}
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> _Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(_ASK_EVERY_S):
            start = time.monotonic()
            reply = self._server.post("/task/list", {})
            self.took_s.append(time.monotonic() - start)
            self.tasks = {entry["TaskID"]: entry for entry in reply["Result"]}


def run(context: Context) -> Outcome:
    """Creates tasks, kills every process of the server, starts it again and asks for the list until all are up."""
    count = context.count(TASKS, least=4)
    server = light_server(context.folder)
    complaints: list[str] = []
    with receivers(1) as several:
        server.start()
        try:
            for i in range(count):
                reply = server.create(light_task(f"t{i}", several.urls[0]))
                assert reply["Code"] == 0, reply
            with _Asker(server) as asker:
                _wait_up(asker, count, restarts=0)
            context.say(f"{count} tasks run; everything is killed")
            _kill_all(server)
            start = time.monotonic()
            server.start()
            with _Asker(server) as asker:
                _wait_up(asker, count, restarts=1)
                up_s = time.monotonic() - start
            complaints += [f"orphan {pid}: {line}" for pid, line in orphans(server).items()]
            complaints += [f"zombie {pid}" for pid in zombies(server)]
        finally:
            server.stop()
    slowest_s = max(asker.took_s)
    if slowest_s >= _ANSWER_S:
        complaints.append(f"the slowest of {len(asker.took_s)} answers took {slowest_s * 1000:.0f} ms")
    if up_s > _UP_S:
        complaints.append(f"all were up after {up_s:.1f} s")
    figure = f"{count} tasks: all up after {up_s:.1f} s, slowest of {len(asker.took_s)} lists {slowest_s * 1000:.0f} ms"
    return judged(figure, complaints)


def _wait_up(asker: _Asker, count: int, *, restarts: int) -> None:
    """Until so many tasks are RUNNING in their ``restarts``-th life; a row may still tell of the one before."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        tasks = list(asker.tasks.values())
        if sum(t["State"] == "RUNNING" and t["Restarts"] >= restarts for t in tasks) == count:
            return
        time.sleep(_ASK_EVERY_S)
    raise AssertionError(f"not all up within {_PATIENCE_S:.0f} s: {list(asker.tasks.values())[:3]}")


def _kill_all(server: Server) -> None:
    assert server.process is not None
    for pid in (server.process.pid, *server.processes()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it went with its parent
            pass
    server.process.wait()
