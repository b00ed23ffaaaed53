"""What a process asks of the kernel about its own life."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from collections.abc import Container

PARENT_PID_VARIABLE = "STREAMSERVER_PARENT_PID"
"""Tells a process of ours with whom it has to die."""

_SWEEP_S = 60.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Sweeper:
    """Keeps the memory of a process that runs for months flat: rings of garbage are collected once a minute.

    By itself Python looks for old ones only after many thousand new objects, which a quiet process makes in hours. What
    start-up has made is taken out of the collector's sight first, so that a sweep takes a millisecond or two.
    """

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()
        self._next_at = time.monotonic() + _SWEEP_S

    def tend(self) -> None:
        """Sweeps when it is time; called in every round of the process's loop."""
        if time.monotonic() >= self._next_at:
            gc.collect()
            self._next_at = time.monotonic() + _SWEEP_S


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


def die_with_starter() -> None:
    """``die_with_parent`` for a process that was told who that is; one that was started by hand lives on."""
    parent = os.environ.get(PARENT_PID_VARIABLE, "")
    if parent.isdigit():
        die_with_parent(int(parent))


def adopt_orphans() -> bool:
    """Makes this process the parent of descendants whose own parent has ended; ``False`` where the kernel refuses.

    Who calls it has to wait for them (``bury_strangers``): the first process of a container may not.
    """
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def bury_strangers(known: Container[int]) -> int:
    """Waits for dead children whose pid is not in ``known``, which others wait for; returns how many there were.

    The kernel shows one dead child at a time, so those behind a known one come at a later call.
    """
    count = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return count
        if ended is None or ended.si_pid in known:
            return count
        os.waitpid(ended.si_pid, 0)
        count += 1
