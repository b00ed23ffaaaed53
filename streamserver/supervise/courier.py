"""Keeps the courier running while there are alarms of tasks that are over (``core/leftovers.py``).

The courier is one process for all of them, a child of the supervisor. It is watched like a task's processes: silence
gets SIGABRT and SIGKILL, too much memory SIGTERM, and pauses between starts grow while it dies young.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable

from streamserver.core import exitcodes, leftovers
from streamserver.core.settings import Settings
from streamserver.core.status import CourierStatus
from streamserver.launchers.base import Launcher, ProcessSpec
from streamserver.supervise.group import ABORT_PATIENCE_S, LOOK_INTERVAL_S
from streamserver.supervise.member import Member
from streamserver.supervise.policy import HEALTHY_RESET_S, backoff_delay_s
from streamserver.supervise.tally import Tally

ARGUMENTS = (sys.executable, "-m", "streamserver.business.courier")
"""How it is started; it works in the state folder."""

_SHORT_LIFE_S = 5.0
"""One that says it is done sooner than this, with work on its list, is as good as crashed."""

_RETRY_S = 1.0
"""Pause after its list could not be written."""

_log = logging.getLogger(__name__)


class CourierKeeper:
    """See the module; used by the supervisor's loop alone.

    Args:
        settings: the server's settings.
        launcher: how it is started.
        tally: where what it counts is added up.
        random: a number from 0 to 1.
        arguments: its command line.
    """

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        tally: Tally,
        *,
        random: Callable[[], float],
        arguments: tuple[str, ...] = ARGUMENTS,
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._random = random
        self._arguments = arguments
        self._tally = tally
        self._keys: set[str] = set()
        self._listed: set[str] | None = None
        self._list_at = self._start_at = self._look_at = 0.0
        self._crashes = 0
        self._asked_to_end = False
        self.member: Member | None = None
        """The process, while it runs."""

    def take(self, key: str) -> bool:
        """The courier is to deliver for this task; ``False`` when it does already."""
        if key in self._keys:
            return False
        self._keys.add(key)
        return True

    def release(self, key: str) -> None:
        """Nothing of this task waits any more, or the task goes."""
        self._keys.discard(key)

    def tend(self, now: float) -> None:
        """One round: who has ended is noticed, the list is written, the process is started or watched."""
        self.collect(now)
        listed = self._write_list(now)
        if self.member is not None:
            self._watch(self.member, now)
        elif listed and self._keys and now >= self._start_at:
            self._start(now)

    def end(self, *, kill_at: float) -> None:
        """Asks it to end, for good: the supervisor stops."""
        self._asked_to_end = True
        if self.member is not None:
            self.member.end(signal.SIGTERM, kill_at=kill_at)

    def collect(self, now: float) -> None:
        """Notices its end; SIGKILLs it when it had time enough."""
        member = self.member
        if member is None:
            return
        if member.kill_at is not None and now >= member.kill_at:
            member.process.kill()
        code = member.process.poll()
        if code is not None:
            self._read(member, now)
            self.member = None
            self._ended(code, now - member.started_at, now)

    def _ended(self, code: int, life_s: float, now: float) -> None:
        if self._asked_to_end:
            _log.info("the courier has ended: what waits is delivered after the next start")
            return
        if code == exitcodes.FINISHED and (not self._keys or life_s >= _SHORT_LIFE_S):
            self._crashes, self._start_at = 0, now
            _log.info("the courier has ended: nothing was left to deliver")
            return
        self._crashes = 0 if life_s >= HEALTHY_RESET_S else self._crashes
        delay_s = backoff_delay_s(self._crashes, self._random())
        self._crashes += 1
        self._tally.restarted("courier", "killed" if code < 0 else "crashed")
        self._start_at = now + delay_s
        _log.warning("courier: %s; next start in %.1f s", exitcodes.describe(code), delay_s)

    def _write_list(self, now: float) -> bool:
        """True when the list on the disk is right; it is written when it changes, and tried again if that fails."""
        if self._listed == self._keys:
            return True
        if now < self._list_at or (self._listed is None and not self._keys and not self._has_old_list()):
            return False
        try:
            leftovers.write_list(self._settings.state_path, self._keys)
        except OSError as e:
            if self._list_at == 0.0:
                _log.error("the courier's list cannot be written, what waits is delivered later: %s", e)
            self._list_at = now + _RETRY_S
            return False
        self._listed, self._list_at = set(self._keys), 0.0
        return True

    def _has_old_list(self) -> bool:
        return (self._settings.state_path / leftovers.LIST_FILE).exists()

    def _start(self, now: float) -> None:
        folder = self._settings.state_path
        try:
            (folder / "logs").mkdir(exist_ok=True)
            spec = ProcessSpec(argv=self._arguments, cwd=folder, out_file=folder / "logs" / "courier.out")
            process = self._launcher.start(spec)
        except OSError as e:
            self._start_at = now + backoff_delay_s(self._crashes, self._random())
            self._crashes += 1
            _log.error("the courier cannot be started: %s", e)
            return
        self.member = Member("courier", process, now)
        _log.info("courier started, pid %d; tasks that are over and have alarms: %d", process.pid, len(self._keys))

    def _watch(self, member: Member, now: float) -> None:
        if now < self._look_at or member.kill_at is not None:
            return
        self._look_at = now + LOOK_INTERVAL_S
        settings = self._settings
        member.process.trim_output()
        member.look(self._read(member, now), now)
        if member.silent_s > settings.heartbeat_timeout_s:
            self._abort(member, f"gave no sign of life for {member.silent_s:.0f} s", now)
        elif not member.ready and member.age_s > settings.start_timeout_s:
            self._abort(member, f"was not ready within {settings.start_timeout_s:.0f} s", now)
        elif used_mb := member.excess_mb(now, settings.memory_limit_mb):
            limit_mb = settings.memory_limit_mb
            _log.warning("courier used %.0f MB of memory, memory_limit_mb is %d: planned restart", used_mb, limit_mb)
            member.end(signal.SIGTERM, kill_at=now + settings.stop_timeout_s)

    def _read(self, member: Member, now: float) -> CourierStatus | None:
        status = CourierStatus.read(self._settings.state_path / leftovers.STATUS_FILE)
        if status is not None and member.wrote(status, now):
            self._tally.heard_courier(status)
        return status

    def _abort(self, member: Member, why: str, now: float) -> None:
        _log.error("courier %s: it is ended", why)
        member.end(signal.SIGABRT, kill_at=now + ABORT_PATIENCE_S)
