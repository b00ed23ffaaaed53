"""Keeps a few programs running until told to stop: the part of start.py that does the work.

A program that ends is started again; so is one that has hung, where a pulse tells. Meant to run as the first process of
a container too: it buries every child that the kernel gives it.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from streamserver.core import exitcodes
from streamserver.launchers.local import tether
from streamserver.supervise.notify import VARIABLES, Notifier
from streamserver.supervise.pulse import Pulse, children_of, is_stopped

_FIRST_DELAY_S = 0.2
_MAX_DELAY_S = 10.0
_SHORT_LIFE_S = 5.0
_TICK_S = 0.2

_PAUSE_S = 2.0
"""A longer gap between two rounds means that the guard itself was stopped, and most likely its programs with it."""

_ABORT_PATIENCE_S = 2.0
"""Time between SIGABRT, which makes a program of ours write its tracebacks, and SIGKILL."""

_STOPPED_S = 5.0
"""A process that somebody has stopped (SIGSTOP) gets so long to be continued."""

_TELL_INTERVAL_S = 1.0
"""How often systemd is told that the guard lives."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Ward:
    """A program to be kept running; ``delay_s`` is the pause before its next start.

    ``pulse_at`` is when ``pulse_seen`` changed last, ``beaten`` whether it did so since the start, ``stopped_at`` since
    when which of its processes is stopped, ``kill_at`` when patience with it ends.
    """

    name: str
    argv: Sequence[str]
    pulse: Pulse | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay_s: float = _FIRST_DELAY_S
    pulse_seen: int = 0
    pulse_at: float = 0.0
    beaten: bool = False
    stopped_at: dict[int, float] = field(default_factory=dict)
    kill_at: float | None = None


