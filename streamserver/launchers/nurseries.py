"""The supervisor's end of a nursery: starting it, giving it orders, doing without it when it dies or hangs."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import BinaryIO

from streamserver.core.settings import PROJECT_DIR

MODULE = "streamserver.launchers.nursery"
READY = b"ready"
GO = b"go"
MAX_ORDER_BYTES = 65_536

PADDING = "_" * 500
"""An argument that is there for its length: a process's title has only the room of its command line."""

WARM_UP_LIMIT_S = 10.0
"""So long processes had better wait for the first nursery than be started as programs."""

READY_LIMIT_S = 120.0
"""Its imports may take so long on a busy machine."""

ANSWER_LIMIT_S = 3.0
"""A fork that takes longer is given up, and the nursery with it."""

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 600.0
_HEALTHY_AFTER_S = 60.0

_log = logging.getLogger(__name__)


class Nursery:
    """Keeps one nursery running; used by the supervisor's loop alone.

    Args:
        kind: ``engine`` or ``client``.
        environment: of the nursery and all that it forks.
        open_output: where it writes what goes wrong.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        kind: str,
        environment: Mapping[str, str],
        open_output: Callable[[], BinaryIO],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._environment = dict(environment)
        self._open_output = open_output
        self._clock = clock
        self._program: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._ready = False
        self._begun_at = clock()
        self._started_at = self._start_at = self._begun_at
        self._pause_s = _FIRST_PAUSE_S
        self._losses = 0

    @property
    def warming(self) -> bool:
        """True while the first one imports, for ``WARM_UP_LIMIT_S`` at most."""
        return not (self._ready or self._losses) and self._clock() - self._begun_at < WARM_UP_LIMIT_S

    @property
    def pid(self) -> int:
        """Its number; 0 while there is none."""
        return self._program.pid if self._program is not None else 0

    def tend(self) -> None:
        """Starts it, notices that it is ready, or that it has ended, which is followed by a pause that grows."""
        now = self._clock()
        if self._program is None:
            if now >= self._start_at:
                self._start(now)
        elif (code := self._program.poll()) is not None:
            self._lose(f"has ended with {code}")
        elif not self._ready and not self._hear() and now - self._started_at > READY_LIMIT_S:
            self._lose(f"was not ready within {READY_LIMIT_S:.0f} s")

    def fork(self, argv: tuple[str, ...], folder: int, output: int) -> int | None:
        """The pid of a new process, a child of this one; ``None`` when it has to be started as a program.

        Args:
            argv: its command line.
            folder: descriptor of its working directory.
            output: descriptor of its stdout and stderr.
        """
        if self._link is None or not (self._ready or self._hear()):
            return None
        ours, theirs = socket.socketpair()
        with ours:
            ours.settimeout(ANSWER_LIMIT_S)
            try:
                with theirs:
                    socket.send_fds(
                        self._link, [json.dumps({"argv": argv}).encode()], [folder, output, theirs.fileno()]
                    )
                if pid := int(ours.recv(32) or b"0"):  # nothing: it ends, or may not fork
                    ours.send(GO)
                return pid or None
            except OSError as e:  # a time limit is one, too
                self._lose(f"does not answer: {e}")
                return None

    def close(self) -> None:
        """Ends it; what it has forked lives on."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            self._program = None
        self._ready = False

    def _start(self, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = (sys.executable, "-P", "-m", MODULE, self._kind, PADDING)
        try:
            with theirs, self._open_output() as output:
                self._program = subprocess.Popen(
                    command,
                    cwd=PROJECT_DIR,
                    env=self._environment,
                    stdin=theirs.fileno(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as e:
            ours.close()
            self._lose(f"cannot be started: {e}")
            return
        ours.setblocking(False)  # until it is ready: no round of the supervisor waits for it
        self._link, self._started_at = ours, now
        _log.debug("nursery for the %s started, pid %d", self._kind, self._program.pid)

    def _hear(self) -> bool:
        """Whether it has said that it is ready."""
        if self._link is not None:
            with suppress(BlockingIOError, ConnectionError):
                self._ready = self._link.recv(len(READY)) == READY
        if self._ready and self._link is not None:
            self._link.settimeout(ANSWER_LIMIT_S)
            _log.info("nursery for the %s ready after %.1f s", self._kind, self._clock() - self._started_at)
        return self._ready

    def _lose(self, problem: str) -> None:
        now = self._clock()
        if self._ready and now - self._started_at > _HEALTHY_AFTER_S:
            self._pause_s = _FIRST_PAUSE_S
        _log.warning(
            "the nursery for the %s %s; until there is a new one, in %.0f s, it is started as a program",
            self._kind, problem, self._pause_s,
        )  # fmt: skip
        self.close()
        self._losses += 1
        self._start_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
