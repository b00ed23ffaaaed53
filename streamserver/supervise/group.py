"""The processes of one task: starting them, hearing what they say of themselves, seeing them off.

A group decides nothing: the supervisor's loop asks it what happened and tells it what to do. Times are monotonic
seconds.
"""

from __future__ import annotations

import errno
import logging
import signal
from dataclasses import dataclass, field
from pathlib import Path

from streamserver.core import exitcodes, failpoints
from streamserver.core.files import write_atomically
from streamserver.core.leftovers import Drained, forget_drained, read_drained
from streamserver.core.preview import SOCKET
from streamserver.core.states import TaskState
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.launchers.base import Launcher, ProcessSpec
from streamserver.store import TaskRecord
from streamserver.supervise.folders import has_outbox
from streamserver.supervise.member import Member
from streamserver.supervise.policy import Exited, History, Late, Role, Silent, Swollen
from streamserver.supervise.tally import SAVE_S, Tally

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

_WAITED_FOR = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""What keeps files from being written and is no fault of who writes them."""

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
class Group:
    """One task as the supervisor's loop sees it.

    Attributes:
        record: the row, as last read.
        folder: the task's folder.
        state: what the loop decided; ``saved`` tells whether the store knows.
        port: of the client; 0 while it has none.
        start_at: no start before this time.
        asked_for: the user has asked for it since this supervisor began, and it was not started yet.
        look_at: the heartbeats are not read before this time.
        tell_at: what they say is not added up before this time.
        above_port: the next port is above this one.
        rests: it is over, and nothing of it waits for a receiver.
        idle_until: left alone until then: nothing is to be done, or handling it went wrong.
        exits: who has ended and was not dealt with yet.
        members: the processes that run.
        launch: how they were started last.
        written: the revision of ``record`` that its files hold.
        rewrite_at: the files are not written for another revision before this time.
        update_problem: why they could not be, in words.
        drain_until: end of the time that the client of a task that is over has to deliver.
        letters_until: when the dead letters of a deleted task may go; ``None`` while that is not known.
        letters_note_at: when the time left for them is noted next.
        waits_for_disk: its reason is a disk on which it cannot show that it lives.
        disk_look_at: the disk is not tried before this time.
        tally: where what its processes count is added up; ``None`` for nowhere.
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
    asked_for: bool = False
    look_at: float = 0.0
    tell_at: float = 0.0
    rests: bool = False
    idle_until: float = 0.0
    above_port: int = 0
    exits: list[Exited] = field(default_factory=list)
    drain_until: float = 0.0
    letters_until: float | None = None
    letters_note_at: float = 0.0
    waits_for_disk: bool = False
    disk_look_at: float = 0.0
    launch: Launch | None = None
    written: int = 0
    rewrite_at: float = 0.0
    update_problem: str = ""
    members: dict[Role, Member] = field(default_factory=dict)
    tally: Tally | None = None

    def __post_init__(self) -> None:
        if self.tally is not None:
            self.tally.adopt(self.record)

    @property
    def name(self) -> str:
        """For the log: the user's name for the task and our key."""
        return f"task {self.record.task_id!r} ({self.record.key})"

    def start_all(self, launch: Launch, launcher: Launcher, now: float) -> None:
        """Starts the client and the engine; a foreign engine, which sends nothing twice, waits for its client."""
        self.launch = launch
        forget_drained(self.folder)
        self._start(Role.CLIENT, launcher, now)
        failpoints.hit("start.client_spawned")
        if not launch.engine.foreign:
            self._start(Role.ENGINE, launcher, now)
            failpoints.hit("start.spawned")

    def start_waiting(self, launcher: Launcher, now: float) -> None:
        """Starts a foreign engine once its client is ready."""
        if self.launch and Role.ENGINE not in self.members and self._is_ready(Role.CLIENT, now):
            self._start(Role.ENGINE, launcher, now)
            failpoints.hit("start.spawned")

    def _start(self, role: Role, launcher: Launcher, now: float) -> None:
        assert self.launch is not None
        spec = self.launch.spec(role)
        process = launcher.start(spec)
        self.members[role] = Member(role, process, now, foreign=spec.foreign)
        _log.debug("%s: %s started, pid %d", self.name, role, process.pid)

    def collect(self, now: float) -> None:
        """Adds to ``exits`` who has ended since the last call; SIGKILLs whoever had time enough."""
        for role, member in list(self.members.items()):
            if member.kill_at is not None and now >= member.kill_at:
                member.process.kill()
            code = member.process.poll()
            if code is not None:
                del self.members[role]
                self.exits.append(self._exited(role, member, code, now))
                if role is Role.ENGINE:
                    (self.folder / SOCKET).unlink(missing_ok=True)  # one that was killed has left it

    def is_ready(self, now: float) -> bool:
        """True when both processes are ready."""
        return all(self._is_ready(role, now) for role in Role)

    def is_due(self, now: float) -> bool:
        """True when nothing but its turn keeps it from being started."""
        return not self.members and now >= self.start_at and now >= self.idle_until

    def is_young(self, now: float, age_s: float) -> bool:
        """True while its start takes a core, for ``age_s`` at most; a foreign engine is only waited for."""
        if self.state is not TaskState.STARTING or (Role.ENGINE in self.members and self.members[Role.ENGINE].foreign):
            return False
        return any(now - member.started_at < age_s for member in self.members.values())

    def hang(self, now: float, *, start_timeout_s: float, silence_s: float) -> Silent | Late | None:
        """A process that is not ready in time, or that has gone silent after it was, or that a signal has stopped.

        The status files are read once in ``LOOK_INTERVAL_S``.

        Args:
            now: the time.
            start_timeout_s: what a start may take.
            silence_s: silence that counts as a hang.
        """
        if now < self.look_at:
            return None
        self.look_at = now + LOOK_INTERVAL_S
        tells = now >= self.tell_at
        self.tell_at = now + SAVE_S if tells else self.tell_at
        for role, member in self.members.items():
            if member.kill_at is not None:
                continue
            status = None if member.foreign else self._status(role)
            member.look(status, now)
            if tells and status is not None and member.wrote(status, now):
                self._tell(status, now)
            if member.silent_s > silence_s:
                return Silent(role, member.silent_s)
            if not (member.ready or member.foreign) and member.age_s > start_timeout_s:
                return Late(role, start_timeout_s)
        return None

    def swollen(self, now: float, limit_mb: int) -> Swollen | None:
        """A process, with what it started, that holds too much memory for too long."""
        for role, member in self.members.items():
            if used_mb := member.excess_mb(now, limit_mb):
                return Swollen(role, used_mb, limit_mb)
        return None

    def hear_last(self) -> None:
        """Nothing of its outbox waits for its own client any more: what the last who had it open counted is final."""
        if self.tally is not None:
            status = self._status(Role.CLIENT)
            self.tally.closed(self.record, status if isinstance(status, ClientStatus) else None)

    def _tell(self, status: EngineStatus | ClientStatus, now: float) -> None:
        if self.tally is None:
            return
        self.tally.heard(self.record, status, now)
        if isinstance(status, ClientStatus) and self.launch is not None and self.launch.engine.foreign:
            self.tally.received(self.record, status)

    def forgive(self) -> None:
        """Gives every process its time anew: what kept it from showing that it lives was not its fault."""
        for member in self.members.values():
            member.forgive()

    def tear_down(self, now: float, *, hung: Role | None = None, patience_s: float = TEARDOWN_PATIENCE_S) -> None:
        """Ends what still runs, before a restart; ``hung`` is asked for its tracebacks first."""
        if hung is not None:
            self.abort(hung, now)
        self.end_all(kill_at=now + patience_s)

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

    def drain_client(self, now: float) -> None:
        """Asks the client to deliver what is pending and then to end."""
        client = self.members.get(Role.CLIENT)
        if client is not None and client.draining_since is None:
            client.process.signal(signal.SIGUSR1)
            client.draining_since = now

    def drained(self) -> Drained | None:
        """What is left to know when nothing waits for a receiver; ``None`` while something may wait."""
        return read_drained(self.folder) or (None if has_outbox(self.folder) else Drained())

    def write_problem(self) -> OSError | None:
        """Why nothing can be written to the folder, e.g. a full disk; ``None`` when it can."""
        probe = self.folder / "run" / "probe"
        try:
            write_atomically(probe, bytes(_PROBE_BYTES))
            probe.unlink()
        except OSError as e:
            return e
        return None

    def describe(self, error: OSError) -> str:
        """An error of the operating system in words, with the place and the cure."""
        place = error.filename or self.folder
        return f"{place}: {error.strerror or error}; check the disk's free space, the owner and the limits of processes"

    def settle(self) -> None:
        """Lets other tasks' starts go before it."""
        for member in self.members.values():
            member.process.settle()

    def trim_outputs(self) -> None:
        """Keeps the output files small."""
        for member in self.members.values():
            member.process.trim_output()

    def _status(self, role: Role) -> EngineStatus | ClientStatus | None:
        kind, file = (EngineStatus, ENGINE_FILE) if role is Role.ENGINE else (ClientStatus, CLIENT_FILE)
        status = kind.read(self.folder / file)
        return status if status is not None and status.run == self.record.key else None

    def _fresh_status(self, role: Role, member: Member, now: float) -> EngineStatus | ClientStatus | None:
        """What this very process wrote, not the one before it."""
        status = None if member.foreign else self._status(role)
        return status if status is not None and member.wrote(status, now) else None

    def _is_ready(self, role: Role, now: float) -> bool:
        member = self.members.get(role)
        if member is None:
            return False
        if member.foreign:
            return now - member.started_at >= FOREIGN_READY_S
        status = self._fresh_status(role, member, now)
        return status is not None and status.ready

    def _exited(self, role: Role, member: Member, code: int, now: float) -> Exited:
        status = self._fresh_status(role, member, now)
        if status is not None:
            self._tell(status, now)
        done = code == exitcodes.FINISHED and self._is_done(role, member, status)
        return Exited(role, code, error=status.error if status else "", done=done)

    def _is_done(self, role: Role, member: Member, status: EngineStatus | ClientStatus | None) -> bool:
        """Whether a process that left with 0 had done its work: a client leaves so too when it is told to end.

        A client that keeps dead letters is not done: whoever opens its outbox next finds out until when they are kept.
        """
        if role is Role.ENGINE:
            return self.launch is not None and self.launch.finite
        if member.draining_since is None or member.kill_at is not None or not isinstance(status, ClientStatus):
            return False
        return status.beat >= member.draining_since and status.pending == status.dead == 0


def must_be_waited_for(problem: OSError) -> bool:
    """True for a full or read-only disk: nobody is started again for it."""
    return problem.errno in _WAITED_FOR
