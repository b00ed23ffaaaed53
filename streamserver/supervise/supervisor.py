"""One loop that makes what runs match what the store says should run.

Nobody else starts or ends a task's processes or writes a task's state. The loop reads the store when its counter moved,
looks at every group, asks ``policy`` what follows from it, and writes what changed, in one commit a round. A task at
rest (over, nothing of it waits) has no group: only ``patrol`` passes by.
"""

from __future__ import annotations

import logging
import os
import random as random_module
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from streamserver.core import failpoints
from streamserver.core.errors import PortError, StoreDamagedError, StreamServerError
from streamserver.core.processes import Sweeper, bury_strangers
from streamserver.core.settings import Settings
from streamserver.core.states import ALIVE, TaskState, may_follow
from streamserver.launchers.base import Launcher
from streamserver.launchers.local import LocalLauncher
from streamserver.store import Desired, TaskRecord, TaskStore
from streamserver.supervise import folders
from streamserver.supervise import prepare as prepare_module
from streamserver.supervise.courier import ARGUMENTS, CourierKeeper
from streamserver.supervise.draining import Draining
from streamserver.supervise.group import Group, Launch, must_be_waited_for
from streamserver.supervise.patrol import Patrol
from streamserver.supervise.policy import Event, Late, Refused, Silent, Swollen, blame, decide
from streamserver.supervise.ports import PortPool
from streamserver.supervise.records import Records
from streamserver.supervise.starts import StartQueue
from streamserver.supervise.tally import Tally
from streamserver.supervise.upkeep import Upkeep

TICK_S = 0.1
"""Pause between two rounds of the loop."""

_QUARANTINE_S = 5.0
"""A task whose handling raised, or whose folder or row cannot be removed now, is left alone this long."""

_DISK_LOOK_S = 2.0
"""How often it is looked whether a full disk has room again."""

_KILL_PATIENCE_S = 5.0
"""The kernel's time to bury a process after SIGKILL before the supervisor leaves without it."""

_log = logging.getLogger(__name__)


