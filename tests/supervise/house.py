"""A supervisor at work on real processes, for tests: what it is told, what it does, what is left."""

from __future__ import annotations

import dataclasses
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.launchers.base import ProcessSpec
from streamserver.store import StateChange, TaskRecord, TaskStore, store_url
from streamserver.supervise.folders import make_folder
from streamserver.supervise.group import Launch
from streamserver.supervise.supervisor import Supervisor

ACTOR = Path(__file__).with_name("actor.py")
COURIER = Path(__file__).with_name("courier_actor.py")
PATIENCE_S = 90.0

SILENCE_S = 4.0
"""For tests of silence: more than the supervisor counts for a moment in which the whole machine stood still."""

OWN_LOOPBACK = f"127.{128 + (os.getpid() >> 16) % 64}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
"""An address of this machine where no other process of tests takes a port that was free a moment ago."""

FOR_EVER = {"heartbeat_timeout_s": 600.0, "start_timeout_s": 600.0}
"""For those that are started again: what they need on a busy machine is not the subject."""


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)


_strangers: set[int] = set()


def look_away_from_strangers() -> None:
    """What runs now is no child of the test that begins: one that failed has left it."""
    _strangers.update(_children())


def children() -> list[int]:
    """Pids of what this test has started, dead ones that nobody waited for included."""
    return [pid for pid in _children() if pid not in _strangers]


def _children() -> list[int]:
    while True:
        try:
            lists = [(task / "children").read_text() for task in Path("/proc/self/task").iterdir()]
        except (FileNotFoundError, ProcessLookupError):  # that thread has ended, another one has its children now
            continue
        return [int(pid) for listed in lists for pid in listed.split()]


_EXITING = 4
_SIGKILL_BIT = 1 << 8


def is_alive(pid: int) -> bool:
    """Whether it still does something: whoever is doomed, but had no core to die on yet, does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rsplit(") ", 1)[1].split()
        status = Path(f"/proc/{pid}/status").read_text("latin-1").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    waiting = [int(line.split()[1], 16) for line in status if line.startswith(("SigPnd:", "ShdPnd:"))]
    is_doomed = any(signals & _SIGKILL_BIT for signals in waiting) or int(fields[6]) & _EXITING
    return fields[0] not in "ZX" and not is_doomed


class NotingStore(TaskStore):
    """Remembers each state that it was told, for one may be over before a test looks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.told: list[StateChange] = []

    def set_states(self, changes: Sequence[StateChange]) -> None:
        super().set_states(changes)
        self.told += changes


