"""What a process asks of the kernel about its own life."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with_the_reader() -> None:
    """Lets this process end without a word when whoever reads its output has gone, as ``| head`` does."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def die_with_parent(expected_parent: int | None = None) -> None:
    """Asks the kernel to SIGKILL this process when the thread that started it ends.

    Args:
        expected_parent: pid of the parent; if it is gone already, this process exits at once.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(0)
