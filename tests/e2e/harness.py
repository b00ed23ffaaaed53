"""The real server on free ports and a receiver that writes down everything it gets, for end-to-end tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.servers.ports import free_port

__all__ = [
    "PATIENCE_S",
    "PROJECT",
    "Ledger",
    "Server",
    "deaf_port",
    "free_port",
    "ledger",
    "server",
    "task",
    "wait_for",
]

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
"""How long a test waits for something that takes a second or two on a quiet machine."""

_WORK_S = 900.0
"""How long a task may compute that is done after some seconds where nobody else wants the processors."""

_CLIENTS = 24
"""So many ports from a server's first one are its clients': this process gives them to nobody else meanwhile."""

_GONE_S = 60.0
"""How long the processes of a server that has ended may still be seen."""

_ANSWER_S = 120.0
"""How long the API may take for one answer."""


class Ledger(ThreadingHTTPServer):
    """A receiver that keeps every report with its id; ``failing`` makes it answer 503."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _LedgerHandler)
        self.rows: list[tuple[str, dict[str, Any]]] = []
        self.failing = False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api/upload"

    def counts(self) -> Counter[str]:
        """How often each alarm id came."""
        with self.lock:
            return Counter(alarm_id for alarm_id, _ in self.rows)

    def reports(self, task_id: str) -> list[dict[str, Any]]:
        """The first copy of each alarm of one task, in order of arrival."""
        with self.lock:
            first = dict(reversed([(alarm_id, report) for alarm_id, report in self.rows]))
            order = dict.fromkeys(alarm_id for alarm_id, _ in self.rows)
        return [first[alarm_id] for alarm_id in order if first[alarm_id]["TaskID"] == task_id]


class _LedgerHandler(BaseHTTPRequestHandler):
    server: Ledger
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert isinstance(body, list) and len(body) == 1, "a report is an array with one element"
        status = 503 if self.server.failing else 200
        if status == 200:
            with self.server.lock:
                self.server.rows.append((self.headers["X-Alarm-Id"], body[0]))
        answer = b'{"code":0,"msg":"ok"}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def ledger() -> Iterator[Ledger]:
    """A running receiver."""
    with Ledger() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Server:
    """One server started as a user would start it, with a state folder and ports of its own."""

    def __init__(self, state_dir: Path, *, project: Path = PROJECT, environment: dict[str, str] | None = None) -> None:
        self.state_dir = state_dir
        self.project = project
        self.port = free_port()
        self.client_port_base, *_ = [free_port() for _ in range(_CLIENTS // 2)]  # each is one of a pair
        self.environment = environment or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the guard and waits until the API answers."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "STREAMSERVER_PORT": str(self.port),
            "STREAMSERVER_STATE_DIR": str(self.state_dir),
            "STREAMSERVER_CLIENT_PORT_BASE": str(self.client_port_base),
            "STREAMSERVER_FILE_DIRS": "/",  # clips lie in folders of the tests' own
            **self.environment,
        }
        # a test or a row that is killed must not leave a server behind that runs for ever
        tether = [sys.executable, "-S", "-m", "streamserver.launchers.tether", str(os.getpid())]
        with (self.state_dir / "start.out").open("ab") as log:
            self.process = subprocess.Popen(
                [*tether, sys.executable, "start.py"], cwd=self.project, env=environment, stdout=log, stderr=log
            )
        wait_for(self._answers, "the API answers")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.state_dir / "start.out").read_text()
        try:
            return bool(self.post("/task/list", {})["Code"] == 0)
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ends the guard and waits for it; returns its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def post(self, path: str, body: Any) -> dict[str, Any]:
        """POSTs JSON and returns the parsed reply; the API always answers 200."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as response:
            reply: dict[str, Any] = json.loads(response.read())
        return reply

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.post("/task/create", body)

    def query(self, task_id: str) -> dict[str, Any]:
        """The ``Result`` of a query, whatever its ``Code``; empty when the task is unknown."""
        return self.post("/task/query", {"TaskID": task_id}).get("Result") or {}

    def wait_status(
        self,
        task_id: str,
        holds: Callable[[dict[str, Any]], object],
        what: str,
        *,
        patience_s: float = PATIENCE_S,
    ) -> dict[str, Any]:
        """Waits for a status of the task of which ``holds`` is true, and returns that very one: the next may differ."""
        seen: list[dict[str, Any]] = [{}]

        def look() -> object:
            seen[0] = self.query(task_id)
            return holds(seen[0])

        wait_for(look, f"{task_id}: {what}", lambda: seen[0], patience_s)
        return seen[0]

    def wait_state(self, task_id: str, *states: str) -> dict[str, Any]:
        """Waits until the task is in one of ``states`` and returns its status."""
        return self.wait_status(task_id, lambda status: status.get("State") in states, f"is {states}")

    def wait_finished(self, task_id: str) -> dict[str, Any]:
        """Waits until the task's source has ended and its client, too; returns its status, whose counts are final.

        FINISHED alone means that the engine has ended; what the client has counted is told some time later.
        """

        def is_over(status: dict[str, Any]) -> bool:
            assert status.get("State") != "FAILED", status
            return status.get("State") == "FINISHED" and not any(one["Port"] for one in status["Algorithms"])

        what = "has finished, and its client has delivered and left"
        return self.wait_status(task_id, is_over, what, patience_s=_WORK_S)

    def processes(self) -> dict[int, str]:
        """Pid -> command line of every process of this server, found by its state folder in the environment."""
        marker = f"STREAMSERVER_STATE_DIR={self.state_dir}".encode()
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):  # of some hundreds, and often: nothing dear here
            with suppress(OSError):
                environment = _content(f"/proc/{name}/environ")
                if marker in environment and marker in environment.split(b"\0"):
                    found[int(name)] = _content(f"/proc/{name}/cmdline").replace(b"\0", b" ").decode()
        return found

    def pids(self, word: str) -> list[int]:
        """Pids of this server's processes whose command line holds ``word``."""
        return [pid for pid, command in self.processes().items() if word in command]

    def pid(self, word: str) -> int:
        """That of its only process with ``word``; one that has just been forked shows its parent's words at first."""
        found: list[int] = []

        def look() -> bool:
            found[:] = self.pids(word)
            return len(found) == 1

        wait_for(look, f"there is one {word}", self.processes)
        return found[0]

    def wait_gone(self) -> None:
        """Waits until no process of this server is there, and ends those that stay; of one that is killed, the kernel
        takes leave in its own time.
        """
        try:
            wait_for(lambda: not self.processes(), "no process stays behind", self.processes, _GONE_S)
        finally:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.readall()


