"""The processes of one task: starting them, hearing what they say of themselves, seeing them off.

A group decides nothing: the supervisor's loop asks it what happened and tells it what to do. Times are monotonic
seconds.
"""

from __future__ import annotations

import logging
import shutil
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamserver.core import exitcodes
from streamserver.core.files import write_atomically
from streamserver.core.states import TaskState
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.launchers.base import Launcher, Process, ProcessSpec
from streamserver.store import TaskRecord
from streamserver.supervise.policy import Exited, History, Late, Role, Silent

FOREIGN_READY_S = 2.0
"""A program that writes no status counts as ready when it has lived this long."""

ABORT_PATIENCE_S = 2.0
"""Time between SIGABRT, which makes a process write its tracebacks, and SIGKILL."""

TEARDOWN_PATIENCE_S = 1.0
"""Time the other process of a group has to end by itself when its partner is gone."""

LOOK_INTERVAL_S = 1.0
"""How often the heartbeats of a running group are read."""

_PROBE_BYTES = 16_384
"""What must fit on the disk for a task's processes to show that they live."""

OUTBOX_FILE = "outbox.sqlite"
_DRAINED_FILE = "run/drained"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the two processes of a task are started.

    Attributes:
        engine: our engine, or a foreign program.
        client: the client.
        finite: True when the source has an end, so that an engine that leaves with 0 has done its work.
    """

    engine: ProcessSpec
    client: ProcessSpec
    finite: bool

    def spec(self, role: Role) -> ProcessSpec:
        """The process of ``role``."""
        return self.engine if role is Role.ENGINE else self.client


@dataclass(slots=True)
class Member:
    """A process that runs; ``draining`` and ``kill_at`` are set once it was asked to deliver and leave, or to leave."""

    role: Role
    process: Process
    started_at: float
    foreign: bool = False
    draining: bool = False
    kill_at: float | None = None

    def end(self, number: int, *, kill_at: float) -> None:
        """Sends signal ``number``, with SIGKILL to follow at ``kill_at``; nobody is asked twice."""
        if self.kill_at is None:
            self.process.signal(number)
            self.kill_at = kill_at


@dataclass(slots=True)
class Group:
    """One task as the supervisor's loop sees it.

    Attributes:
        record: the row, as last read.
        folder: the task's folder.
        state: what the loop decided; ``saved`` tells whether the store knows.
        port: of the client; 0 while it has none.
        start_at: no start before this time.
        look_at: the heartbeats are not read before this time.
        above_port: the next port is above this one.
        quarantine_until: handling it went wrong; left alone until then.
        settled: it has ended and nothing of it waits for anything.
        exits: who has ended and was not dealt with yet.
        members: the processes that run.
        launch: how they were started last.
        drain_until: end of the time that a deleted task has to deliver.
        given_up: its alarms cannot be delivered as things are; the next supervisor tries again.
    """

    record: TaskRecord
    folder: Path
    state: TaskState
    reason: str = ""
    saved: bool = True
    history: History = field(default_factory=History)
    restarts: int = 0
    port: int = 0
    start_at: float = 0.0
    look_at: float = 0.0
    quarantine_until: float = 0.0
    above_port: int = 0
    settled: bool = False
    exits: list[Exited] = field(default_factory=list)
    drain_until: float | None = None
    given_up: bool = False
    launch: Launch | None = None
    members: dict[Role, Member] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For the log: the user's name for the task and our key."""
        return f"task {self.record.task_id!r} ({self.record.key})"

    def start(self, role: Role, spec: ProcessSpec, launcher: Launcher, now: float) -> None:
        """Starts one process; raises ``OSError`` when it cannot be started."""
        process = launcher.start(spec)
        self.members[role] = Member(role, process, now, foreign=spec.foreign)
        _log.debug("%s: %s started, pid %d", self.name, role, process.pid)

    def start_all(self, launch: Launch, launcher: Launcher, now: float) -> None:
        """Starts the client and the engine; a foreign engine, which sends nothing twice, waits for its client."""
        self.launch = launch
        self.forget_drained()
        self.start(Role.CLIENT, launch.client, launcher, now)
        if not launch.engine.foreign:
            self.start(Role.ENGINE, launch.engine, launcher, now)

    def start_waiting(self, launcher: Launcher, now: float) -> None:
        """Starts a foreign engine once its client is ready."""
        if self.launch and Role.ENGINE not in self.members and self._is_ready(Role.CLIENT, now):
            self.start(Role.ENGINE, self.launch.engine, launcher, now)

    def collect(self, now: float) -> None:
        """Adds to ``exits`` who has ended since the last call; SIGKILLs whoever had time enough."""
        for member in list(self.members.values()):
            if member.kill_at is not None and now >= member.kill_at:
                member.process.kill()
            code = member.process.poll()
            if code is not None:
                del self.members[member.role]
                self.exits.append(self._exited(member, code))

    def is_ready(self, now: float) -> bool:
        """True when both processes are ready."""
        return all(self._is_ready(role, now) for role in Role)

    def is_young(self, now: float, age_s: float) -> bool:
        """True while it starts, or while a delivering client has not beaten yet; for ``age_s`` at most."""
        young = [member for member in self.members.values() if now - member.started_at < age_s]
        return bool(young) and (self.state is TaskState.STARTING or any(not self._beat(member) for member in young))

    def hang(self, now: float, *, awake_since: float, start_timeout_s: float, silence_s: float) -> Silent | Late | None:
        """A process of ours that is not ready in time, or that has gone silent after it was; read once in a while.

        Args:
            now: the time.
            awake_since: silence counts from here at the earliest: the supervisor itself did not run before.
            start_timeout_s: what a start may take.
            silence_s: silence that counts as a hang.
        """
        if now < self.look_at:
            return None
        self.look_at = now + LOOK_INTERVAL_S
        for role, member in self.members.items():
            if member.foreign or member.kill_at is not None:
                continue
            beat = self._beat(member)
            if beat == 0.0 or self.state is TaskState.STARTING:
                if now - member.started_at > start_timeout_s and not self._is_ready(role, now):
                    return Late(role, start_timeout_s)
            elif now - max(beat, awake_since) > silence_s:
                return Silent(role, now - max(beat, awake_since))
        return None

    def tear_down(self, now: float, *, hung: Role | None = None) -> None:
        """Ends what still runs, before a restart; ``hung`` is asked for its tracebacks first."""
        if hung is not None:
            self.abort(hung, now)
        self.end_all(kill_at=now + TEARDOWN_PATIENCE_S)

    def abort(self, role: Role, now: float) -> None:
        """SIGABRT, which makes a process of ours write its tracebacks, then SIGKILL."""
        if role in self.members:
            self.members[role].end(signal.SIGABRT, kill_at=now + ABORT_PATIENCE_S)

    def end_all(self, *, kill_at: float) -> None:
        """Asks every process to end."""
        for member in self.members.values():
            member.end(signal.SIGTERM, kill_at=kill_at)

    def end_engine(self, *, kill_at: float) -> None:
        """Asks the engine to end, if it runs."""
        if Role.ENGINE in self.members:
            self.members[Role.ENGINE].end(signal.SIGTERM, kill_at=kill_at)

    def drain_client(self) -> None:
        """Asks the client to deliver what is pending and then to end."""
        if Role.CLIENT in self.members:
            client = self.members[Role.CLIENT]
            client.process.signal(signal.SIGUSR1)
            client.draining = True

    def start_drain(self, client: ProcessSpec, launcher: Launcher, now: float) -> None:
        """Starts a client that only delivers."""
        self.start(Role.CLIENT, replace(client, argv=(*client.argv, "--drain")), launcher, now)
        self.members[Role.CLIENT].draining = True

    @property
    def drained(self) -> bool:
        """True when nothing can be delivered: no outbox, or the last client left it empty or cannot run."""
        return self.given_up or not (self.folder / OUTBOX_FILE).exists() or (self.folder / _DRAINED_FILE).exists()

    @property
    def pending(self) -> int:
        """Alarms that waited for a receiver when the client wrote its status last."""
        status = self._status(Role.CLIENT)
        return status.pending if isinstance(status, ClientStatus) else 0

    def mark_drained(self) -> None:
        """Remembers, across restarts of the supervisor, that nothing waits."""
        try:
            (self.folder / _DRAINED_FILE).touch()
        except OSError as e:
            _log.warning("%s: %s/%s: %s", self.name, self.folder, _DRAINED_FILE, e.strerror)

    def forget_drained(self) -> None:
        """A client that raises alarms starts."""
        (self.folder / _DRAINED_FILE).unlink(missing_ok=True)

    def write_problem(self) -> str:
        """Why nothing can be written to the folder, e.g. a full disk; empty when it can."""
        probe = self.folder / "run" / "probe"
        try:
            write_atomically(probe, bytes(_PROBE_BYTES))
            probe.unlink()
        except OSError as e:
            return self.describe(e)
        return ""

    def describe(self, error: OSError) -> str:
        """An error of the operating system in words, with the place and the cure."""
        place = error.filename or self.folder
        return f"{place}: {error.strerror or error}; check the disk's free space, the owner and the limits of processes"

    def trim_outputs(self) -> None:
        """Keeps the output files small."""
        for member in self.members.values():
            member.process.trim_output()

    def _status(self, role: Role) -> EngineStatus | ClientStatus | None:
        kind, file = (EngineStatus, ENGINE_FILE) if role is Role.ENGINE else (ClientStatus, CLIENT_FILE)
        status = kind.read(self.folder / file)
        return status if status is not None and status.run == self.record.key else None

    def _fresh_status(self, member: Member) -> EngineStatus | ClientStatus | None:
        """What this very process wrote, not the one before it."""
        status = self._status(member.role)
        return status if status is not None and status.beat >= member.started_at else None

    def _beat(self, member: Member) -> float:
        status = self._fresh_status(member)
        return status.beat if status else 0.0

    def _is_ready(self, role: Role, now: float) -> bool:
        member = self.members.get(role)
        if member is None:
            return False
        if member.foreign:
            return now - member.started_at >= FOREIGN_READY_S
        status = self._fresh_status(member)
        return status is not None and status.ready

    def _exited(self, member: Member, code: int) -> Exited:
        status = None if member.foreign else self._fresh_status(member)
        done = code == exitcodes.FINISHED and self._is_done(member, status)
        return Exited(member.role, code, error=status.error if status else "", done=done)

    def _is_done(self, member: Member, status: EngineStatus | ClientStatus | None) -> bool:
        """Whether a process that left with 0 had done its work: a client leaves so too when it is told to end."""
        if member.role is Role.ENGINE:
            return self.launch is not None and self.launch.finite
        pending = status.pending if isinstance(status, ClientStatus) else 0
        return member.draining and member.kill_at is None and pending == 0


def make_folder(folder: Path) -> None:
    """Makes a task's folder with run/ and logs/, readable by its owner only: addresses may hold passwords."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("run", "logs"):
        (folder / name).mkdir(exist_ok=True)


def remove_folder(folder: Path) -> None:
    """Removes a task's folder; what cannot be removed is left to the next start of the supervisor."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as e:
        _log.warning("%s cannot be removed: %s", e.filename or folder, e.strerror)
