"""One loop that makes what runs match what the store says should run.

Nobody else starts or ends a task's processes or writes a task's state. The loop reads the store when its counter moved,
looks at every group, asks ``policy`` what follows from what it saw, and writes down what changed.
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

from streamserver.core.errors import PortError, StreamServerError
from streamserver.core.settings import Settings
from streamserver.core.states import ALIVE, TaskState, may_follow
from streamserver.launchers.base import Launcher, ProcessSpec
from streamserver.launchers.local import LocalLauncher
from streamserver.store import Desired, TaskRecord, TaskStore
from streamserver.supervise import prepare as prepare_module
from streamserver.supervise.group import Group, Launch, make_folder, remove_folder
from streamserver.supervise.policy import (
    Event,
    Exited,
    Late,
    Refused,
    Role,
    Silent,
    blame,
    decide,
    decide_drain,
    reason_of,
)
from streamserver.supervise.ports import PortPool

TICK_S = 0.1
"""Pause between two rounds of the loop."""

RESCAN_S = 5.0
"""The rows are read this often even when the counter stands still."""

_STARTS_A_ROUND = 1  # a burst of creates is answered before its engines take the cores

_PAUSE_S = 2.0
"""A longer gap between two rounds means that this process itself was stopped: heartbeats get their time anew."""

_STORE_RETRY_S = 1.0
"""Pause after the store could not be read or written."""

_COMPLAINT_INTERVAL_S = 30.0
"""The store's trouble is logged this often."""

_QUARANTINE_S = 5.0
"""A task whose handling raised is left alone this long."""

