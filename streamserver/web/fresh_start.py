"""How a server without a guard begins anew, by ``exec``, when what it has open is gone; a few times, not for ever."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

MOST = 5
"""So many fresh starts within ``WITHIN_S`` did not help, and one more would not."""

WITHIN_S = 600.0

_VARIABLE = "STREAMSERVER_STARTED_ANEW"


class FreshStarts:
    """Remembers the fresh starts of this process across each ``exec``, in a variable that no child sees.

    Args:
        environment: of this process.
        clock: monotonic seconds of this boot.
    """

    def __init__(
        self, environment: MutableMapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._environment = environment
        self._clock = clock
        self._times: list[float] = []
        for word in environment.pop(_VARIABLE, "").split():
            with suppress(ValueError):
                self._times.append(float(word))

    def note(self) -> bool:
        """Counts one more that is due now; ``False`` when there were too many lately."""
        now = self._clock()
        self._times = [at for at in self._times if 0 <= now - at < WITHIN_S]
        if len(self._times) >= MOST:
            return False
        self._times.append(now)
        return True

    def begin(self) -> None:
        """Becomes the same program with the same arguments again; files and sockets of before are closed by it.

        Raises:
            OSError: the program cannot be run any more.
        """
        logging.shutdown()
        self._environment[_VARIABLE] = " ".join(map(str, self._times))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this program again  # nosec B606