class FolderWatch:
    """Tells when a folder is no longer the one it was: removed, renamed or replaced.

    It stays open meanwhile, or its number in the file system could soon be another one's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def is_lost(self) -> bool:
        """True once for each loss; what is there next is watched from then on."""
        if self._descriptor is None:
            with suppress(OSError):
                self._descriptor = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            return False
        try:
            if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                return False
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:  # a disk in trouble is for others to report
            return False
        os.close(self._descriptor)
        self._descriptor = None
        return True


class Guard:
    """Starts programs, starts them again when they end, and ends them together.

    A program that lived 5 s is started again after 0.2 s; one that did not waits twice as long each time, up to 10 s.

    Args:
        commands: command line by name.
        environment: what they get.
        cwd: their working directory.
        patience_s: time they have to end after SIGTERM.
        pulses: how those that can hang show that they live, by name.
        fresh_start_code: a program that ends with this exit code takes the others with it: what all of them have opened
            is gone, and all start anew, none before the last has ended.
        folder: where all of them have their files; the same happens when it is lost, even if none of them notices.
        notifier: who is told when every program with a pulse has shown it, that the guard lives, and that it ends.
        withheld: variables that a program gets without their values, by its name: secrets that it does not need.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        patience_s: float,
        pulses: Mapping[str, Pulse] | None = None,
        fresh_start_code: int | None = None,
        folder: FolderWatch | None = None,
        notifier: Notifier | None = None,
        withheld: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._wards = [_Ward(name, argv, (pulses or {}).get(name)) for name, argv in commands.items()]
        self._environment = {name: value for name, value in environment.items() if name not in VARIABLES}
        self._withheld = withheld or {}
        self._cwd = cwd
        self._patience_s = patience_s
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._fresh_start_code = fresh_start_code
        self._folder = folder
        self._notifier = notifier or Notifier({})
        self._stopping = self._clearing_out = self._ready = False
        self._watched_at = self._told_at = 0.0

    def listen(self) -> None:
        """Takes SIGTERM, SIGINT, SIGHUP (unless ignored, as under nohup) and SIGCHLD; for the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            if signal.getsignal(number) is not signal.SIG_IGN or number is signal.SIGCHLD:
                signal.signal(number, lambda received, _: self._signals.put(received))

    def run(self) -> int:
        """Works until a signal asks for the end; returns 0 once nothing of it runs."""
        while not self._asked_to_stop():
            self._bury()
            if self._folder is not None and self._folder.is_lost():
                _log.warning("the state folder was removed or replaced; all start anew")
                self._clear_out(time.monotonic())
            self._start_due(time.monotonic())
            self._watch(time.monotonic())
            self._tell(time.monotonic())
        self._notifier.stopping()
        self._end_all()
        return 0

    def _asked_to_stop(self) -> bool:
        """Waits a little, or until a signal comes; several at once are looked at one by one."""
        try:
            return self._signals.get(timeout=_TICK_S) != signal.SIGCHLD
        except Empty:
            return False

    def _start_due(self, now: float) -> None:
        if self._clearing_out and any(ward.process for ward in self._wards):
            return
        self._clearing_out = False
        for ward in self._wards:
            if ward.process is None and now >= ward.start_at:
                ward.process = subprocess.Popen(
                    tether(tuple(ward.argv)),
                    cwd=self._cwd,
                    env={**self._environment, **dict.fromkeys(self._withheld.get(ward.name, ()), "")},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
                ward.started_at = ward.pulse_at = now
                ward.pulse_seen, ward.beaten = ward.pulse.read() if ward.pulse else 0, False
                ward.stopped_at.clear()
                ward.kill_at = None
                _log.info("%s started, pid %d", ward.name, ward.process.pid)

    def _watch(self, now: float) -> None:
        """Ends whoever has hung; it is then started again like any other that ended."""
        was_stopped, self._watched_at = now - self._watched_at > _PAUSE_S, now
        for ward in self._wards:
            if ward.process is None:
                continue
            if was_stopped:
                ward.pulse_at = now
                ward.stopped_at.clear()
            if ward.kill_at is None:
                self._feel_pulse(ward, ward.process.pid, now)
                self._end_stopped(ward, ward.process.pid, now)
            elif now >= ward.kill_at:
                _kill_group(ward.process.pid)

    def _feel_pulse(self, ward: _Ward, pid: int, now: float) -> None:
        if ward.pulse is None:
            return
        seen = ward.pulse.read()
        if seen != ward.pulse_seen:
            ward.pulse_seen, ward.pulse_at, ward.beaten = seen, now, True
        elif (silence_s := now - ward.pulse_at) > (ward.pulse.silence_s if ward.beaten else ward.pulse.first_s):
            _log.error("%s gave no sign of life for %.0f s: it has hung, and is ended", ward.name, silence_s)
            _signal_group(pid, signal.SIGABRT)
            ward.kill_at = now + _ABORT_PATIENCE_S

    def _end_stopped(self, ward: _Ward, pid: int, now: float) -> None:
        """A process that is stopped can write no traceback and heeds no SIGTERM, so it is killed."""
        workers = children_of(pid) if ward.pulse and ward.pulse.with_children else []
        stopped = {one for one in (pid, *workers) if is_stopped(one)}
        ward.stopped_at = {one: ward.stopped_at.get(one, now) for one in stopped}
        for one, since in ward.stopped_at.items():
            if now - since >= _STOPPED_S:
                _log.error("%s: process %d has been stopped for %.0f s, and is killed", ward.name, one, now - since)
                _kill_group(pid) if one == pid else _kill(one)

    def _tell(self, now: float) -> None:
        """Tells systemd what it waits for."""
        if not self._ready and all(w.process and (w.pulse is None or w.beaten) for w in self._wards):
            self._ready = True
            self._notifier.ready()
        if now - self._told_at >= min(_TELL_INTERVAL_S, self._notifier.watchdog_s / 3):
            self._told_at = now
            self._notifier.alive()

    def _bury(self) -> None:
        """Waits for every child that has ended, ours or inherited; what a ward left of its group goes with it."""
        while (pid := _next_dead()) is not None:
            ward = next((w for w in self._wards if w.process is not None and w.process.pid == pid), None)
            if ward is not None:
                _kill_group(pid)  # before the wait, while the number cannot belong to anybody else
            _, status = os.waitpid(pid, 0)
            if ward is not None:
                self._ended(ward, os.waitstatus_to_exitcode(status), time.monotonic())

    def _ended(self, ward: _Ward, code: int, now: float) -> None:
        assert ward.process is not None
        ward.process.returncode = code
        ward.process = None
        short = now - ward.started_at < _SHORT_LIFE_S
        ward.start_at = now + (ward.delay_s if short else _FIRST_DELAY_S)
        ward.delay_s = min(_MAX_DELAY_S, 2 * ward.delay_s) if short else _FIRST_DELAY_S
        if self._stopping:
            _log.info("%s ended with %d", ward.name, code)
        else:
            why = exitcodes.describe(code)
            _log.warning("%s ended with %d (%s); next start in %.1f s", ward.name, code, why, ward.start_at - now)
            if code == self._fresh_start_code:
                self._clear_out(now)

    def _clear_out(self, now: float) -> None:
        self._clearing_out = True
        for ward in self._wards:
            if ward.process is not None:
                os.kill(ward.process.pid, signal.SIGTERM)
                ward.kill_at = now + self._patience_s

    def _end_all(self) -> None:
        self._stopping = True
        for ward in self._wards:
            if ward.process is not None:
                os.kill(ward.process.pid, signal.SIGTERM)
                _signal_group(ward.process.pid, signal.SIGCONT)  # who is stopped would not hear of it
        kill_at = time.monotonic() + self._patience_s
        while any(ward.process for ward in self._wards):
            if self._asked_to_stop() or time.monotonic() >= kill_at:
                for ward in self._wards:
                    if ward.process is not None:
                        _kill_group(ward.process.pid)
            self._bury()


def _next_dead() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended is not None else None


def _kill_group(pid: int) -> None:
    _signal_group(pid, signal.SIGKILL)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
