"""Log handlers, configured in one place; no secret of an address passes them."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time
from pathlib import Path

from streamserver.core.repeats import RepeatFilter
from streamserver.core.secrets import hide

_MAX_BYTES = 2_000_000
_BACKUPS = 2


class _MaskingFormatter(logging.Formatter):
    """Plain text in UTC without the secrets of addresses, tracebacks included."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


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
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
