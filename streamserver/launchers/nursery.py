"""A process that has imported what a task's processes need, and forks them.

``python -m streamserver.launchers.nursery engine`` is started by the supervisor (``launchers/nurseries.py``), with a
socket as standard input over which orders come. It has a single thread, has opened nothing and collects no garbage any
more, so that what it forks begins where a program has finished its imports, and shares those pages. The fork goes
through a process that ends at once: the kernel gives the task's process to the supervisor, which adopts orphans, and
there it stays whatever becomes of the nursery.

An order is a message of JSON (``argv``, as the program would have it) with three descriptors: working directory,
output, and a channel on which the new process says its number and waits for a word. Without that, because the
supervisor waits no longer, it ends and has done nothing.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from streamserver.core.processes import PARENT_PID_VARIABLE, die_with_parent, die_with_starter, show_as
from streamserver.launchers.nurseries import GO, MAX_ORDER_BYTES, READY

_ADOPTION_LIMIT_S = 10.0
_ALL_SIGNALS: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is forked.

    Attributes:
        module: its ``main`` takes the arguments and returns the exit code.
        skip: so many words of the command line come before the arguments.
        needs: imported beforehand; what cannot be imported is left to the process that needs it.
        packages: of these, every module that has no underscore in front.
    """

    module: str
    skip: int
    needs: tuple[str, ...]
    packages: tuple[str, ...] = ()


KINDS = {
    "engine": Kind(
        module="streamserver.worker.__main__",
        skip=3,
        needs=(
            "cv2",
            "numpy.ma",
            "streamserver.worker.app",
            "streamserver.runtime.session",
            "streamserver.media.sources",
            "streamserver.media.video_file",
        ),
        packages=("streamserver.elements", "streamserver.models"),
    ),
    "client": Kind(
        module="streamserver.business.process",
        skip=2,
        needs=("numpy", "requests", "sqlite3", "yaml", "streamserver.plugin_api"),
    ),
}
_WITH_AV = ("av.subtitles.stream", "streamserver.media.av_file", "streamserver.media.av_connection")


def main(arguments: Sequence[str]) -> int:
    """Waits for orders; returns when the supervisor has gone, and, in each process that was forked, with its exit code.

    Raises:
        RuntimeError: an import has started a thread, which a fork would lose.
    """
    parser = argparse.ArgumentParser(prog="python -m streamserver.launchers.nursery", description=__doc__)
    parser.add_argument("kind", choices=KINDS, help="what it forks")
    parser.add_argument("padding", nargs="?", help="room for the command lines of what it forks")
    name = parser.parse_args(arguments).kind
    kind = KINDS[name]
    die_with_starter()
    show_as((sys.executable, "-m", "streamserver.launchers.nursery", name))
    run = preload(kind)
    gc.collect()
    gc.freeze()
    if (threads := len(list(Path("/proc/self/task").iterdir()))) != 1:
        raise RuntimeError(f"an import has started a thread: there are {threads}")
    link = socket.socket(fileno=0)
    link.send(READY)
    order = _wait_for_order(link)
    link.detach()
    if order is None:
        return 0
    argv = order.become()
    sys.argv, sys.orig_argv = argv[kind.skip - 1 :], argv
    return run(argv[kind.skip :])


def preload(kind: Kind) -> Callable[[Sequence[str]], int]:
    """Imports all that processes of this kind need; returns what they run."""
    run: Callable[[Sequence[str]], int] = importlib.import_module(kind.module).main
    for name in _names(kind):
        try:
            importlib.import_module(name)
        except ImportError as e:
            sys.stderr.write(f"not imported beforehand: {name}: {e}\n")
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    return run


def _names(kind: Kind) -> Iterator[str]:
    yield from kind.needs
    for package in kind.packages:
        path = importlib.import_module(package).__path__
        yield from (f"{package}.{m.name}" for m in pkgutil.iter_modules(path) if not m.name.startswith("_"))
    if kind.packages and os.environ.get("STREAMSERVER_DECODER") != "opencv":
        yield from _WITH_AV


@dataclass(frozen=True, slots=True)
class Order:
    """A process to become, in the one that was forked for it; the descriptors are its own."""

    argv: list[str]
    folder: int
    output: int
    channel: int

    def become(self) -> list[str]:
        """Makes this process what a program started with ``argv`` would be; returns that, or ends the process."""
        supervisor = int(os.environ[PARENT_PID_VARIABLE])
        _wait_for_parent(supervisor)
        os.setsid()
        die_with_parent(supervisor)  # before it had its parent for good, the change would have been its death
        os.fchdir(self.folder)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (self.output, 1), (self.output, 2)):
            os.dup2(descriptor, number)
        signal.pthread_sigmask(signal.SIG_SETMASK, _ALL_SIGNALS)
        show_as(self.argv)
        with socket.socket(fileno=self.channel) as channel:
            channel.send(str(os.getpid()).encode())
            if channel.recv(len(GO)) != GO:
                os._exit(0)
        for descriptor in (nothing, self.folder, self.output):
            os.close(descriptor)
        if "numpy.random" in sys.modules:
            sys.modules["numpy.random"].seed()
        return self.argv


def _wait_for_order(link: socket.socket) -> Order | None:
    """Forks for each order; returns it in the process that was forked, and ``None`` here once nobody sends any more."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, MAX_ORDER_BYTES, 3)
        if not message:
            return None
        if not (between := _fork()):
            if _fork() != 0:
                os._exit(0)
            return Order(json.loads(message)["argv"], *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if between > 0:
            os.waitpid(between, 0)


def _fork() -> int:
    """As ``os.fork``, but -1 where the machine has no room for one more: the supervisor hears that nobody answers."""
    try:
        return os.fork()
    except OSError:
        return -1


def _wait_for_parent(pid: int) -> None:
    """Returns once ``pid`` has adopted this process, or ends it where that does not happen."""
    deadline = time.monotonic() + _ADOPTION_LIMIT_S
    while os.getppid() != pid:
        if time.monotonic() > deadline:
            os._exit(0)
        time.sleep(0.0005)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
