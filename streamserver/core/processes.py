"""What a process asks of the kernel about its own life."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import time
from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path

PARENT_PID_VARIABLE = "STREAMSERVER_PARENT_PID"
"""Tells a process of ours with whom it has to die."""

_UMASK = 0o077
_NO_CORE_BYTES = 1
"""Less than any core file has, so none is written. 0 would do that, too, but where the kernel hands cores to a program
(``core_pattern`` with a pipe) it ignores all limits but 1."""

_SWEEP_S = 60.0
_MOST_PIXELS = 100_000_000
"""Of a picture that OpenCV decodes; its own limit is ten times as many, 3 GB of memory."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_MM = 35
_PR_SET_MM_ARG_END = 9
_ARGUMENTS_START = 45
"""Its place among the fields of /proc/self/stat behind the name; where the arguments end comes next."""


def harden() -> None:
    """From now on this process and its children make files that only their owner can read, and leave no core dumps.

    Both could hold addresses with passwords. OpenCV, where it is loaded later, decodes no picture that fills the
    memory. The first thing that a process does; a second time changes nothing.
    """
    os.umask(_UMASK)
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MOST_PIXELS))
    with suppress(ValueError):  # a limit of 0 that somebody has set already; only root may raise it
        resource.setrlimit(resource.RLIMIT_CORE, (_NO_CORE_BYTES, _NO_CORE_BYTES))


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


def show_as(argv: Sequence[str]) -> None:
    """Lets ``ps`` and /proc show ``argv`` as the command line of this process, as far as its own one was long.

    The package setproctitle would do so, too, but gunicorn uses it wherever it is installed, and then /proc shows no
    environment of its processes any more, by which those of a server are told from another's.
    """
    fields = Path("/proc/self/stat").read_text("latin-1").rpartition(")")[2].split()
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_START + 1])
    text = "\0".join(argv).encode()[: end - start - 1] + b"\0"
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
    # Only root may shorten it; others see zeros behind it, which ps leaves out.
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, *4 * [ctypes.c_ulong]]
    prctl(_PR_SET_MM, _PR_SET_MM_ARG_END, start + len(text), 0, 0)


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
    """``harden``, and ``die_with_parent`` for a process that was told who that is; one started by hand lives on."""
    harden()
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
