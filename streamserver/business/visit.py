"""One outbox of a task that is over, while the courier delivers what waits in it."""

from __future__ import annotations

import logging
import os
import threading
import time
from enum import StrEnum
from pathlib import Path

from streamserver.business import suspects
from streamserver.business.config import load_addressee
from streamserver.business.delivery import make_reporter
from streamserver.business.opening import (
    OUTBOX_FILE,
    last_status,
    may_hold_alarms,
    open_outbox,
    show_counters,
    show_errors,
)
from streamserver.business.reporter import Reporter
from streamserver.business.turns import STAY_S, Progress
from streamserver.core.counters import DeliveryCounts
from streamserver.core.errors import StoreError, StreamServerError
from streamserver.core.leftovers import Drained, forget_drained, mark_drained
from streamserver.core.settings import Settings
from streamserver.core.status import CLIENT_FILE
from streamserver.outbox.box import Outbox

_log = logging.getLogger(__name__)

_LOOK_S = 0.2
_SLACK_S = 2.0
_TOLD = (
    "events",
    "delivered",
    "pending",
    "dropped",
    "expired",
    "dead",
    "dead_reason",
    "lost",
    "last_error",
    "per_algorithm",
)
_STORE_RETRY_S = 2.0


class Outcome(StrEnum):
    """How a visit ended."""

    DRAINED = "drained"
    """Nothing waits, and ``run/drained`` says so."""

    LEFT = "left"
    """It was asked to leave; alarms wait."""

    GONE = "gone"
    """The folder is not there."""

    TROUBLE = "trouble"
    """The outbox cannot be opened or read; ``Visit.problem`` says why."""


