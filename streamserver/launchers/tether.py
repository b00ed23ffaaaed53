"""Runs a program that is not ours so that it dies with its parent.

``python -m streamserver.launchers.tether PARENT_PID PROGRAM ARGUMENT…``

The request to the kernel survives ``exec``, so the program needs to know nothing of it. A ``preexec_fn`` would do the
same, but is not safe in a process with threads.
"""

from __future__ import annotations

import os
import signal
import sys

from streamserver.core.exitcodes import USAGE
from streamserver.core.processes import die_with_parent


def main(arguments: list[str]) -> int:
    """Becomes the program ``arguments[1:]``, or returns an exit code when it cannot be run."""
    die_with_parent(int(arguments[0]))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execv(arguments[1], arguments[1:])  # noqa: S606 - the command that it is given  # nosec B606
    except OSError as e:
        sys.stderr.write(f"'{arguments[1]}' cannot be run: {e.strerror}\n")
    return USAGE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
