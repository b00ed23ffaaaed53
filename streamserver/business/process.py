"""The life of a client process: start, beat, drain, end."""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from streamserver import plugins
from streamserver.business.app import MAX_BODY_BYTES, create_app
from streamserver.business.config import ClientConfig, config_of, load_config, make_parser
from streamserver.business.delivery import make_reporter, readdress
from streamserver.business.opening import last_status, open_outbox, show_counters, show_errors
from streamserver.business.reporter import Reporter
from streamserver.business.server import AppServer
from streamserver.business.session import AlgorithmSession
from streamserver.business.upkeep import TendedOutbox
from streamserver.core import exitcodes, failpoints, logs
from streamserver.core.counters import DeliveryCounts
from streamserver.core.errors import ConfigError, PortError, SampleError, StreamServerError
from streamserver.core.processes import Sweeper, die_with_starter
from streamserver.core.revision import read_revision
from streamserver.core.settings import PROJECT_DIR, Settings, load
from streamserver.core.status import BEAT_INTERVAL_S, CLIENT_FILE, ClientStatus
from streamserver.outbox.box import Outbox

_log = logging.getLogger(__name__)

_STOP = "stop"
_DRAIN = "drain"
_BEAT = "beat"
_SHARED_BEAT_S = 0.2
"""Alarms in quick succession are shown by one beat, so long after the one before."""

_FINISH_REQUESTS_S = 0.5
_FINISH_POST_S = 1.0


def main(arguments: Sequence[str], *, project: Path = PROJECT_DIR) -> int:
    """Runs a client until it is told to end; returns its exit code.

    Args:
        arguments: the command line without the program's name.
        project: the folder with samples/ and config_algorithm.py.
    """
    die_with_starter()
    faulthandler.enable()
    commands: queue.SimpleQueue[str] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, lambda *_: commands.put(_STOP))
    signal.signal(signal.SIGINT, lambda *_: commands.put(_STOP))
    signal.signal(signal.SIGUSR1, lambda *_: commands.put(_DRAIN))
    logs.configure(role="client")
    try:
        options = make_parser().parse_args(arguments)
        settings = load()
        config = config_of(options, settings, lambda: plugins.known_types(project=project))
    except StreamServerError as e:
        _log.error("%s", e)
        return _exit_code_of(e)
    return _Client(config, settings, commands, project).run(drain=options.drain)


def _exit_code_of(error: StreamServerError) -> int:
    for kind, code in (
        (PortError, exitcodes.PORT_TAKEN),
        (SampleError, exitcodes.BAD_SAMPLE),
        (ConfigError, exitcodes.USAGE),
    ):
        if isinstance(error, kind):
            return code
    return exitcodes.CRASHED


