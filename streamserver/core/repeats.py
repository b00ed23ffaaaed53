"""Keeps a log readable when the same thing goes wrong with every frame."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 256


class RepeatFilter(logging.Filter):
    """Lets a record through once in ``interval_s``; the next one says how many like it were left out.

    Records are alike when logger, level, text and arguments are. What is below WARNING always passes.

    Args:
        interval_s: how long the repeats of a record are held back.
        clock_s: a clock in seconds.
    """

    def __init__(self, *, interval_s: float = 60.0, clock_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Decides about one record and may add to its message."""
        if record.levelno < logging.WARNING:
            return True
        try:
            key = (record.name, record.levelno, record.getMessage())
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the text: the handler says so
            return True
        with self._lock:
            since, held_back = self._seen.get(key, (-self._interval_s, 0))
            now = self._clock_s()
            if now - since < self._interval_s:
                self._seen[key] = (since, held_back + 1)
                return False
            self._seen[key] = (now, 0)
            self._seen.move_to_end(key)
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        if held_back:
            record.msg, record.args = f"{key[2]} (and {held_back} times more since the last such line)", None
        return True
