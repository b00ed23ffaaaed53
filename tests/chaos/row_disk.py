"""A real small file system under the state folder is filled to its last byte, then emptied, with alarms under way."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamserver.durable.disk import FILE, MEBIBYTE, free_bytes
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.receivers import Mode, Receivers
from tests.chaos.targets import Role, of_role, sweep
from tests.chaos.world import alarm_task, fast_clip, orphans, raised, wait_drained, wait_running
from tests.e2e.harness import Server, wait_for

ORDER = 80
FAULT = "disk full (small tmpfs) and space back"
PASS = "delivery goes on, creates refused, full recovery, no restart loop"

DISK_MB = 64
RESERVE_MB = 8
FULL_S = 60.0
"""So long the disk stays full; the receivers are away for the first half."""

_PATIENCE_S = 60.0
_DISK_FULL = 5018


def run(context: Context) -> Outcome:
    """The row."""
    try:
        with _small_disk(context.folder / "disk") as folder, Receivers(2) as several:
            environment = {"STREAMSERVER_DISK_RESERVE_MB": str(RESERVE_MB), "STREAMSERVER_DRAIN_TIMEOUT_S": "5"}
            server = Server(folder / "state", project=context.project, environment=environment)
            trial = _Trial(context, server, several)
            try:
                server.start()
                trial.begin()
                trial.fill()
                trial.live_on()
                trial.recover()
            finally:
                server.stop()
                trial.complaints += [f"still running after the stop: {left}" for left in (sweep(server),) if left]
            return judged(trial.figure(), trial.complaints)
    except PermissionError as e:
        return judged("not run", [str(e)])


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    options = f"size={DISK_MB}m"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, text=True)
    if made.returncode:
        raise PermissionError(f"no small file system can be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass(slots=True)
class _Trial:
    context: Context
    server: Server
    several: Receivers
    complaints: list[str] = field(default_factory=list)
    alarms: set[str] = field(default_factory=set)
    pids: dict[Role, set[int]] = field(default_factory=dict)
    restarts: object = None
    full_s: float = 0.0
    while_full: int = 0
    clip: Path = field(default_factory=Path)

    def begin(self) -> None:
        """Two tasks run, alarms arrive, the ballast is there."""
        self.clip = fast_clip(self.context.folder, times=5)
        for name in ("stays", "goes"):
            self._must("a create", self._create(name)["Code"] == 0)
        wait_running(self.server, ("stays", "goes"))
        wait_for(lambda: len(self.several.ids()) >= 3, "alarms arrive")
        ballast = self.server.state_dir / FILE
        wait_for(lambda: ballast.exists() and ballast.stat().st_size == RESERVE_MB * MEBIBYTE, "the ballast is there")
        wait_for(lambda: self._ready()[0] == 200, "the server is ready")
        self.restarts = self.server.query("stays")["Restarts"]
        self.pids = self._processes()

    def fill(self) -> None:
        """Receivers go, and the disk fills to the last byte."""
        for receiver in self.several:
            receiver.mode = Mode.UNAVAILABLE
        with (self.server.state_dir.parent / "filler").open("ab", buffering=0) as filler:
            for size in (MEBIBYTE, 4096, 1):
                try:
                    while True:
                        filler.write(bytes(size))
                except OSError as e:
                    assert e.errno == errno.ENOSPC
            os.fsync(filler.fileno())
        self.context.say(f"the disk is full: {free_bytes(self.server.state_dir)} bytes are free")

    def live_on(self) -> None:
        """On the full disk: creates are refused, deletes and deliveries go on."""
        began = time.monotonic()
        wait_for(lambda: free_bytes(self.server.state_dir) > 0, "the ballast gives way", patience_s=_PATIENCE_S)
        reply = self._create("refused")
        self._must(f"a create answered {reply}", reply["Code"] == _DISK_FULL and "MB" in reply["Msg"])
        status, content = self._ready()
        self._must(f"/readyz said {status} {content}", status == 503 and not content["Checks"]["disk"]["Ok"])
        self._watch(began, self.context.size * FULL_S / 2)
        for receiver in self.several:
            receiver.mode = Mode.TAKE
        waiting = self.alarms - self.several.ids()
        missing = wait_drained(self.server, self.several, ids=waiting, patience_s=_PATIENCE_S)
        self._must(f"{len(missing)} of {len(waiting)} alarms were not delivered on the full disk", not missing)
        self._must("a delete", self.server.post("/task/delete", {"TaskID": "goes"})["Code"] == 0)
        self._watch(began, self.context.size * FULL_S)
        self.while_full, self.full_s = len(waiting), time.monotonic() - began

    def recover(self) -> None:
        """The space is back: everything is as before."""
        (self.server.state_dir.parent / "filler").unlink()
        wait_for(lambda: self._ready()[0] == 200, "the server is ready again", patience_s=_PATIENCE_S)
        self._must("a create after it", self._create("again")["Code"] == 0)
        wait_running(self.server, ("stays", "again"))
        before = len(self.several.ids())
        wait_for(lambda: len(self.several.ids()) > before + 3, "alarms arrive again", patience_s=_PATIENCE_S)
        ballast = self.server.state_dir / FILE
        wait_for(
            lambda: ballast.stat().st_size == RESERVE_MB * MEBIBYTE, "the ballast is whole", patience_s=_PATIENCE_S
        )
        now, restarts = self._processes(), self.server.query("stays")["Restarts"]
        self._must(f"Restarts went from {self.restarts} to {restarts}", restarts == self.restarts)
        self._must(f"processes changed: {self.pids} to {now}", now == self.pids)
        self._watch(time.monotonic(), 0)
        lost = wait_drained(self.server, self.several, ids=self.alarms, patience_s=_PATIENCE_S)
        self._must(f"{len(lost)} of {len(self.alarms)} committed alarms are lost", not lost)
        self._must("orphans", not orphans(self.server))

    def figure(self) -> str:
        """For the table."""
        missing = len(self.alarms - self.several.ids())
        return (
            f"full for {self.full_s:.0f} s: {self.while_full} waiting alarms delivered meanwhile, {missing} of "
            f"{len(self.alarms)} lost, 0 restarts of processes"
            if not self.complaints
            else f"full for {self.full_s:.0f} s, {missing} of {len(self.alarms)} alarms missing"
        )

    def _watch(self, began: float, until_s: float) -> None:
        """Collects what is committed, until so long after ``began``, at least once."""
        while True:
            self.alarms |= set().union(*raised(self.server.state_dir).values())
            self._must("the API is silent", self.server.post("/task/list", {})["Code"] == 0)
            if time.monotonic() - began >= until_s:
                return
            time.sleep(0.3)

    def _processes(self) -> dict[Role, set[int]]:
        roles = (Role.ARBITER, Role.WORKER, Role.SUPERVISOR)
        return {role: {target.pid for target in of_role(self.server, role)} for role in roles}

    def _create(self, name: str) -> dict[str, Any]:
        return self.server.create(alarm_task(name, self.clip, [r.url for r in self.several], fps=25))

    def _ready(self) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/readyz", timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as e:
            with e:
                return e.code, json.loads(e.read())

    def _must(self, what: str, holds: bool) -> None:
        if not holds and what not in self.complaints:
            self.complaints.append(what)