class _Client:
    """Owns the parts and all state; signals only put words into ``commands``."""

    def __init__(
        self, config: ClientConfig, settings: Settings, commands: queue.SimpleQueue[str], project: Path
    ) -> None:
        self._config = config
        self._settings = settings
        self._commands = commands
        self._project = project
        self._status = _first_status(config)
        self._known = replace(self._status)
        self._outbox = TendedOutbox(self._open_outbox, on_open=self._make_reporter, on_change=self._wake_reporter)
        self._reporter: Reporter | None = None
        self._counts = DeliveryCounts()
        self._addressing = threading.Lock()
        """Of the reporter and its addresses: it may be made by the thread that opens the outbox."""
        self._draining = False
        self._unshown = False
        self._sessions: list[AlgorithmSession] = []
        self._server: AppServer | None = None

    def run(self, *, drain: bool) -> int:
        """Works until a command ends it; whatever happens, the status says how it ended."""
        self._draining = drain
        try:
            self._prepare_folder()
            self._open(listen=not self._draining)
            self._loop()
            return exitcodes.FINISHED
        except StreamServerError as e:
            _log.error("%s", e)
            self._status.error = str(e)
            return _exit_code_of(e)
        except BaseException as e:
            _log.exception("unexpected error")
            self._status.error = repr(e)
            raise
        finally:
            self._close()

    def _prepare_folder(self) -> None:
        folder = self._config.task_dir
        if folder is None:
            logs.configure(level=self._settings.log_level, role="client", hold_repeats=True)
        else:
            (folder / "run").mkdir(exist_ok=True)
            logs.configure_file(self._settings, folder, "client", task=self._config.task_id, hold_repeats=True)
        self._beat()

    def _look_for_update(self) -> None:
        """Takes over what ``/task/update`` has changed in client.json; whatever goes wrong, what runs goes on."""
        folder = self._config.task_dir
        found = read_revision(folder) if folder is not None else 0
        if folder is None or found in (0, self._config.revision):
            return
        failpoints.hit("update.read")
        problem = ""
        try:
            config = load_config(folder / "client.json")
            if not found == config.revision == read_revision(folder):
                return  # the files are being written again
            self._take_over(config)
        except StreamServerError as e:
            if read_revision(folder) != found:
                return
            problem = f"revision {found} is not in force: {e}"
            _log.error("%s", problem)
        self._config = replace(self._config, revision=found)
        self._status.update_problem = problem
        if not problem:
            self._status.revision = found
            failpoints.hit("update.taken")
            _log.info("revision %d is in force", found)

    def _take_over(self, config: ClientConfig) -> None:
        """Raises ``ConfigError`` or ``SampleError``; of several algorithms, those before the broken one go on anew."""
        mine = self._config
        if [(one.type, one.name) for one in config.algorithms] != [(one.type, one.name) for one in mine.algorithms]:
            raise ConfigError("client.json has other algorithms than this process", cure="restart the task")
        with self._addressing:
            if self._reporter is not None:
                readdress(
                    self._reporter, report_urls=config.report_urls, task_id=config.task_id, settings=self._settings
                )
            self._config = replace(mine, report_urls=config.report_urls, algorithms=config.algorithms)
        for session, spec in zip(self._sessions, config.algorithms, strict=False):  # none where it only delivers
            session.renew(spec)

    def _open(self, *, listen: bool) -> None:
        """Opens the outbox and the port; without an outbox, which is tried again, alarms are refused."""
        config = self._config
        self._outbox.open()
        if listen:
            self._sessions = [self._session(position) for position in range(len(config.algorithms))]
            app = create_app(self._sessions)
            self._server = AppServer(config.host, config.port, app, max_body_bytes=MAX_BODY_BYTES)
            self._server.start()
            self._status.ready, self._status.port = True, self._server.port
            _log.info("task %r: listening on %s:%d", config.task_id, config.host, self._server.port)
        self._status.revision = config.revision
        if self._reporter is not None:
            self._reporter.start()
        self._outbox.start()

    def _open_outbox(self) -> Outbox:
        return open_outbox(self._config.outbox_file, self._settings, self._known)

    def _make_reporter(self, outbox: Outbox) -> None:
        """A client that cannot listen must not begin to deliver: what is under way when it ends may come twice."""
        with self._addressing:
            config = self._config
            self._reporter = make_reporter(
                outbox,
                report_urls=config.report_urls,
                task_id=config.task_id,
                settings=self._settings,
                counts=self._counts,
            )
        if self._outbox.tended:
            self._reporter.start()
        if self._draining:
            self._reporter.hurry()

    def _wake_reporter(self) -> None:
        if self._reporter is not None:
            self._reporter.wake()

    def _session(self, position: int) -> AlgorithmSession:
        spec = self._config.algorithms[position]
        return AlgorithmSession(
            plugins.load(spec.name, project=self._project),
            spec,
            task_id=self._config.task_id,
            src_id=self._config.src_id,
            replayable=self._config.replayable,
            outbox=self._outbox,
            on_alarm=self._note_alarm,
        )

    def _note_alarm(self) -> None:
        """Called by a request's thread: the alarm is delivered at once, and soon shown by the status."""
        self._wake_reporter()
        if not self._unshown:
            self._unshown = True
            self._commands.put(_BEAT)

    def _loop(self) -> None:
        if self._draining:
            self._begin_drain()
        sweeper = Sweeper()
        while True:
            self._look_for_update()
            self._unshown = False
            self._beat()
            sweeper.tend()
            if self._draining and self._drained():
                _log.info("nothing is left to deliver")
                return
            command = self._next_command()
            if command == _STOP:
                return
            if command == _DRAIN and not self._draining:
                self._draining = True
                self._begin_drain()

    def _next_command(self) -> str:
        """What is to be done next; waits for it, at most until the next beat is due."""
        now = time.monotonic()
        due = now + (BEAT_INTERVAL_S / 5 if self._draining else BEAT_INTERVAL_S)
        while True:
            try:
                command = self._commands.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                return _BEAT
            if command != _BEAT:
                return command
            due = min(due, now + _SHARED_BEAT_S)

    def _begin_drain(self) -> None:
        _log.info("draining: no more frames are taken")
        self._status.ready = False
        if self._server is not None:
            self._server.stop()
        if self._reporter is not None:
            self._reporter.hurry()

    def _drained(self) -> bool:
        """Dead letters are not waited for: they want a person."""
        box = self._outbox.box
        return box is not None and not box.counters.pending and not (self._server is not None and self._server.busy)

    def _beat(self) -> None:
        status = self._status
        status.received = sum(session.received for session in self._sessions)
        if self._sessions:
            status.totals = [session.totals for session in self._sessions]
        if self._outbox.box is not None:
            show_counters(status, self._outbox.box)
        status.attempts, status.delays = self._counts.attempts(), self._counts.delays()
        delivery = self._reporter.last_error if self._reporter is not None else ""
        show_errors(status, self._outbox.problem, delivery, *(session.last_error for session in self._sessions))
        if self._config.task_dir is not None and not self._outbox.hangs:
            try:
                status.write(self._config.task_dir / CLIENT_FILE)
            except OSError as e:
                _log.error("%s: cannot be written: %s", self._config.task_dir / CLIENT_FILE, e)

    def _close(self) -> None:
        self._status.ready = False
        if self._server is not None and not self._server.closing:
            self._server.stop()
        deadline = time.monotonic() + _FINISH_REQUESTS_S
        while self._server is not None and self._server.busy and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._reporter is not None and self._reporter.started and not self._reporter.stop(_FINISH_POST_S):
            _log.info("a POST in flight was left; its alarm stays pending")
        self._outbox.stop(_FINISH_POST_S)
        if self._outbox.box is not None:
            self._outbox.box.close()
        self._beat()


def _first_status(config: ClientConfig) -> ClientStatus:
    """The counts of the process before, until the outbox tells them; the rest is this process's own."""
    count = len(config.algorithms)
    last = last_status(config.task_dir, config.run, algorithms=count) if config.task_dir else ClientStatus()
    return ClientStatus(
        run=config.run,
        pid=os.getpid(),
        events=last.events,
        delivered=last.delivered,
        pending=last.pending,
        dropped=last.dropped,
        expired=last.expired,
        dead=last.dead,
        dead_reason=last.dead_reason,
        lost=last.lost,
        per_algorithm=[*last.per_algorithm, *([0] * count)][:count],
        totals=last.totals,
    )