@contextmanager
def server(state_dir: Path, **options: Any) -> Iterator[Server]:
    """A running server; afterwards it is stopped and must have left no process behind."""
    one = Server(state_dir, **options)
    one.start()
    try:
        yield one
    finally:
        one.stop()
        one.wait_gone()


@contextmanager
def deaf_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[int]:
    """A port of loopback where nobody listens: it is held, so that nobody else comes to listen there meanwhile."""
    with socket.socket(type=kind) as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port


def wait_for(
    condition: Callable[[], object], what: str, show: Callable[[], object] = lambda: "", patience_s: float = PATIENCE_S
) -> float:
    """Waits until ``condition`` holds; returns how long it took, fails with ``what`` and ``show()`` if never."""
    start = time.monotonic()
    while (waited_s := time.monotonic() - start) < patience_s:
        if condition():
            return time.monotonic() - start
        time.sleep(min(0.5, max(0.05, waited_s / 20)))  # each look costs the server that it asks some milliseconds
    raise AssertionError(f"not within {patience_s:.0f} s: {what}; {show()}")


def task(
    task_id: str,
    address: str,
    report_url: str,
    *,
    type_: int = 1,
    line: tuple[int, int, int, int] = (0, 0, 0, 0),
    direction: tuple[int, int] = (0, 0),
    interval: int = 1,
    extend: dict[str, Any] | None = None,
    **algorithm: Any,
) -> dict[str, Any]:
    """A create body as application-web writes it; ``direction`` is the arrow from the line's middle."""
    x1, y1, x2, y2 = line
    middle = ((x1 + x2) // 2, (y1 + y2) // 2)
    wire = {
        "LineStart": {"X": x1, "Y": y1},
        "LineEnd": {"X": x2, "Y": y2},
        "DirectStart": {"X": middle[0], "Y": middle[1]},
        "DirectEnd": {"X": middle[0] + direction[0], "Y": middle[1] + direction[1]},
    }
    return {
        "TaskID": task_id,
        "InputSrc": {"SrcID": f"camera of {task_id}", "StreamSrc": {"Address": address}},
        "Algorithm": [
            {
                "Type": type_,
                "TrackInterval": 2,
                "DetectInterval": interval,
                "AlarmInterval": 1,
                "threshold": 50,
                "TargetSize": {"MinDetect": 30, "MaxDetect": 250},
                "DetectInfos": [{"TripWire": wire, "HotArea": []}],
                "Extend": extend or {},
                **algorithm,
            }
        ],
        "Reporting": {"ReportUrlList": [report_url]},
    }
