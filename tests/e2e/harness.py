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
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0
"""How long a test waits for something that takes a second or two on a quiet machine."""


class Ledger(ThreadingHTTPServer):
    """A receiver that keeps every report with its id; ``failing`` makes it answer 503."""

    daemon_threads = True

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
        self.client_port_base = free_port()
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
        with urllib.request.urlopen(request, timeout=30) as response:
            reply: dict[str, Any] = json.loads(response.read())
        return reply

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.post("/task/create", body)

    def query(self, task_id: str) -> dict[str, Any]:
        """The ``Result`` of a query, whatever its ``Code``; empty when the task is unknown."""
        return self.post("/task/query", {"TaskID": task_id}).get("Result") or {}

    def wait_state(self, task_id: str, *states: str) -> dict[str, Any]:
        """Waits until the task is in one of ``states`` and returns its status."""
        wait_for(
            lambda: self.query(task_id).get("State") in states, f"{task_id} is {states}", lambda: self.query(task_id)
        )
        return self.query(task_id)

    def processes(self) -> dict[int, str]:
        """Pid -> command line of every process of this server, found by its state folder in the environment."""
        marker = f"STREAMSERVER_STATE_DIR={self.state_dir}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
        return found

    def pids(self, word: str) -> list[int]:
        """Pids of this server's processes whose command line holds ``word``."""
        return [pid for pid, command in self.processes().items() if word in command]


@contextmanager
def server(state_dir: Path, **options: Any) -> Iterator[Server]:
    """A running server; afterwards it is stopped and must have left no process behind."""
    one = Server(state_dir, **options)
    one.start()
    try:
        yield one
    finally:
        one.stop()
        left = one.processes()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"still running: {left}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_for(
    condition: Callable[[], object], what: str, show: Callable[[], object] = lambda: "", patience_s: float = PATIENCE_S
) -> float:
    """Waits until ``condition`` holds; returns how long it took, fails with ``what`` and ``show()`` if never."""
    start = time.monotonic()
    while time.monotonic() - start < patience_s:
        if condition():
            return time.monotonic() - start
        time.sleep(0.05)
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