class Visit:
    """Opens the outbox in ``folder`` and delivers, in a thread of its own, until nothing waits or it has to leave.

    The task's status file tells how it goes, as the task's client would.

    Args:
        key: the task's key, which names the run.
        folder: the task's folder.
        settings: of the server.
        counts: where POSTs are counted.

    Attributes:
        task_id: whose alarms they are, once that is known.
        outcome: how it ended; ``None`` while it goes on.
        problem: why, after ``TROUBLE``.
        pending: alarms that wait.
        oldest_age_s: for how long the oldest of them has.
        failing: no address takes any.
    """

    def __init__(self, key: str, folder: Path, settings: Settings, counts: DeliveryCounts) -> None:
        self.key = key
        self.task_id = ""
        self.problem = ""
        self.outcome: Outcome | None = None
        self.pending = 0
        self.oldest_age_s = 0.0
        self.failing = False
        self._folder = folder
        self._settings = settings
        self._counts = counts
        self._since = self._moved_at = time.monotonic()
        self._idle = False
        self._settled = -1
        self._patience_s = settings.report_timeout_s + _SLACK_S
        self._finish_s = self._patience_s
        self._leave = threading.Event()
        self._status = last_status(folder, key, algorithms=0)
        self._status.attempts, self._status.delays = {}, []  # the courier tells its own
        self._told: tuple[object, ...] = ()
        self._thread = threading.Thread(target=self._run, name=f"visit-{key}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def leave(self, finish_s: float | None = None) -> None:
        """Asks it to end; what is under way may take ``finish_s`` longer, by default one try of all addresses."""
        if finish_s is not None:
            self._finish_s = finish_s
        self._leave.set()

    def join(self, timeout_s: float) -> None:
        """Waits until it has ended, or for ``timeout_s``."""
        self._thread.join(timeout_s)

    @property
    def ended(self) -> bool:
        """True when ``outcome`` says how."""
        return self.outcome is not None

    @property
    def progress(self) -> Progress:
        """How it goes, for those that wait."""
        return Progress(
            since=self._since,
            moved_at=self._moved_at,
            stuck=self.failing or self._idle,
            patience_s=self._patience_s,
        )

    @property
    def works(self) -> bool:
        """True when an address took an alarm of this outbox lately."""
        return self._moved_at > self._since and not self.failing

    def _run(self) -> None:
        outcome = Outcome.TROUBLE
        suspects.begin(self._folder)
        try:
            outcome = self._work()
        except (StreamServerError, OSError) as e:
            self.problem = str(e)
        except Exception as e:  # noqa: BLE001  one outbox must not stop the others
            _log.exception("%s: unexpected error while delivering", self._folder)
            self.problem = repr(e)
        if outcome is Outcome.TROUBLE and not self._folder.is_dir():
            outcome = Outcome.GONE
        if outcome is Outcome.TROUBLE:
            show_errors(self._status, self.problem)
            self._write_status()
        suspects.end(self._folder)
        self.outcome = outcome

    def _work(self) -> Outcome:
        if not self._folder.is_dir():
            return Outcome.GONE
        if not may_hold_alarms(self._folder) and not self._status.pending:
            mark_drained(self._folder, Drained())
            return Outcome.DRAINED
        addressee = load_addressee(self._folder)
        self.task_id = addressee.task_id
        self._patience_s = self._settings.report_timeout_s * max(1, len(addressee.report_urls)) + _SLACK_S
        outbox = open_outbox(self._folder / OUTBOX_FILE, self._settings, self._status)
        try:
            self._note(outbox, "")
            if self._is_drained(outbox):
                return Outcome.DRAINED
            reporter = make_reporter(
                outbox,
                report_urls=addressee.report_urls,
                task_id=addressee.task_id,
                settings=self._settings,
                counts=self._counts,
            )
            return self._deliver(outbox, reporter)
        finally:
            outbox.close()

    def _deliver(self, outbox: Outbox, reporter: Reporter) -> Outcome:
        reporter.start()
        try:
            while not self._leave.is_set():
                wait_s = _LOOK_S
                try:
                    if outbox.maintain():
                        reporter.wake()
                    self._note(outbox, reporter.last_error, failing=reporter.outage)
                    if self._is_drained(outbox):
                        return Outcome.DRAINED
                    self._idle = (outbox.due_in() or 0.0) > STAY_S
                except StoreError as e:  # closing it now would forget what was delivered and could not be recorded
                    self._note(outbox, str(e), failing=True)
                    wait_s = _STORE_RETRY_S
                if not self._folder.is_dir():
                    return Outcome.GONE
                self._leave.wait(wait_s)
            return Outcome.LEFT
        finally:
            self._end(outbox, reporter)

    def _end(self, outbox: Outbox, reporter: Reporter) -> None:
        """Ends the reporter after the POSTs under way, so that none of them is repeated."""
        begun = time.monotonic()
        while not reporter.stop(_LOOK_S) and time.monotonic() - begun < self._finish_s:
            pass
        self._note(outbox, reporter.last_error, failing=self.failing)

    def _note(self, outbox: Outbox, error: str, *, failing: bool = False) -> None:
        counters = outbox.counters
        settled = counters.delivered + counters.dead
        if settled > self._settled >= 0:
            self._moved_at = time.monotonic()
        self._settled = settled
        self.failing = failing
        self.pending, self.oldest_age_s = counters.pending, outbox.oldest_age_s
        show_counters(self._status, outbox)
        show_errors(self._status, error if counters.pending else "")
        self._write_status()

    def _is_drained(self, outbox: Outbox) -> bool:
        """Marks the folder when nothing waits, and looks again: a replay may have come before the mark."""
        if outbox.counters.pending or outbox.due_in() is not None:
            return False
        dead = outbox.counters.dead
        mark_drained(self._folder, Drained(dead))
        if outbox.due_in() is not None:
            forget_drained(self._folder)
            return False
        return True

    def _write_status(self) -> None:
        """Writes the status file if it says anything new."""
        status = self._status
        status.pid, status.ready, status.error = os.getpid(), False, ""
        told = tuple(getattr(status, name) for name in _TOLD)
        if told == self._told:
            return
        try:
            status.write(self._folder / CLIENT_FILE)
            self._told = told
        except OSError as e:
            _log.warning("%s: cannot be written: %s", self._folder / CLIENT_FILE, e.strerror)
