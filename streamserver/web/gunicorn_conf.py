"""How gunicorn runs the application: ``gunicorn -c streamserver/web/gunicorn_conf.py 'server:create_app()'``.

One worker, for the API waits more than it computes; it dies with the arbiter. Half of its threads may be held by who
watches, by snapshots and by clients that fall silent in mid-request. All logging goes through ``core.logs``.
"""

from __future__ import annotations

import faulthandler
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import glogging

from streamserver.core import logs, processes
from streamserver.core import settings as settings_module
from streamserver.supervise.pulse import web_beat_file

_settings = settings_module.load()
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
_memory = Path("/dev/shm")


class PropagatingLogger(glogging.Logger):  # type: ignore[misc]
    """Hands gunicorn's own records to our handlers."""

    def setup(self, cfg: Any) -> None:
        """Replaces gunicorn's handlers."""
        logs.configure(level=_settings.log_level, role="web")
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(_settings.log_level)


def post_fork(server: Any, worker: Any) -> None:
    """In the worker: no arbiter, no worker."""
    processes.die_with_parent(server.pid)
    worker.beat_file = web_beat_file(_settings.state_path)


def post_worker_init(worker: Any) -> None:
    """In the worker: one that has hung gets SIGABRT, and writes where each thread stands."""
    faulthandler.enable()
    with suppress(OSError):
        worker.beat_file.touch()


bind = f"{_host}:{_settings.port}"
workers = 1
worker_class = "streamserver.web.gunicorn_worker.PatientWorker"
threads = 64
timeout = 8
graceful_timeout = 5
keepalive = 5
accesslog = None
logger_class = PropagatingLogger
control_socket_disable = True
worker_tmp_dir = str(_memory) if _memory.is_dir() else None
chdir = str(settings_module.PROJECT_DIR)
