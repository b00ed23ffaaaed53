"""What 1,000 slow connections do to the API, with each gunicorn worker that could serve it."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.measuring import percentile
from bench.running import short
from bench.table import Missing, Row, Say
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.tls import unverified
from tests.servers.ports import free_port

TITLE = "Slow connections"
ABOUT = (
    "One real web process. 1,000 connections from one other process, in equal parts: connected and silent; half a "
    "head; a head whose body does not come; a body of which a byte comes each second; one in chunks that never ends; a "
    "request whose reply is not read; one whose reply is read, but not closed; and a connection kept alive after its "
    "answer. Whichever the server ends is opened anew, but for those that the client does not close. Meanwhile "
    "/task/list is asked ten times a second, each time on a new connection; p95 is over all its requests, those that "
    "got no answer within 10 s counted with these 10 s. The yardstick is the same server when nobody else is connected."
)

CONNECTIONS = 1000
_LIMIT_MS = 500.0
_PATIENCE_S = 10.0
_EVERY_S = 0.1

_HEAD = b"POST /task/query HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
KINDS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "half a head": (_HEAD, b""),
    "no body": (_HEAD + b"Content-Length: 900\r\n\r\n", b""),
    "dripping body": (_HEAD + b"Content-Length: 900\r\n\r\n{", b" "),
    "endless chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
    "reply not read": (b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20, b""),
    "not closed": (b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b""),
    "kept alive": (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}
"""What each kind says at first, and then each second."""

WORKERS = {
    "PatientWorker": "",
    "gunicorn gthread": "worker_class = 'gthread'",
    "gunicorn gevent": "worker_class = 'gevent'",
}
_CONF = "from streamserver.web.gunicorn_conf import *\n{line}\n"


@dataclass
class Found:
    """What one server did; lists by the second or the request."""

    times_ms: list[float] = field(default_factory=list)
    unanswered: int = 0
    reopened: int = 0
    memory_mb: list[float] = field(default_factory=list)
    descriptors: int = 0


def measure(rounds: int, say: Say) -> list[Row]:
    """See ``ABOUT``; the hold is 60 s, however many rounds."""
    hold_s = 10.0 if short() else 60.0
    rows = []
    for name, line in WORKERS.items():
        try:
            with served(line) as (port, pid):
                quiet = besieged(port, pid, 0, min(10.0, hold_s))
                say(f"{name}: {CONNECTIONS} connections for {hold_s:g} s")
                rows += list(_of_worker(name, quiet, besieged(port, pid, CONNECTIONS, hold_s)))
        except Missing as e:
            say(str(e))
    return rows


def _of_worker(name: str, quiet: Found, found: Found) -> Iterator[Row]:
    is_ours = name == "PatientWorker"
    asked = len(found.times_ms)
    yield Row(
        measure=f"{name}: /task/list, p95",
        value=percentile(found.times_ms, 0.95),
        unit="ms",
        yardstick="nobody else",
        reference=percentile(quiet.times_ms, 0.95),
        limit=_LIMIT_MS if is_ours else None,
        limit_of="value",
        remark=f"p50 {percentile(found.times_ms, 0.5):.3g}, most {max(found.times_ms):.4g}; "
        f"{found.unanswered} of {asked} without an answer; {found.reopened} connections ended by the server",
    )
    half = len(found.memory_mb) // 2
    yield Row(
        measure=f"{name}: resident memory, most of the second half",
        value=max(found.memory_mb[half:]),
        unit="MB",
        yardstick="most of the first half",
        reference=max(found.memory_mb[: half or 1]),
        limit=1.1 if is_ours else None,
        remark=f"nobody else: {max(quiet.memory_mb):.0f} MB; descriptors, most: {found.descriptors}",
    )


@contextlib.contextmanager
def served(line: str, environment: dict[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """The web process alone with ``line`` added to its configuration: its port, and the pid of gunicorn's worker."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        conf = Path(folder) / "conf.py"
        conf.write_text(_CONF.format(line=line))
        port = free_port()
        given = {"STATE_DIR": folder, "PORT": str(port), "CONFIG": f"{folder}/none.yaml"}
        variables = {f"STREAMSERVER_{name}": value for name, value in (given | (environment or {})).items()}
        command = [sys.executable, "-m", "gunicorn", "-c", str(conf), "server:create_app()"]
        with (Path(folder) / "said").open("w+") as said:
            process = subprocess.Popen(
                command, cwd=PROJECT_DIR, env=os.environ | variables, stdout=said, stderr=subprocess.STDOUT
            )
            try:
                yield port, _worker(process, port, Path(said.name))
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _worker(process: subprocess.Popen[bytes], port: int, said: Path) -> int:
    """The pid of gunicorn's worker, once the port is open and it had time to import."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if workers := children.read_text().split():
                time.sleep(1.5)
                return int(workers[0])
        time.sleep(0.1)
    raise Missing(f"a server does not start: {said.read_text()[-500:]}")


def besieged(port: int, pid: int, connections: int, hold_s: float, *, tls: bool = False) -> Found:
    """Asks for ``hold_s`` while so many slow connections are held by another process."""
    found = Found()
    with _besiegers(port, connections, tls=tls) as program:
        until = time.monotonic() + hold_s
        while (start := time.monotonic()) < until:
            found.unanswered += not _ask(port, tls=tls)
            found.times_ms.append((time.monotonic() - start) * 1000)
            found.memory_mb.append(_memory_mb(pid))
            found.descriptors = max(found.descriptors, len(list(Path(f"/proc/{pid}/fd").iterdir())))
            time.sleep(max(0.0, _EVERY_S - (time.monotonic() - start)))
        found.reopened = _ended_by_server(program)
    return found


def _ask(port: int, *, tls: bool) -> bool:
    try:
        if tls:
            context = unverified()
            asked: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=_PATIENCE_S, context=context
            )
        else:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        with contextlib.closing(asked) as connection:
            connection.request("GET", "/task/list")
            response = connection.getresponse()
            response.read()
            return response.status == 200
    except (OSError, http.client.HTTPException):
        return False


def _memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def _besiegers(port: int, connections: int, *, tls: bool) -> Iterator[subprocess.Popen[str] | None]:
    if not connections:
        yield None
        return
    command = [sys.executable, "-m", "bench.tables.slow", str(port), str(connections), str(int(tls))]
    program = subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout
        program.stdout.readline()
        yield program
    finally:
        program.kill()
        program.communicate()


def _ended_by_server(program: subprocess.Popen[str] | None) -> int:
    return int(program.communicate("\n", timeout=60)[0] or 0) if program else 0


class Siege:
    """So many slow connections, each opened anew when the server ends it; for a process of its own."""

    def __init__(self, port: int, connections: int, *, tls: bool = False) -> None:
        self._port = port
        self._tls = unverified() if tls else None
        self._poller = selectors.DefaultSelector()
        self._kinds = [*KINDS, "handshake begun"] if tls else list(KINDS)
        self._all = {number: self._open(number) for number in range(connections)}
        self.reopened = 0

    def hold(self, over: threading.Event) -> None:
        """Until it is ``over``."""
        drip_at = time.monotonic() + 1
        while not over.is_set():
            for key, _ in self._poller.select(0.1):
                self._hear(key)
            if time.monotonic() > drip_at:
                drip_at = time.monotonic() + 1
                self._drip()

    def close(self) -> None:
        """Closes all of them."""
        for connection in self._all.values():
            connection.close()
        self._poller.close()

    def _open(self, number: int) -> socket.socket:
        kind = self._kinds[number % len(self._kinds)]
        connection = socket.socket()
        if kind == "reply not read":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(_PATIENCE_S)
        with contextlib.suppress(OSError):
            connection.connect(("127.0.0.1", self._port))
            if kind == "handshake begun":
                connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            else:
                connection = self._tls.wrap_socket(connection) if self._tls else connection
                connection.sendall(KINDS[kind][0])
        connection.setblocking(False)
        if kind != "reply not read":
            self._poller.register(connection, selectors.EVENT_READ, number)
        return connection

    def _hear(self, key: selectors.SelectorKey) -> None:
        assert isinstance(key.fileobj, socket.socket)
        number: int = key.data
        try:
            if key.fileobj.recv(65_536):
                return
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as e:
            if e.errno == errno.EBADF:
                raise
        if self._kinds[number % len(self._kinds)] == "not closed":
            self._poller.unregister(key.fileobj)  # stays as it is: the server has closed its half
            return
        self._again(number)

    def _again(self, number: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._poller.unregister(self._all[number])
        self._all[number].close()
        self.reopened += 1
        self._all[number] = self._open(number)

    def _drip(self) -> None:
        for number, connection in list(self._all.items()):
            kind = self._kinds[number % len(self._kinds)]
            more = KINDS.get(kind, (b"", b""))[1]
            try:
                if more:
                    connection.send(more)
                elif kind in ("reply not read", "not closed") and _is_reset(connection):
                    self._again(number)
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass
            except OSError:
                self._again(number)


def _is_reset(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def main(arguments: list[str]) -> None:
    """Besieges a port until a line comes on standard input, then prints how many connections the server ended."""
    siege, over = Siege(int(arguments[0]), int(arguments[1]), tls=arguments[2] == "1"), threading.Event()
    thread = threading.Thread(target=siege.hold, args=(over,))
    thread.start()
    print("all are open", flush=True)
    sys.stdin.readline()
    over.set()
    thread.join()
    print(siege.reopened)


if __name__ == "__main__":
    main(sys.argv[1:])
