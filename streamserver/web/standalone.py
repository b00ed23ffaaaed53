"""Web server and supervisor in one process, for ``server.py``.

No guard is there to start it again: when the state folder was removed under it, or the task database is damaged, it
ends what runs and begins anew by itself; at its opening the database is mended.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from flask import Flask

from streamserver.core import exitcodes, logs, tls
from streamserver.core import settings as settings_module
from streamserver.core.errors import ConfigError, PortError, StateLostError, StoreDamagedError, StreamServerError
from streamserver.core.processes import harden
from streamserver.core.setting_options import OptionParser, add_settings, given_settings, strange_variables
from streamserver.core.settings import Settings
from streamserver.store import TaskStore, store_url
from streamserver.supervise import folders, lock
from streamserver.web import places
from streamserver.web.fresh_start import MOST, WITHIN_S, FreshStarts
from streamserver.web.plain_server import PlainServer

log = logging.getLogger(__name__)

_BACKLOG = 128


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``None`` stands for that of this process."""
    parser = OptionParser(
        prog="server.py",
        usage="server.py [--config FILE] [--port 8001] [--NAME VALUE …]",
        description="stream-server: tasks in, alarms out",
    )
    parser.add_argument(
        "--is_single_process", help="accepted for old scripts and ignored: each task has its own engine"
    )
    parser.add_argument("--config", type=Path, help="settings file instead of configs/server.yaml")
    add_settings(parser)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, create_app: Callable[[Settings], Flask]) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    harden()
    fresh_starts = FreshStarts()
    try:
        settings = _settings(options)
        logs.configure(level=settings.log_level, role="server")
        for warning in strange_variables(os.environ):
            log.warning("%s", warning)
        if options.is_single_process not in (None, "0"):
            log.warning("--is_single_process is ignored: each task has its own engine")
        pair = tls.files(settings)
        with listen(settings.host, settings.port) as listener:
            app = create_app(settings)  # says what is wrong with the state folder, in one line
            logs.configure_file(settings, settings.state_path, "server", console=True)
            folders.tighten(settings.state_path)
            exit_code = _serve(settings, app, listener, tls.Certificate(*pair) if pair else None)
    except PortError as e:
        return _refuse(e, exitcodes.PORT_TAKEN)
    except ConfigError as e:
        return _refuse(e, exitcodes.USAGE)
    except StreamServerError as e:
        return _refuse(e, exitcodes.CRASHED)
    if exit_code == exitcodes.STATE_LOST:
        _begin_anew(fresh_starts)
    return exit_code


def _begin_anew(fresh_starts: FreshStarts) -> None:
    if fresh_starts.note():
        log.warning("the server starts itself anew")
        fresh_starts.begin()
    log.critical("%d fresh starts in %.0f minutes did not help; the server stops", MOST, WITHIN_S / 60)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        PortError: another program has the port.
        ConfigError: the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as e:
        raise ConfigError(f"cannot listen on {host}: {e.strerror}", cure="correct the setting host") from e
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as e:
        listener.close()
        raise _bind_error(host, port, e) from e
    return listener


def _bind_error(host: str, port: int, error: OSError) -> StreamServerError:
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"port {port} on {host} is in use by another program",
            cure=f"stop that one (is a server running already?) or choose another port, e.g. --port={port + 1}",
        )
    return ConfigError(
        f"cannot listen on {host} port {port}: {error.strerror}", cure="correct the settings host and port"
    )


def _settings(options: argparse.Namespace) -> Settings:
    if options.config is not None and not options.config.is_file():
        raise ConfigError(f"--config: there is no file '{options.config}'", cure="correct the path")
    return settings_module.load(file=options.config, options=given_settings(options))


def _refuse(error: StreamServerError, exit_code: int) -> int:
    sys.stderr.write(f"server.py: {error}\n")
    return exit_code


class _Ended:
    """Wakes the main thread: by a signal, or by a thread that ended. A pipe, for signal handlers may take no locks.

    Attributes:
        asked: a signal asked for the end.
        lost: why everything has to be opened anew; empty while it has not.
        threads: names of those that ended.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.asked = False
        self.lost = ""
        self.threads: list[str] = []

    def ask(self, *_: object) -> None:
        """For signal handlers."""
        self.asked = True
        self.tell()

    def tell(self) -> None:
        """Wakes it."""
        os.write(self._writer, b".")

    def wait(self) -> None:
        """Sleeps until ``tell``."""
        os.read(self._reader, 1)


def _serve(settings: Settings, app: Flask, listener: socket.socket, certificate: tls.Certificate | None) -> int:
    """Runs web server and supervisor in threads until a signal comes or one of them ends by itself."""
    ended, stop = _Ended(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended.ask)
    port = listener.getsockname()[1]
    web = PlainServer(listener, app, most=places.connections(), certificate=certificate)
    threads = [threading.Thread(target=_until_end, args=(web.serve_forever, ended), name="web")]
    held = _lock(settings)
    with held or nullcontext():
        if held:
            run = partial(_supervise, settings, held, stop)
            threads.append(threading.Thread(target=_until_end, args=(run, ended), name="supervisor"))
        for thread in threads:
            thread.start()
        log.info("listening on %s://%s:%d, manual at /docs", "https" if certificate else "http", settings.host, port)
        ended.wait()
        crashed = list(ended.threads)
        web.shutdown()
        stop.set()
        for thread in threads:
            thread.join()
    return _verdict(ended, crashed)


def _verdict(ended: _Ended, crashed: list[str]) -> int:
    """The exit code, once nothing runs any more; from here on a signal ends the process by itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    if ended.lost and not ended.asked:
        log.error("%s", ended.lost)
        return exitcodes.STATE_LOST
    for name in crashed:
        log.critical("%s ended unexpectedly; the server stops", name)
    return exitcodes.CRASHED if crashed else exitcodes.FINISHED


def _until_end(work: Callable[[], None], ended: _Ended) -> None:
    try:
        work()
    except (StateLostError, StoreDamagedError) as e:
        ended.lost = str(e)
    finally:
        ended.threads.append(threading.current_thread().name)
        ended.tell()


def _lock(settings: Settings) -> lock.SupervisorLock | None:
    file = lock.lock_file(settings.state_path)
    held = lock.acquire(file)
    if held is None:
        log.info("process %s supervises %s; this one only answers requests", lock.holder(file), settings.state_path)
    return held


def _supervise(settings: Settings, held: lock.SupervisorLock, stop: threading.Event) -> None:
    from streamserver.supervise.supervisor import Supervisor

    try:
        store = TaskStore(store_url(settings.state_path))
        try:
            Supervisor(settings, store, beat=held.beat).run(stop)
        finally:
            store.close()
    except (StreamServerError, OSError):
        held.beat()  # raises StateLostError where the folder is gone, which is the cause then
        raise
