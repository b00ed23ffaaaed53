"""Ports that others have: before the server starts, between the look and the client's bind, after a client's death."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from streamserver.core import failpoints
from streamserver.supervise.ports import can_listen
from tests.chaos.context import Context, Outcome, judged
from tests.chaos.feeder import Feeder, dead_camera_task, wait_client
from tests.chaos.targets import Role, Target, kill, of_role
from tests.chaos.world import Receivers, task_ids
from tests.e2e.harness import Server, wait_for

FAULT = "ports 10001-10020 taken, before start and between check and bind"
PASS = "the next port, reported truly"
ORDER = 100

_TAKEN = 20
_FULL_GRABS, _FULL_DEATHS = 20, 10
_POINT = "start.prepared"
_PAUSE_S = 2.0
"""Between the look at a port and the start of the client: time for the harness to take it."""

_ATTEMPTS = 20
"""A stranger that comes too late, on a machine that is busy, comes again: what happens then is what is tried."""

_NOBODYS = (11_000, 19_000)
"""Below the ports that tests/servers/ports.py deals out, and those that the kernel does."""

_FULL_TOGETHER = 4


def run(context: Context) -> Outcome:
    """One server over all three situations; every third program that is in the way speaks HTTP itself."""
    points = context.folder / "points"
    points.mkdir()
    environment = {failpoints.VARIABLE: f"{_POINT}=sleep:{_PAUSE_S}", failpoints.DIR_VARIABLE: str(points)}
    server = Server(context.folder / "state", project=context.project, environment=environment)
    grabs, deaths = context.count(_FULL_GRABS), context.count(_FULL_DEATHS)
    with Receivers(1) as receivers, ExitStack() as strangers:
        server.client_port_base = _take_range(context, strangers)
        (points / _POINT).write_text("..")  # not for the first tasks
        trial = _Trial(server, receivers, strangers, points / _POINT)
        together = context.count(_FULL_TOGETHER, least=2)
        server.start()
        try:
            trial.taken_before(together)
            for number in range(grabs):
                context.say(f"ports: {number} of {grabs} taken between")
                trial.taken_between(number)
            for number in range(deaths):
                trial.taken_after_a_death(number)
            trial.all_true()
        finally:
            server.stop()
    figure = (
        f"{_TAKEN} taken before, {grabs} between check and bind, {deaths} after a client's death: {len(trial.tasks)} "
        f"tasks RUNNING, {len(trial.complaints)} ports that are not as reported"
    )
    return judged(figure, trial.complaints)


class _Trial:
    """One server whose ports others want."""

    def __init__(self, server: Server, receivers: Receivers, strangers: ExitStack, point: Path) -> None:
        self.complaints: list[str] = []
        self.tasks: dict[str, Feeder] = {}
        self._server = server
        self._receivers = receivers
        self._strangers = strangers
        self._point = point

    def taken_before(self, count: int) -> None:
        """Tasks get the first ports behind those that are taken."""
        first = self._server.client_port_base + _TAKEN
        names = [f"before{number}" for number in range(count)]
        for name in names:
            self._create(name)
        ports = sorted(self._check(name) for name in names)
        if ports != list(range(first, first + len(names))):
            self.complaints.append(f"expected the ports from {first}, got {ports}")

    def taken_between(self, number: int) -> None:
        """The supervisor has chosen a port and looked at it; before the client binds, somebody else does."""
        for attempt in range(_ATTEMPTS):
            name = f"between{number}" + f" again {attempt}" * bool(attempt)
            self._point.unlink(missing_ok=True)  # the next start pauses
            self._create(name)
            chosen = self._chosen(name)
            if self._obstruct(chosen, speaks_http=number % 3 == 0):
                break
            self._delete(name, keep=False)
        else:
            raise AssertionError(f"a stranger came too late {_ATTEMPTS} times")
        port = self._check(name)
        if not chosen < port:
            self.complaints.append(f"{name}: {chosen} was taken, and the next is {port}")
        self._delete(name, keep=number % 4 == 0)

    def taken_after_a_death(self, number: int) -> None:
        """A client dies, and before the next one starts its port is gone."""
        name = sorted(self.tasks)[number % len(self.tasks)]
        for _ in range(_ATTEMPTS):
            old = wait_client(self._server, name)
            if self._kill_and_obstruct(name, old, speaks_http=number % 2 == 0):
                break
        wait_for(lambda: self._port(name) not in (0, old), f"{name} has another port than {old}")
        self._check(name)

    def _kill_and_obstruct(self, name: str, port: int, *, speaks_http: bool) -> bool:
        """Kills the task's client and takes its port; False when the next client was faster."""
        killed = self._clients(name)
        for one in killed:
            kill(one)
        taken: list[bool] = []

        def decided() -> bool:
            if self._obstruct(port, speaks_http=speaks_http):
                taken.append(True)
            new = {one.pid for one in self._clients(name)} - {one.pid for one in killed}
            return bool(taken) or (bool(new) and self._server.query(name).get("State") == "RUNNING")

        wait_for(decided, f"port {port} is taken", lambda: self._server.query(name))
        return bool(taken)

    def _obstruct(self, port: int, *, speaks_http: bool) -> bool:
        """From now on a stranger listens on ``port``; False when somebody does already."""
        try:
            self._strangers.enter_context(_stranger(port, speaks_http=speaks_http))
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def all_true(self) -> None:
        """In the end each task still answers where its status says."""
        for name in sorted(self.tasks):
            self._check(name)
        ports = [self._port(name) for name in self.tasks]
        if len(set(ports)) < len(ports):
            self.complaints.append(f"two tasks on one port: {ports}")

    def _create(self, name: str) -> None:
        assert (reply := self._server.create(dead_camera_task(name, self._receivers.urls)))["Code"] == 0, reply
        self.tasks[name] = Feeder()

    def _delete(self, name: str, *, keep: bool) -> None:
        """Most tasks go again, so that the machine is not full of engines."""
        if not keep:
            assert (reply := self._server.post("/task/delete", {"TaskID": name}))["Code"] == 0, reply
            del self.tasks[name]

    def _check(self, name: str) -> int:
        """The task runs, and on its reported port its own client takes a frame; returns the port."""
        port = wait_client(self._server, name)
        try:
            self.tasks[name].raise_alarms(port, 1)
            wait_for(
                lambda: len(self.tasks[name].promised) <= sum(row.task_id == name for row in self._receivers.all()),
                f"the alarm of {name} comes",
                patience_s=120.0,
            )
        except (AssertionError, OSError, ValueError, http.client.HTTPException) as e:
            self.complaints.append(f"{name}: port {port} is reported, but: {e!r}"[:300])
        return port

    def _port(self, name: str) -> int:
        algorithms: list[dict[str, Any]] = self._server.query(name).get("Algorithms", [])
        return int(algorithms[0]["Port"]) if algorithms else 0

    def _chosen(self, name: str) -> int:
        """The port in the task's files, which are written before the client starts."""
        folder = self._server.state_dir / "tasks"
        wait_for(lambda: name in task_ids(self._server.state_dir).values(), f"{name} is prepared")
        key = next(key for key, task_id in task_ids(self._server.state_dir).items() if task_id == name)
        return int(json.loads((folder / key / "client.json").read_text())["port"])

    def _clients(self, name: str) -> list[Target]:
        """The task's clients that run."""
        keys = {key for key, task_id in task_ids(self._server.state_dir).items() if task_id == name}
        return [target for target in of_role(self._server, Role.CLIENT) if target.key in keys]


def _take_range(context: Context, strangers: ExitStack) -> int:
    """Finds twice ``_TAKEN`` free ports in a row and takes the first half; returns the first."""
    while True:
        base = context.random.randrange(*_NOBODYS)
        if all(can_listen("0.0.0.0", port) for port in range(base, base + 2 * _TAKEN)):
            break
    for port in range(base, base + _TAKEN):
        strangers.enter_context(_stranger(port, speaks_http=port % 3 == 0))
    return base


@contextmanager
def _stranger(port: int, *, speaks_http: bool) -> Iterator[None]:
    """Somebody else's program on ``port``: one that says nothing, or one that answers every POST with success."""
    if speaks_http:
        with ThreadingHTTPServer(("127.0.0.1", port), _Stranger) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            yield
            server.shutdown()
            thread.join()
    else:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen()
            yield


class _Stranger(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"message": "I am somebody else", "response": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