class Supervisor:
    """See the module. ``run`` is the loop; everything else happens in its thread.

    Args:
        settings: the server's settings.
        store: the tasks.
        clock: monotonic seconds; the processes' heartbeats use the same clock.
        launcher: how processes are started; children of this process by default.
        random: a number from 0 to 1.
        prepare: writes a task's folder and says what to start.
        max_starts: so many groups take their first steps at a time; twice the cores unless given.
        beat: called in every round, for those who watch this process; what it raises ends ``run``.
        courier: the command line of the courier.
        bury: also waits for dead children that are not its own (``core.processes.adopt_orphans``).
    """

    def __init__(
        self,
        settings: Settings,
        store: TaskStore,
        *,
        clock: Callable[[], float] = time.monotonic,
        launcher: Launcher | None = None,
        random: Callable[[], float] = random_module.random,
        prepare: Callable[..., Launch] = prepare_module.prepare,
        max_starts: int | None = None,
        beat: Callable[[], None] = lambda: None,
        courier: tuple[str, ...] = ARGUMENTS,
        bury: bool = False,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._launcher = launcher or LocalLauncher(settings, nurseries=bury and settings.nurseries)
        self._random, self._prepare = random, prepare
        self._beat, self._bury = beat, bury
        self._records = Records(store, backup_interval_s=settings.backup_interval_s)
        self._tally = Tally(settings.state_path)
        self._upkeep = Upkeep(settings, self._records, self._tally)
        self._ports = PortPool(settings.client_host, settings.client_port_base)
        self._courier = CourierKeeper(settings, self._launcher, self._tally, random=random, arguments=courier)
        self._draining = Draining(settings, self._courier, random)
        self._groups: dict[str, Group] = {}
        self._rows_known = False
        self._patrol = Patrol(self._records, prepare_module.tasks_dir(settings))
        cores = os.cpu_count() or 1
        self._starts = StartQueue(most=max_starts or 4 * cores, a_round=max_starts or 2 * cores)
        self.changes: Counter[TaskState] = Counter()
        """How often each state was entered."""

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set, then ends every process; tasks keep their state and start again next time.

        ``stop`` is only ever asked ``is_set``, never waited for, so a signal handler may set it.

        Raises:
            StoreDamagedError: the task database is damaged; nothing runs any more, and whoever opens it next mends it.
        """
        _log.info("supervisor of %s started, pid %d", self._settings.state_path, os.getpid())
        folders.remove_temporary_files(self._settings.state_path)
        folders.remove_old_slots(self._settings.state_path)
        sweeper = Sweeper()
        try:
            while not stop.is_set():
                self._beat()
                sweeper.tend()
                try:
                    self.tick()
                except StoreDamagedError:
                    raise
                except Exception:  # noqa: BLE001 - one of the four named places
                    _log.exception("a round of the supervisor failed; it goes on")
                    time.sleep(1.0)
                time.sleep(TICK_S)
        finally:
            self.shut_down()

    def tick(self) -> None:
        """One round.

        Raises:
            StoreDamagedError: the task database is damaged.
        """
        now = self._clock()
        rows = self._records.read(now, self._groups)
        if rows is not None:
            self._take_over(rows, now)
        for key in self._patrol.advance(now):
            if key not in self._groups and (record := self._records.record(key, now)):
                self._adopt(record, now)
        self._launcher.tend()
        if not self._launcher.warming:
            self._starts.choose(self._groups.values(), now)
        for group in list(self._groups.values()):
            if now >= group.idle_until:
                self._look_after(group, now)
        self._courier.tend(now)
        self._records.save(self._groups.values(), now)
        self._let_rest()
        self._upkeep.tend(self._groups.values(), now)
        if self._bury:
            bury_strangers(self._pids() | self._launcher.helpers)

    def shut_down(self) -> None:
        """Ends all processes side by side: SIGTERM, ``stop_timeout_s``, SIGKILL."""
        now = self._clock()
        kill_at, leave_at = now + self._settings.stop_timeout_s, float("inf")
        self._launcher.close()
        for group in self._groups.values():
            group.end_all(kill_at=kill_at)
        self._courier.end(kill_at=kill_at)
        while left := self._pids():
            if now > leave_at:
                _log.error("supervisor stopped; the kernel keeps the processes %s", sorted(left))
                return
            now = self._clock()
            for group in self._groups.values():
                group.collect(now)
            self._courier.collect(now)
            if now >= kill_at:  # only now SIGKILL was sent, however long this process itself has stood still
                leave_at = min(leave_at, now + _KILL_PATIENCE_S)
            with suppress(StreamServerError):  # this is the way out already
                self._beat()
            time.sleep(0.02)
        self._tally.save(now=0.0, at_once=True)
        if self._bury:
            bury_strangers(left)
        _log.info("supervisor stopped; nothing of it runs")

    def _pids(self) -> set[int]:
        """Of all processes that were started and not yet waited for."""
        found = {member.process.pid for group in self._groups.values() for member in group.members.values()}
        return found | ({self._courier.member.process.pid} if self._courier.member else set())

    def _take_over(self, rows: list[TaskRecord], now: float) -> None:
        first_time, self._rows_known = not self._rows_known, True
        if first_time:
            folders.remove_orphans(prepare_module.tasks_dir(self._settings), self._records.first_keys)
            self._tally.begin(self._records.first_keys)
        for record in rows:
            group = self._groups.get(record.key)
            if group is None:
                self._adopt(record, now, first_time=first_time)
            elif record.desired is not group.record.desired or record.revision != group.record.revision:
                group.record, group.idle_until = record, 0.0

    def _adopt(self, record: TaskRecord, now: float, *, first_time: bool = False) -> None:
        """Takes a row over. At the first reading, what was alive starts anew and what failed gets one more try."""
        folder = prepare_module.tasks_dir(self._settings) / record.key
        group = Group(record, folder, record.state, record.reason, restarts=record.restarts, tally=self._tally)
        group.start_at, group.asked_for = now, not first_time
        self._groups[record.key] = group
        if first_time:
            folders.tidy(folder)
        if first_time and record.desired is Desired.RUNNING:
            if record.state is TaskState.FAILED:
                self._change(group, TaskState.PENDING, f"tried again after a restart; before: {record.reason}")
            elif record.state in ALIVE and record.state is not TaskState.PENDING:
                group.restarts += 1  # its processes ended with the supervisor before this one
                self._change(group, TaskState.PENDING, "the supervisor was started")

    def _let_rest(self) -> None:
        """Forgets the groups of tasks that are over and drained, once the store knows."""
        for key in [key for key, group in self._groups.items() if group.rests and group.saved]:
            del self._groups[key]

    def _look_after(self, group: Group, now: float) -> None:
        try:
            group.collect(now)
            if group.record.desired is Desired.DELETED and group.state is not TaskState.STOPPING:
                group.rests = False
                self._draining.begin(group, now)
                self._change(group, TaskState.STOPPING, "deleted")
            self._steps[group.state](self, group, now)
            group.exits.clear()
        except StoreDamagedError:
            raise
        except Exception as e:  # noqa: BLE001 - one of the four named places
            _log.exception("%s: handling it failed; next try in %.0f s", group.name, _QUARANTINE_S)
            group.idle_until = now + _QUARANTINE_S
            if group.state is TaskState.STARTING:
                self._follow(group, Refused(f"internal error: {type(e).__name__}: {e}", permanent=False), now)

    def _wait(self, group: Group, now: float) -> None:
        """PENDING or BACKOFF: starts when its time has come, nothing of it runs any more, and others leave room."""
        if not self._starts.is_turn_of(group):
            return
        group.asked_for = False
        self._change(group, TaskState.STARTING, group.reason if group.state is TaskState.BACKOFF else "")
        try:
            folders.make_folder(group.folder)
            folders.tidy(group.folder)
            group.port = group.port or self._ports.take(above=group.above_port)
            failpoints.hit("start.chosen")
            launch = self._prepare(group.record, group.folder, port=group.port, settings=self._settings)
            group.written = group.record.revision
            failpoints.hit("start.prepared")
            group.start_all(launch, self._launcher, self._clock())
        except OSError as e:
            self._follow(group, Refused(group.describe(e), permanent=False), now)
        except PortError as e:
            self._follow(group, Refused(str(e), permanent=False), now)
        except StreamServerError as e:
            self._follow(group, Refused(str(e), permanent=True), now)

    def _update(self, group: Group, now: float) -> None:
        """Writes the files anew for processes at work; when that cannot be done, they go on as they are."""
        if group.written == group.record.revision or now < group.rewrite_at:
            return
        failpoints.hit("update.begun")
        try:
            self._prepare(group.record, group.folder, port=group.port, settings=self._settings)
        except (OSError, StreamServerError) as e:
            problem = group.describe(e) if isinstance(e, OSError) else str(e)
            group.reason, group.saved = f"revision {group.record.revision} is not in force: {problem}", False
            group.update_problem, group.rewrite_at = group.reason, now + _QUARANTINE_S
            _log.warning("%s: %s", group.name, group.reason)
            return
        failpoints.hit("update.noted")
        group.written = group.record.revision
        if group.update_problem and group.reason == group.update_problem:
            group.reason, group.saved = "", False
        group.update_problem = ""
        _log.info("%s: revision %d is written", group.name, group.written)

    def _watch(self, group: Group, now: float) -> None:
        """RUNNING."""
        if not self._trouble(group, now):
            self._update(group, now)

    def _watch_start(self, group: Group, now: float) -> None:
        if not self._trouble(group, now):
            self._update(group, now)
            group.start_waiting(self._launcher, self._clock())
            if group.is_ready(now):
                group.settle()
                group.history = group.history.became_healthy(now)
                self._change(group, TaskState.RUNNING, group.reason if group.waits_for_disk else "")

    def _trouble(self, group: Group, now: float) -> bool:
        """Acts on what went wrong (or ended), if anything."""
        event = blame(group.exits) if group.exits else self._hang(group, now)
        event = event or group.swollen(now, self._settings.memory_limit_mb)
        if event is not None:
            self._follow(group, event, now)
        return event is not None

    def _hang(self, group: Group, now: float) -> Event | None:
        """A process that hangs; whoever cannot write cannot show that he lives, and is given time on a full disk."""
        hang = group.hang(
            now, start_timeout_s=self._settings.start_timeout_s, silence_s=self._settings.heartbeat_timeout_s
        )
        if hang is None and not (group.waits_for_disk and now >= group.disk_look_at):
            return None
        group.disk_look_at = now + _DISK_LOOK_S
        problem = group.write_problem()
        if problem is None:
            self._tell_of_disk(group, "")
            return hang
        if not must_be_waited_for(problem):
            return Refused(group.describe(problem), permanent=False)
        group.forgive()
        self._tell_of_disk(group, group.describe(problem))
        return None

    def _tell_of_disk(self, group: Group, reason: str) -> None:
        """The reason of a task that is left running on a disk that takes nothing; empty once it does."""
        if group.waits_for_disk != bool(reason):
            group.waits_for_disk = bool(reason)
            group.reason, group.saved = reason, False
            _log.warning("%s: %s", group.name, reason or "its folder can be written again")

    def _follow(self, group: Group, event: Event, now: float) -> None:
        """Takes the step that ``policy`` gives for ``event``."""
        step = decide(group.history, event, now=now, jitter=self._random())
        group.history = step.history
        group.restarts += step.counted
        if step.counted:
            self._tally.follow(event)
        group.waits_for_disk = False
        if step.next_port:
            self._release_port(group, move_on=True)
        group.start_at = now + step.delay_s
        if step.state is not TaskState.BACKOFF:
            self._draining.begin(group, now)
        elif isinstance(event, Swollen):
            group.tear_down(now, patience_s=self._settings.stop_timeout_s)
        else:
            group.tear_down(now, hung=event.role if isinstance(event, Silent | Late) else None)
        self._change(group, step.state, step.reason)

    def _rest(self, group: Group, now: float) -> None:
        """FINISHED, FAILED or STOPPED: what was raised is still delivered; the port is free when the client is gone."""
        group.rests = self._draining.advance(group, now) is not None
        self._give_port_back(group)

    def _stop(self, group: Group, now: float) -> None:
        """STOPPING: as ``_rest``; then folder and row go too."""
        drained = self._draining.advance(group, now)
        self._give_port_back(group)
        if drained is None or not self._draining.may_go(group, drained, now):
            return
        failpoints.hit("stop.drained")
        try:
            folders.remove_folder(group.folder)
        except OSError as e:
            _log.warning("%s: its folder cannot be removed now: %s", group.name, e)
            group.idle_until = now + _QUARANTINE_S
            return
        failpoints.hit("stop.folder_removed")
        if not self._records.purge(group, now):
            group.idle_until = now + _QUARANTINE_S
            return
        failpoints.hit("stop.purged")
        self._change(group, TaskState.STOPPED, "deleted")
        del self._groups[group.record.key]
        self._tally.forget(group.record.key)

    def _give_port_back(self, group: Group) -> None:
        if group.port and not group.members:
            self._release_port(group)
            group.saved = False

    def _release_port(self, group: Group, *, move_on: bool = False) -> None:
        self._ports.release(group.port)
        group.above_port = group.port if move_on else 0
        group.port = 0

    def _change(self, group: Group, state: TaskState, reason: str = "") -> None:
        """The one place where a task's state changes: logged, counted, and written at the end of the round."""
        assert may_follow(group.state, state), f"{group.name}: {group.state} -> {state}"
        log = _log.warning if state in (TaskState.BACKOFF, TaskState.FAILED) else _log.info
        log("%s: %s -> %s%s", group.name, group.state, state, f": {reason}" if reason else "")
        self.changes[state] += 1
        group.state, group.reason, group.saved = state, reason, False

    _steps: ClassVar[dict[TaskState, Callable[..., object]]] = {
        TaskState.PENDING: _wait,
        TaskState.BACKOFF: _wait,
        TaskState.STARTING: _watch_start,
        TaskState.RUNNING: _watch,
        TaskState.FINISHED: _rest,
        TaskState.FAILED: _rest,
        TaskState.STOPPED: _rest,
        TaskState.STOPPING: _stop,
    }