class House:
    """Settings, store and supervisor over one state folder.

    ``engine`` and ``client`` hold the behaviour of the first start, the second, and so on; the last one stays.
    The courier is an actor, too: the first words of the file ``courier.behaviour`` in the state folder say which.
    ``later`` are settings that hold from the second start on: of what a test made short to see one restart.
    """

    def __init__(self, state: Path, *, port_base: int, **settings: Any) -> None:
        values = {"heartbeat_timeout_s": 600.0, "stop_timeout_s": 20.0, "drain_timeout_s": 600.0, **settings}
        self.settings = Settings(state_dir=str(state), client_port_base=port_base, **values)
        self.store = NotingStore(store_url(self.settings.state_path))
        self.engine = ["work"]
        self.client = ["work"]
        self.later: dict[str, Any] = {}
        self.rounds = 0
        self.between_rounds: list[Callable[[], None]] = []
        self.foreign_engine = False
        self.finite = True
        self.options: dict[str, Any] = {}
        self.supervisor: Supervisor | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> House:
        self._stop = threading.Event()
        options: dict[str, Any] = {"prepare": self._prepare, "courier": (sys.executable, str(COURIER))}
        options |= {"random": lambda: 0.0, "beat": self._count_round}
        self.supervisor = Supervisor(self.settings, self.store, **{**options, **self.options})
        self._thread = threading.Thread(target=self.supervisor.run, args=(self._stop,))
        self._thread.start()
        return self

    def close(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def create(self, task_id: str = "t1") -> str:
        record, _ = self.store.create(task_id, "cam", {"TaskID": task_id}, "hash")
        return record.key

    def record(self, key: str) -> TaskRecord | None:
        return next((record for record in self.store.all() if record.key == key), None)

    def is_in(self, key: str, state: TaskState) -> bool:
        record = self.record(key)
        return record is not None and record.state is state

    def wait_for(self, key: str, state: TaskState) -> TaskRecord:
        wait_until(lambda: self.is_in(key, state), f"{state}, now {self.record(key)}")
        record = self.record(key)
        assert record is not None
        return record

    def wait_until_was(self, key: str, state: TaskState) -> StateChange:
        """Also of a state that is over before anybody looks."""

        def found() -> list[StateChange]:
            return [change for change in self.store.told if (change.key, change.state) == (key, state)]

        wait_until(found, f"{state}, now {self.record(key)}")
        return found()[0]

    def folder(self, key: str) -> Path:
        return self.settings.state_path / "tasks" / key

    def pid(self, key: str, role: str) -> int:
        group = self._group(key)
        return next((m.process.pid for name, m in group.members.items() if name == role), 0) if group else 0

    def signal(self, key: str, role: str, number: int) -> None:
        """Sends a signal to a process of the task, which must be there: 0 would be the tests themselves."""
        pid = self.pid(key, role)
        assert pid, f"there is no {role} of {self.record(key)}"
        os.kill(pid, number)

    def at_rest(self, question: Callable[[], Any]) -> Any:
        """What the supervisor's thread finds between two rounds, when it has nothing half done."""
        found: list[Any] = []
        self.between_rounds.append(lambda: found.append(question()))
        wait_until(lambda: found, "an answer between two rounds")
        return found[0]

    def wait_rounds(self, count: int) -> None:
        """Gives the supervisor so many rounds of its loop."""
        end = self.rounds + count
        wait_until(lambda: self.rounds >= end, f"{count} rounds")

    def _count_round(self) -> None:
        self.rounds += 1
        while self.between_rounds:
            self.between_rounds.pop()()

    def courier_pid(self) -> int:
        """Of the courier, 0 while there is none."""
        assert self.supervisor is not None
        member = self.supervisor._courier.member
        return member.process.pid if member else 0

    def courier_starts(self) -> int:
        file = self.settings.state_path / "courier.starts"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def starts(self, key: str) -> list[str]:
        return (self.folder(key) / "starts").read_text().splitlines()

    def lent_ports(self) -> frozenset[int]:
        assert self.supervisor is not None
        return self.supervisor._ports.lent

    def _group(self, key: str) -> Any:
        assert self.supervisor is not None
        return self.supervisor._groups.get(key)

    def _prepare(self, record: TaskRecord, folder: Path, *, port: int, settings: Settings) -> Launch:
        make_folder(folder)
        file = folder / "prepared"
        count = len(file.read_text().splitlines()) if file.exists() else 0
        with file.open("a") as log:
            log.write(f"{port}\n")
        if count and self.later:
            assert self.supervisor is not None
            self.supervisor._settings = dataclasses.replace(self.settings, **self.later)
        engine = self._spec("engine", record, folder, self.engine[min(count, len(self.engine) - 1)])
        client = self._spec("client", record, folder, self.client[min(count, len(self.client) - 1)])
        return Launch(engine=engine, client=client, finite=self.finite)

    def _spec(self, role: str, record: TaskRecord, folder: Path, behaviour: str) -> ProcessSpec:
        return ProcessSpec(
            argv=(sys.executable, str(ACTOR), role, record.key, behaviour),
            cwd=folder,
            out_file=folder / "logs" / f"{role}.out",
            foreign=role == "engine" and self.foreign_engine,
            env={"TESTED_BY": str(os.getpid())},
        )
