"""Keeps the log of those who can write into it without a key from pushing everything else out of its files."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from streamserver.web.limits import Buckets

_PER_S, _AT_ONCE = 0.2, 50.0
_NO_REQUEST = "Invalid request from"
"""How gunicorn begins what it says of bytes that are no request; these are under no limit of requests."""


class FewOfAnybody(logging.Filter):
    """Lets a few records through of what anybody can cause a thousand times a second; these say how many did not.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._room = Buckets(_PER_S, _AT_ONCE, clock=clock)
        self._lock = threading.Lock()
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decides about one record and may add to its message."""
        message = record.getMessage()
        if not message.startswith(_NO_REQUEST):
            return True
        with self._lock:
            if self._room.wait_s(""):
                self._left_out += 1
                return False
            left_out, self._left_out = self._left_out, 0
        if left_out:
            record.msg, record.args = f"{message} ({left_out} more left out before)", None
        return True
