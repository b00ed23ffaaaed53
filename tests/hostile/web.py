"""The web process alone, as gunicorn runs it, with a state folder of its own: nothing that it accepts is started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.harness import PROJECT, free_port

_PATIENCE_S = 90.0
_COMMAND = [sys.executable, "-m", "gunicorn", "-c", "streamserver/web/gunicorn_conf.py", "server:create_app()"]


@dataclass(frozen=True)
class Web:
    """A running web process: its port, and the pid of the worker that answers."""

    port: int
    worker: int

    def connect(self, timeout_s: float = _PATIENCE_S) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def memory_mb(self) -> float:
        """What the worker holds of memory (proportional set size)."""
        rollup = Path(f"/proc/{self.worker}/smaps_rollup").read_text()
        return float(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) / 1024

    def cpu_s(self) -> float:
        """Processor time that the worker has used so far."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        """How many threads the worker has."""
        return len(list(Path(f"/proc/{self.worker}/task").iterdir()))


@contextmanager
def web(state: Path, environment: dict[str, str] | None = None, *, project: Path = PROJECT) -> Iterator[Web]:
    """A web process that answers; it is ended afterwards."""
    state.mkdir(parents=True, exist_ok=True)
    port = free_port()
    variables = os.environ | {
        "STREAMSERVER_STATE_DIR": str(state),
        "STREAMSERVER_PORT": str(port),
        "STREAMSERVER_CONFIG": str(state / "none.yaml"),
        **(environment or {}),
    }
    with (
        (state / "web.out").open("wb") as log,
        subprocess.Popen(_COMMAND, cwd=project, env=variables, stdout=log, stderr=log) as arbiter,
    ):
        try:
            _wait(port, arbiter, state / "web.out")
            yield Web(port, _worker_of(arbiter.pid))
        finally:
            arbiter.terminate()


def _worker_of(arbiter: int) -> int:
    return int(Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()[0])


def _wait(port: int, arbiter: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not _answers(port):
        assert arbiter.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == 200
        except OSError:
            return False
