"""How gunicorn runs the application: ``gunicorn -c streamserver/web/gunicorn_conf.py 'server:create_app()'``.

One worker, for the API waits more than it computes; it dies with the arbiter. A quarter of its threads may be held by
who watches, and half by large bodies on their way; connections that wait hold none (``web.gunicorn_worker``). All
logging goes through ``core.logs``.
"""

from __future__ import annotations

import faulthandler
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from gunicorn import glogging

from streamserver.core import logs, processes, tls
from streamserver.core import settings as settings_module
from streamserver.core.errors import ConfigError
from streamserver.supervise.pulse import web_beat_file
from streamserver.web import places
from streamserver.web.log_filter import FewOfAnybody

processes.harden()

_settings = settings_module.load()
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
_memory = Path("/dev/shm")  # noqa: S108 - memory of the system, no name of ours in it  # nosec B108


def _tls_files() -> tuple[str, str] | None:
    try:
        return tls.files(_settings)
    except ConfigError as e:
        sys.exit(str(e))


def _log_to_file() -> None:
    logs.configure_file(_settings, _settings.state_path, "web", console=True)


class PropagatingLogger(glogging.Logger):  # type: ignore[misc]
    """Hands gunicorn's own records to our handlers."""

    def setup(self, cfg: Any) -> None:
        """Replaces gunicorn's handlers."""
        _log_to_file()
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.addFilter(FewOfAnybody())
        self.error_log.setLevel(_settings.log_level)


def post_fork(server: Any, worker: Any) -> None:
    """In the worker: no arbiter, no worker."""
    processes.die_with_parent(server.pid)
    _log_to_file()  # with a descriptor of its own: the lock on it is what keeps two from rotating at once
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
worker_connections = places.connections()
limit_request_line = 8190
limit_request_fields = 64
limit_request_field_size = 8190
forwarder_headers = ""  # nobody in front sets SCRIPT_NAME or PATH_INFO, or has a say in what the caller's address is
forwarded_allow_ips = ""
sendfile = False  # it would wait in a thread for the client to take the file
timeout = 8
graceful_timeout = 5
keepalive = 5
accesslog = None
logger_class = PropagatingLogger
control_socket_disable = True
worker_tmp_dir = str(_memory) if _memory.is_dir() else None
chdir = str(settings_module.PROJECT_DIR)

if _pair := _tls_files():
    certfile, keyfile = _pair
