"""What a pushed frame costs the client, and the engine that pushes it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.clips import street_1080p
from bench.floor import ENVIRONMENT
from bench.measuring import Memory, cpu_s, in_turns, median, memory_mb, spread
from bench.table import Missing, Row, Say
from streamserver.core.settings import PROJECT_DIR

TITLE = "Client: a pushed frame"
ABOUT = (
    "A real `http_push` element posts one 1080p picture (JPEG of quality 85) with five objects that are to be "
    "reported, 25 times a second, to client.py and to a stand-in for the old server's client.py: "
    "`bench/_old_client.py`, with Flask's own server, the picture decoded with Pillow, five crops, and `requests.post` "
    "in the handler; it decodes once and posts once a frame, the least that the old one can have done. Both report to "
    "a receiver that takes everything. CPU time is that of the client's whole process, outbox with fsync, delivery and "
    "status included. The engine's side is what `http_push` took for JPEG, crops, JSON and posting, so that work which "
    "was only moved shows in the sums. Our engine cuts out the objects that it reports; a sophon-stream program sends "
    "the picture alone, and client.py cuts. client.py runs with the allocator settings that the server gives it."
)

FRAMES = 100
_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Cost:
    """CPU milliseconds a frame."""

    client: float
    engine: float


@dataclass(slots=True)
class _Client:
    """A client that runs, and how its engine speaks to it."""

    process: subprocess.Popen[bytes]
    port: int
    sent: int = 0

    def cost(self, picture: Path, mode: str, pictures: str, frames: int) -> _Cost:
        """Pushes frames to it."""
        options = {"port": self.port, "picture": picture, "mode": mode, "pictures": pictures, "first": self.sent}
        words = [f"--{name}={value}" for name, value in {**options, "frames": frames}.items()]
        self.sent += frames
        before = cpu_s([self.process.pid])
        done = subprocess.run(
            [sys.executable, "-m", "bench._frame_sender", *words],
            cwd=PROJECT_DIR,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
        )
        time.sleep(0.3)  # the last report is still on its way
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return _Cost(1000 * (cpu_s([self.process.pid]) - before) / frames, float(done.stdout))


def measure(rounds: int, say: Say) -> list[Row]:
    """Both clients, with and without something to report."""
    frames = 25 if os.environ.get("BENCH_SHORT") else FRAMES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        picture = _picture(folder)
        receiver = stack.enter_context(_receiver())
        old = stack.enter_context(_old_client(receiver))
        ours = stack.enter_context(_our_client(folder / "ours", receiver))
        binary = stack.enter_context(_our_client(folder / "binary", receiver))
        subjects = {
            "old": (old, "bare", "always"),
            "ours": (ours, "events", "on_demand"),
            "binary": (binary, "bare", "always"),
            "old, quiet": (old, "quiet", "always"),
            "ours, quiet": (ours, "quiet", "on_demand"),
        }
        runs = {}
        for name, (client, mode, pictures) in subjects.items():
            client.cost(picture, mode, pictures, 5)  # whatever is loaded with the first frame
            runs[name] = partial(client.cost, picture, mode, pictures, frames)
        found: dict[str, list[_Cost]] = in_turns(rounds, runs)
        memory = {name: memory_mb([client.process.pid]) for name, client in (("old", old), ("ours", ours))}
    for name, costs in found.items():
        say(f"{name}: client {spread([c.client for c in costs])}, engine {spread([c.engine for c in costs])} ms CPU")
    return [*_cost_rows(found), _memory_row(memory["ours"], memory["old"])]


def _cost_rows(found: Mapping[str, list[_Cost]]) -> list[Row]:
    loud, quiet = (found["ours"], found["old"]), (found["ours, quiet"], found["old, quiet"])
    return [
        _row("client, frame with picture and 5 reported objects", *loud, _client, limit=0.4),
        _row("client, likewise, message of a sophon-stream program", found["binary"], found["old"], _client),
        _row("client and engine's push together, 5 reported objects", *loud, _both),
        _row("engine's push, 5 reported objects", *loud, _engine),
        _row("client, frame without event", *quiet, _client),
        _row("engine's push, frame without event", *quiet, _engine),
    ]


def _memory_row(ours: Memory, old: Memory) -> Row:
    return Row(
        measure="client's memory after these frames",
        value=ours.pss,
        unit="MB",
        yardstick="the old way",
        reference=old.pss,
        remark=f"PSS; private {ours.private:.0f} against {old.private:.0f} MB",
    )


def _client(cost: _Cost) -> float:
    return cost.client


def _engine(cost: _Cost) -> float:
    return cost.engine


def _both(cost: _Cost) -> float:
    return cost.client + cost.engine


def _row(
    measure: str, ours: list[_Cost], old: list[_Cost], of: Callable[[_Cost], float], *, limit: float | None = None
) -> Row:
    values = [of(cost) for cost in ours]
    return Row(
        measure=measure,
        value=median(values),
        unit="ms CPU",
        yardstick="the old way",
        reference=median(of(cost) for cost in old),
        limit=limit,
        remark=spread(values),
    )


def _picture(folder: Path) -> Path:
    """A frame of the street as an array of BGR."""
    import av
    import numpy as np

    path = folder / "picture.npy"
    with av.open(str(street_1080p())) as container:
        np.save(path, next(container.decode(video=0)).to_ndarray(format="bgr24"))
    return path


@contextmanager
def _receiver() -> Iterator[str]:
    """Takes every report; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = b'{"code":0,"msg":"ok"}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
            self.wfile.write(head + answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api/upload"
        server.shutdown()
        thread.join()


@contextmanager
def _old_client(url: str) -> Iterator[_Client]:
    port = _free_port()
    with _process(["-m", "bench._old_client", f"--port={port}", f"--url={url}"], PROJECT_DIR, port) as process:
        yield _Client(process, port)


@contextmanager
def _our_client(task_dir: Path, url: str) -> Iterator[_Client]:
    port = _free_port()
    task_dir.mkdir()
    algorithm = {"index": 0, "type": 1, "name": "tripwire", "request": {"Type": 1, "DetectInterval": 1}}
    task = {"run": "r", "task_id": "t1", "src_id": "cam1", "host": "127.0.0.1", "port": port, "replayable": False}
    config = {**task, "report_urls": [url], "algorithms": [algorithm]}
    (task_dir / "client.json").write_text(json.dumps(config))
    with _process([str(PROJECT_DIR / "client.py"), "--config=client.json"], task_dir, port, ENVIRONMENT) as process:
        yield _Client(process, port)


@contextmanager
def _process(
    words: list[str], cwd: Path, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that listens at ``port``, for as long as it is needed."""
    quiet = subprocess.DEVNULL
    environment = {**os.environ, **(environment or {})}
    process = subprocess.Popen([sys.executable, *words], cwd=cwd, env=environment, stdout=quiet, stderr=quiet)
    try:
        _wait_for(process, port)
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Missing(f"a client ended with {process.returncode} instead of listening")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Missing(f"nobody listens at port {port} after {_READY_S:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
