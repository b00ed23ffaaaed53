"""Log handlers, configured in one place; no secret of an address passes them.

What nobody catches goes the same way: Python would write the traceback, with all its message holds, to stderr.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from streamserver.core.repeats import RepeatFilter
from streamserver.core.secrets import hide

_MAX_BYTES = 2_000_000
_BACKUPS = 2


class _MaskingFormatter(logging.Formatter):
    """Plain text in UTC; messages and tracebacks without the secrets of addresses. Time, level and name are ours."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = hide(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return hide(super().formatException(ei))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(__name__).critical("unexpected", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(what: threading.ExceptHookArgs) -> None:
    if what.exc_value is not None and not isinstance(what.exc_value, SystemExit):
        name = what.thread.name if what.thread else "unknown"
        trace = (what.exc_type, what.exc_value, what.exc_traceback)
        logging.getLogger(__name__).critical("thread %s has ended: unexpected", name, exc_info=trace)


def configure(*, level: str = "INFO", file: Path | None = None, role: str = "", hold_repeats: bool = False) -> None:
    """Sends all logging of this process to ``file`` (rotated at 2 MB, two kept) or, without one, to stderr.

    Args:
        level: a standard level name.
        file: the log file; its folder must exist.
        role: what this process is (``web``, ``supervisor``, ``engine``, ``client``), shown in each line.
        hold_repeats: write the same warning or error once a minute, with a count; for what may happen with each frame.
    """
    handler: logging.Handler
    if file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.RotatingFileHandler(file, maxBytes=_MAX_BYTES, backupCount=_BACKUPS)
    tag = f" {role}" if role else ""
    handler.setFormatter(
        _MaskingFormatter(f"%(asctime)s.%(msecs)03dZ{tag} %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    if hold_repeats:
        handler.addFilter(RepeatFilter())
    root.addHandler(handler)
    root.setLevel(level)
    sys.excepthook, threading.excepthook = _log_uncaught, _log_uncaught_in_thread
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
