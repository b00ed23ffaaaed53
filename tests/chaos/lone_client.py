"""One client process without a server, on a task's folder of its own: rounds of a second where a server takes ten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from streamserver.core.processes import PARENT_PID_VARIABLE
from streamserver.core.status import CLIENT_FILE, ClientStatus
from tests.business.support import start, write_config
from tests.e2e.harness import wait_for

TRIPWIRE = [(1, "tripwire")]
KEY = "0123456789abcdef"


class LoneClient:
    """The real client of ``project``, as the supervisor would start it.

    Args:
        state: the state folder; made if it is not there, with the folder of one task.
        project: the tree whose client.py runs.
        urls: where alarms go.
    """

    def __init__(self, state: Path, project: Path, urls: Iterable[str]) -> None:
        self.state = state
        self.folder = state / "tasks" / KEY
        self._project = project
        self._process: subprocess.Popen[bytes] | None = None
        self.port: int = write_config(self.folder, list(urls), TRIPWIRE, run=KEY, replayable=False)["port"]

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """True unless it runs."""
        return self._process is None or self._process.poll() is not None

    def start(self, **environment: str) -> None:
        """Starts it and waits until it listens."""
        command = [sys.executable, str(self._project / "client.py"), "--config=client.json"]
        given = {
            "STREAMSERVER_STATE_DIR": str(self.state),
            "PYTHONPATH": str(self._project),
            PARENT_PID_VARIABLE: str(os.getpid()),
            **environment,
        }
        self._process = start(command, self.folder, **given)
        wait_for(self._is_ready, "the client is ready", self.output)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits; returns the exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        return self._process.wait(60)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if not self.ended:
            self.end(signal.SIGKILL)

    def output(self) -> str:
        """What it wrote to stdout and stderr."""
        return (self.folder / "client.out").read_text(errors="replace")

    def _is_ready(self) -> bool:
        assert not self.ended, self.output()
        status = ClientStatus.read(self.folder / CLIENT_FILE)
        return status is not None and status.pid == self.pid and status.ready
