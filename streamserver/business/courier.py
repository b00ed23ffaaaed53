"""The courier: one process that delivers for all tasks that are over. ``python -m streamserver.business.courier``

It works on the outboxes of the state folder that the supervisor names (``core.leftovers``), a few at a time.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import queue
import signal
import sys
import time
from collections.abc import Hashable, Sequence
from pathlib import Path

from streamserver.business import suspects
from streamserver.business.config import load_addressee
from streamserver.business.turns import Turns
from streamserver.business.visit import Outcome, Visit
from streamserver.core import exitcodes, logs
from streamserver.core.counters import DeliveryCounts
from streamserver.core.errors import StreamServerError
from streamserver.core.leftovers import DRAINED_FILE, LIST_FILE, STATUS_FILE, read_list
from streamserver.core.processes import Sweeper, die_with_starter
from streamserver.core.settings import Settings, load
from streamserver.core.status import BEAT_INTERVAL_S, CLIENT_FILE, ClientStatus, CourierStatus

_log = logging.getLogger(__name__)

IDLE_S = 10.0
"""With nothing in the list for so long, it ends; the supervisor starts another when there is."""

_STOP = "stop"
_LOOK_S = 0.1
_FINISH_POST_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Delivers until the list stays empty, or until it is told to end; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m streamserver.business.courier",
        description="Delivers for tasks that are over; the supervisor starts it, and it has no options.",
    ).parse_args(arguments)
    die_with_starter()
    faulthandler.enable()
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: commands.put(_STOP))
    signal.signal(signal.SIGINT, lambda *_: commands.put(_STOP))
    logs.configure(role="courier")
    try:
        settings = load()
    except StreamServerError as e:
        _log.error("%s", e)
        return exitcodes.USAGE
    state = settings.state_path
    if not (state / LIST_FILE).exists():
        _log.error("%s: there is no list of tasks here; the supervisor of a running server writes it", state)
        return exitcodes.USAGE
    logs.configure_file(settings, state, "courier", hold_repeats=True)
    courier = Courier(state, settings)
    try:
        _run(courier, commands)
    except BaseException as e:
        _log.exception("unexpected error")
        courier.status.error = repr(e)
        raise
    finally:
        courier.close()
    return exitcodes.FINISHED


def _run(courier: Courier, commands: queue.SimpleQueue[str]) -> None:
    sweeper = Sweeper()
    beat_at = empty_since = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= beat_at:
            beat_at = now + BEAT_INTERVAL_S
            courier.read_list()
            courier.beat()
            sweeper.tend()
        courier.step(now)
        empty_since = now if courier.busy else empty_since
        if now - empty_since > IDLE_S:
            _log.info("nothing is left to deliver")
            return
        try:
            commands.get(timeout=_LOOK_S)
            return
        except queue.Empty:
            continue


class Courier:
    """Sends visits to the outboxes of the list, in turns.

    Args:
        state: the state folder.
        settings: of the server.
    """

    def __init__(self, state: Path, settings: Settings) -> None:
        self.status = CourierStatus(pid=os.getpid(), ready=True)
        self._state = state
        self._settings = settings
        self._turns = Turns()
        self._lanes: dict[str, Hashable] = {}
        self._pending: dict[str, int] = {}
        self._ages_s: dict[str, float] = {}
        self._counts = DeliveryCounts()
        self._drained: set[str] = set()
        self._visits: dict[str, Visit] = {}

    @property
    def busy(self) -> bool:
        """True while there is anything in the list, or anybody at work."""
        return bool(self._lanes or self._visits)

    def read_list(self) -> None:
        """Takes up what is new in the list, and leaves what is no longer there."""
        listed = read_list(self._state)
        new = listed - self._lanes.keys() - self._visits.keys()
        pauses_s = suspects.pauses_s((key, suspects.unfinished(self._folder(key))) for key in new)
        for key in new:
            folder = self._folder(key)
            self._lanes[key] = _lane_of(folder, key)
            self._pending[key], self._ages_s[key] = _waiting_in(folder)
            if key in pauses_s:
                _log.error("%s: may have killed the courier; left alone for %.0f s", key, pauses_s[key])
            self._take_up(key, not_before=time.monotonic() + pauses_s.get(key, 0.0))
        for key in self._lanes.keys() - listed:
            del self._lanes[key]
            del self._pending[key], self._ages_s[key]
            self._drained.discard(key)
            if key in self._visits:
                self._visits[key].leave()
            else:
                self._turns.forget(key)
        for key in list(self._drained):
            self._take_up(key)

    def step(self, now: float) -> None:
        """Sees off the visits that ended, asks others to leave where somebody waits, and begins new ones."""
        for key, visit in list(self._visits.items()):
            if visit.ended:
                del self._visits[key]
                self._see_off(key, visit, now)
            else:
                self._note_waiting(key, visit)
                if visit.works or visit.failing:
                    self._turns.note(key, works=visit.works)
        for key in self._turns.leavers(now, {key: visit.progress for key, visit in self._visits.items()}):
            self._visits[key].leave()
        while (following := self._turns.next(now)) is not None:
            visit = self._visits[following] = Visit(following, self._folder(following), self._settings, self._counts)
            visit.start()

    def beat(self) -> None:
        """Rewrites the status file."""
        self.status.boxes = len(self._lanes) - len(self._drained)
        self.status.pending = sum(self._pending.values())
        self.status.oldest_age_s = max(
            (age_s for key, age_s in self._ages_s.items() if self._pending[key]), default=0.0
        )
        self.status.attempts, self.status.delays = self._counts.attempts(), self._counts.delays()
        try:
            self.status.write(self._state / STATUS_FILE)
        except OSError as e:
            _log.error("%s: cannot be written: %s", self._state / STATUS_FILE, e)

    def close(self) -> None:
        """Ends all visits; a POST that does not end soon is left, and its alarm stays pending."""
        self.status.ready = False
        for visit in self._visits.values():
            visit.leave(_FINISH_POST_S)
        deadline = time.monotonic() + 2 * _FINISH_POST_S
        for visit in self._visits.values():
            visit.join(max(0.0, deadline - time.monotonic()))
        self.beat()

    def _folder(self, key: str) -> Path:
        return self._state / "tasks" / Path(key).name

    def _take_up(self, key: str, *, not_before: float = float("-inf")) -> None:
        """Queues ``key``, unless its folder is gone or says that nothing waits; a replay takes that back."""
        folder = self._folder(key)
        if (folder / DRAINED_FILE).exists() or not folder.is_dir():
            self._drained.add(key)
        else:
            self._drained.discard(key)
            self._turns.wait(key, self._lanes[key], not_before=not_before)

    def _note_waiting(self, key: str, visit: Visit) -> None:
        if key in self._lanes:
            self._pending[key], self._ages_s[key] = visit.pending, visit.oldest_age_s

    def _see_off(self, key: str, visit: Visit, now: float) -> None:
        if key not in self._lanes:
            self._turns.forget(key)
            return
        self._note_waiting(key, visit)
        match visit.outcome:
            case Outcome.DRAINED:
                _log.info("task %r (%s): everything has been delivered", visit.task_id, key)
                self._turns.forget(key)
                self._drained.add(key)
            case Outcome.GONE:
                _log.info("%s: its folder is gone", key)
                self._turns.forget(key)
                self._pending[key] = 0
                self._drained.add(key)
            case Outcome.TROUBLE:
                pause_s = self._turns.wait_after_trouble(key, self._lanes[key], now)
                _log.error("%s: left alone for %.0f s: %s", key, pause_s, visit.problem)
            case _:
                self._turns.wait(key, self._lanes[key])


def _lane_of(folder: Path, key: str) -> Hashable:
    """Outboxes with the same addresses have the same lane; one whose addresses cannot be read has its own."""
    try:
        return tuple(sorted(load_addressee(folder).report_urls))
    except StreamServerError:
        return key


def _waiting_in(folder: Path) -> tuple[int, float]:
    """How many alarms wait there, as was written last, and for how long the oldest has."""
    status = ClientStatus.read(folder / CLIENT_FILE) or ClientStatus()
    return status.pending, status.oldest_age_s


if __name__ == "__main__":
    sys.exit(main())
