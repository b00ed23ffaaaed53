"""One process of a server: it can be killed, frozen and started again, and never outlives the test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_PATIENCE_S = 60.0


class ServerProcess:
    """A program and those it has started: killed and started again together; use it with ``with``.

    It dies with the thread that started it (or with its process), so start it in one that lives as long.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__

    def command(self) -> list[str]:
        """What to start."""
        raise NotImplementedError

    def told(self) -> bytes:
        """What the program reads from standard input, which is not seen by others."""
        return b""

    def is_up(self) -> bool:
        """True once the server can be used."""
        return True

    def start(self) -> None:
        """Starts it and waits until it can be used."""
        assert self._process is None, "it runs already"
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self.command()]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self._said, stderr=self._said, process_group=0
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.told())
        self._process.stdin.close()
        try:
            wait_until(
                lambda: self._ended() or (self._is_tethered() and self.is_up()),
                lambda: f"{command[4]} is up; {self.said()}",
            )
            assert not self._ended(), f"{command[4]} has ended: {self.said()}"
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kills it, as a power cut does; also when it is frozen, and more than once."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self) -> None:
        """It comes back at the same address."""
        self.stop()
        self.start()

    def revive(self) -> None:
        """Starts it again if it has ended by itself."""
        if self._ended():
            self.restart()

    def freeze(self) -> None:
        """It stops and answers nothing, connections stand: a cable that was pulled."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on after ``freeze``."""
        self._signal(signal.SIGCONT)

    def said(self) -> str:
        """The last of what the program has printed."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-2000:]

    def _is_tethered(self) -> bool:
        """True once setpriv has given way to the program: before, the death of the test would go unnoticed."""
        assert self._process is not None
        command = Path(f"/proc/{self._process.pid}/cmdline").read_bytes()
        return bool(command) and not command.startswith(b"setpriv\0")

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._said.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._said.close()


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Waits a minute at most until ``condition`` holds, else fails with ``what`` has not come about."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {_PATIENCE_S:.0f} s: {what()}"
        time.sleep(0.02)


def port_is_open(port: int) -> bool:
    """True if somebody listens at this port of loopback."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