_START_WEIGHT_S = 15.0
"""A start that takes longer than this waits for something else than a core, and makes room for the next."""

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
        prepare_drain: writes what a client that only delivers needs, and says how to start it.
        max_starts: so many groups take their first steps at a time; twice the cores unless given.
        beat: called in every round, for those who watch this process; what it raises ends ``run``.
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
        prepare_drain: Callable[..., ProcessSpec] = prepare_module.prepare_drain,
        max_starts: int | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._launcher = launcher or LocalLauncher(settings)
        self._random = random
        self._prepare = prepare
        self._prepare_drain = prepare_drain
        self._beat = beat
        self._ports = PortPool(settings.client_host, settings.client_port_base)
        self._groups: dict[str, Group] = {}
        self._version: int | None = None
        self._read_at = self._write_at = self._complain_at = 0.0
        self._rescan_at = 0.0
        self._trim_at = 0.0
        self._last_tick = self._awake_since = clock()
        self._max_starts = max_starts or 2 * (os.cpu_count() or 1)
        self._free_starts = self._max_starts
        self.changes: Counter[TaskState] = Counter()
        """How often each state was entered."""

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop`` is set, then ends every process; tasks keep their state and start again next time.

        ``stop`` is only ever asked ``is_set``, never waited for, so a signal handler may set it.
        """
        _log.info("supervisor of %s started, pid %d", self._settings.state_path, os.getpid())
        try:
            while not stop.is_set():
                self._beat()
                try:
                    self.tick()
                except Exception:  # noqa: BLE001 - one of the four named places
                    _log.exception("a round of the supervisor failed; it goes on")
                    time.sleep(1.0)
                time.sleep(TICK_S)
        finally:
            self.shut_down()

    def tick(self) -> None:
        """One round."""
        now = self._clock()
        if now - self._last_tick > _PAUSE_S:
            self._awake_since = now
        self._last_tick = now
        try:
            if now >= self._read_at:
                self._read_store(now)
        except StreamServerError as e:
            self._complain(f"the tasks cannot be read, what runs goes on: {e}", now)
            self._read_at = now + _STORE_RETRY_S
        young = sum(group.is_young(now, _START_WEIGHT_S) for group in self._groups.values())
        self._free_starts = min(_STARTS_A_ROUND, self._max_starts - young)
        for group in list(self._groups.values()):
            if now >= group.quarantine_until:
                self._look_after(group, now)
        if now >= self._trim_at:
            self._trim_at = now + 10.0
            for group in self._groups.values():
                group.trim_outputs()

    def shut_down(self) -> None:
        """Ends all processes side by side: SIGTERM, ``stop_timeout_s``, SIGKILL."""
        kill_at = self._clock() + self._settings.stop_timeout_s
        for group in self._groups.values():
            group.end_all(kill_at=kill_at)
        while left := [group for group in self._groups.values() if group.members]:
            now = self._clock()
            if now > kill_at + _KILL_PATIENCE_S:
                _log.error("supervisor stopped; the kernel keeps processes of %s", ", ".join(g.name for g in left))
                return
            for group in left:
                group.collect(now)
            with suppress(StreamServerError):  # this is the way out already
                self._beat()
            time.sleep(0.02)
        _log.info("supervisor stopped; nothing of it runs")

    def _read_store(self, now: float) -> None:
        if now < self._rescan_at and self._version == self._store.version():
            return
        version = self._store.version()
        records = self._store.all()
        first_time = self._version is None
        self._version, self._rescan_at = version, now + RESCAN_S
        if first_time:
            self._remove_orphans({record.key for record in records})
        for record in records:
            if record.key not in self._groups:
                self._adopt(record, first_time=first_time)
            elif record.desired is Desired.DELETED:
                self._groups[record.key].record = record

    def _remove_orphans(self, keys: set[str]) -> None:
        root = prepare_module.tasks_dir(self._settings)
        orphans = [path for path in root.iterdir() if path.name not in keys and path.is_dir()] if root.is_dir() else []
        if orphans and not keys:
            _log.error(
                "the database has no task, but %d folders in %s do; they stay until the first start with a task in the "
                "database: copy what you need (request.json, outbox.sqlite), or put the right database back",
                len(orphans),
                root,
            )
            return
        for folder in orphans:
            _log.warning("folder %s belongs to no task and is removed", folder)
            remove_folder(folder)

    def _adopt(self, record: TaskRecord, *, first_time: bool) -> None:
        """Takes a row over. At the first reading, what was alive starts anew and what failed gets one more try."""
        folder = prepare_module.tasks_dir(self._settings) / record.key
        group = Group(record, folder, record.state, reason=record.reason, restarts=record.restarts)
        self._groups[record.key] = group
        if first_time and record.desired is Desired.RUNNING:
            if record.state is TaskState.FAILED:
                self._change(group, TaskState.PENDING, f"tried again after a restart; before: {record.reason}")
            elif record.state in ALIVE and record.state is not TaskState.PENDING:
                group.restarts += 1  # its processes ended with the supervisor before this one
                self._change(group, TaskState.PENDING, "the supervisor was started")

    def _look_after(self, group: Group, now: float) -> None:
        try:
            group.collect(now)
            if group.record.desired is Desired.DELETED and group.state is not TaskState.STOPPING:
                self._begin_stop(group, now)
            self._steps[group.state](self, group, now)
            group.exits.clear()
            self._save(group)
        except Exception as e:  # noqa: BLE001 - one of the four named places
            _log.exception("%s: handling it failed; next try in %.0f s", group.name, _QUARANTINE_S)
            group.quarantine_until = now + _QUARANTINE_S
            if group.state is TaskState.STARTING:
                self._follow(group, Refused(f"internal error: {type(e).__name__}: {e}", permanent=False), now)

    def _wait(self, group: Group, now: float) -> None:
        """PENDING or BACKOFF: starts when its time has come, nothing of it runs any more, and others leave room."""
        if group.members or now < group.start_at or self._free_starts <= 0:
            return
        self._free_starts -= 1
        self._change(group, TaskState.STARTING, group.reason if group.state is TaskState.BACKOFF else "")
        try:
            make_folder(group.folder)
            group.port = group.port or self._ports.take(above=group.above_port)
            group.saved = False
            launch = self._prepare(group.record, group.folder, port=group.port, settings=self._settings)
            group.start_all(launch, self._launcher, self._clock())
        except OSError as e:
            self._follow(group, Refused(group.describe(e), permanent=False), now)
        except PortError as e:
            self._follow(group, Refused(str(e), permanent=False), now)
        except StreamServerError as e:
            self._follow(group, Refused(str(e), permanent=True), now)

    def _watch_start(self, group: Group, now: float) -> None:
        if not self._trouble(group, now):
            group.start_waiting(self._launcher, self._clock())
            if group.is_ready(now):
                group.history = group.history.became_healthy(now)
                self._change(group, TaskState.RUNNING)

    def _trouble(self, group: Group, now: float) -> bool:
        """Acts on what went wrong (or ended), if anything."""
        event: Event | None = blame(group.exits) if group.exits else self._hang(group, now)
        if isinstance(event, Silent | Late) and (problem := group.write_problem()):
            event = Refused(problem, permanent=False)  # whoever cannot write cannot show that it lives
        if event is not None:
            self._follow(group, event, now)
        return event is not None

    def _hang(self, group: Group, now: float) -> Silent | Late | None:
        return group.hang(
            now,
            awake_since=self._awake_since,
            start_timeout_s=self._settings.start_timeout_s,
            silence_s=self._settings.heartbeat_timeout_s,
        )

    def _follow(self, group: Group, event: Event, now: float) -> None:
        """Takes the step that ``policy`` gives for ``event``."""
        step = decide(group.history, event, now=now, jitter=self._random())
        group.history = step.history
        group.restarts += step.counted
        if step.next_port:
            self._release_port(group, move_on=True)
        if step.state is TaskState.BACKOFF:
            group.start_at = now + step.delay_s
            group.tear_down(now, hung=event.role if isinstance(event, Silent | Late) else None)
        else:
            group.end_engine(kill_at=now + self._settings.stop_timeout_s)
            group.drain_client()
            group.start_at = now
        self._change(group, step.state, step.reason)

    def _rest(self, group: Group, now: float) -> None:
        """FINISHED, FAILED or STOPPED: what was raised is still delivered; then the port is free again."""
        if not group.settled and self._drain(group, now) and not group.members:
            group.settled = True
            if group.port:
                self._release_port(group)
                group.saved = False

    def _begin_stop(self, group: Group, now: float) -> None:
        group.end_engine(kill_at=now + self._settings.stop_timeout_s)
        group.drain_client()
        group.start_at = now
        group.drain_until = now + self._settings.drain_timeout_s
        self._change(group, TaskState.STOPPING, "deleted")

    def _stop(self, group: Group, now: float) -> None:
        """STOPPING: until engine and client are gone; then folder, row and port go too."""
        out_of_time = group.drain_until is not None and now >= group.drain_until
        if out_of_time:
            group.end_all(kill_at=now + self._settings.stop_timeout_s)
        elif not self._drain(group, now):
            return
        if not group.members:
            if out_of_time and (lost := group.pending):
                _log.warning("%s: deleted with %d alarms that no receiver took in time", group.name, lost)
            remove_folder(group.folder)
            self._store.purge(group.record.key)
            self._release_port(group)
            self._change(group, TaskState.STOPPED, "deleted")
            del self._groups[group.record.key]

    def _drain(self, group: Group, now: float) -> bool:
        """Keeps a delivering client going until it has nothing left; True when that is so."""
        for exited in group.exits:
            if exited.role is Role.CLIENT:
                self._client_ended(group, exited, now)
        if Role.CLIENT in group.members:
            hang = self._hang(group, now)
            if hang is not None:
                _log.warning("%s: %s", group.name, reason_of(hang))
                group.abort(hang.role, now)
            return False
        if group.drained:
            return True
        if now >= group.start_at and self._free_starts > 0:
            self._free_starts -= 1
            self._start_drain(group, now)
        return False

    def _start_drain(self, group: Group, now: float) -> None:
        try:
            spec = self._prepare_drain(group.record, group.folder, settings=self._settings)
            group.start_drain(spec, self._launcher, self._clock())
        except (StreamServerError, OSError) as e:
            _log.error("%s: its alarms cannot be delivered now: %s", group.name, e)
            step = decide(group.history, Refused(str(e), permanent=False), now=now, jitter=self._random())
            group.history, group.start_at = step.history, now + step.delay_s

    def _client_ended(self, group: Group, exited: Exited, now: float) -> None:
        step = decide_drain(group.history, exited, now=now, jitter=self._random())
        group.history = step.history
        group.start_at = now + step.delay_s
        group.given_up = step.over
        if exited.done:
            group.mark_drained()
        _log.info("%s: %s", group.name, step.reason)

    def _release_port(self, group: Group, *, move_on: bool = False) -> None:
        self._ports.release(group.port)
        group.above_port = group.port if move_on else 0
        group.port = 0

    def _change(self, group: Group, state: TaskState, reason: str = "") -> None:
        """The one place where a task's state changes: logged, counted, and written with the next ``_save``."""
        assert may_follow(group.state, state), f"{group.name}: {group.state} -> {state}"
        log = _log.warning if state in (TaskState.BACKOFF, TaskState.FAILED) else _log.info
        log("%s: %s -> %s%s", group.name, group.state, state, f": {reason}" if reason else "")
        self.changes[state] += 1
        group.state, group.reason, group.saved = state, reason, False
        self._save(group)

    def _save(self, group: Group) -> None:
        """Writes a change that the store does not know yet; one that cannot be written waits a little."""
        now = self._clock()
        if group.saved or now < self._write_at:
            return
        try:
            self._store.set_state(
                group.record.key, group.state, reason=group.reason, restarts=group.restarts, port=group.port
            )
            group.saved = True
        except StreamServerError as e:
            self._complain(f"states of tasks cannot be written, they show old ones: {e}", now)
            self._write_at = now + _STORE_RETRY_S

    def _complain(self, message: str, now: float) -> None:
        """Logs trouble with the store, which comes in every round, once in a while."""
        if now >= self._complain_at:
            self._complain_at = now + _COMPLAINT_INTERVAL_S
            _log.error("%s", message)

    _steps: ClassVar[dict[TaskState, Callable[..., object]]] = {
        TaskState.PENDING: _wait,
        TaskState.BACKOFF: _wait,
        TaskState.STARTING: _watch_start,
        TaskState.RUNNING: _trouble,
        TaskState.FINISHED: _rest,
        TaskState.FAILED: _rest,
        TaskState.STOPPED: _rest,
        TaskState.STOPPING: _stop,
    }
