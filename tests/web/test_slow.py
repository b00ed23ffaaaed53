"""Many slow connections at the real gunicorn: they cost it nothing that others need."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bench.tables.slow import KINDS, Siege
from streamserver.supervise.pulse import children_of
from tests.web.test_server_process import _GUNICORN, _free_port, _request, _running

_PATIENCE_S = 60.0
_ENDLESS = "request_s = crowded_s = 1000.0"
_MORE = """
from streamserver.web.gunicorn_conf import *
from streamserver.web.gunicorn_worker import PatientWorker


class worker_class(PatientWorker):
    {limits}


threads, worker_connections = {threads}, {places}
"""


@contextmanager
def _gunicorn(folder: Path, *, limits: str = "pass", threads: int = 4, places: int = 200) -> Iterator[int]:
    (folder / "conf.py").write_text(_MORE.format(limits=limits, threads=threads, places=places))
    port = _free_port()
    with _running([*_GUNICORN[:4], str(folder / "conf.py"), _GUNICORN[-1]], folder, port):
        yield port


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one for tests that leave nothing behind and are not about its patience."""
    with _gunicorn(tmp_path_factory.mktemp("gunicorn"), limits=_ENDLESS) as port:
        yield port


@contextmanager
def _besieged(port: int, connections: int) -> Iterator[None]:
    siege, over = Siege(port, connections), threading.Event()
    thread = threading.Thread(target=siege.hold, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        siege.close()


def _lists(port: int) -> bool:
    return bool(_request(port, "GET", "/task/list")["Code"] == 0)


def test_a_hundred_slow_connections_of_all_kinds_do_not_delay_others_by_their_time_limits(tmp_path: Path) -> None:
    """No limit is over before the test is, so nobody is answered because others were thrown out."""
    with _gunicorn(tmp_path, limits=_ENDLESS) as port, _besieged(port, 100):
        assert all(_lists(port) for _ in range(20))


def test_where_all_places_are_taken_the_oldest_that_wait_make_room(tmp_path: Path) -> None:
    with _gunicorn(tmp_path, limits=_ENDLESS, places=32) as port, ExitStack() as stack:
        first = _connect(stack, port)
        first.sendall(KINDS["half a head"][0])
        for _ in range(60):
            _connect(stack, port).sendall(KINDS["half a head"][0])
        assert _lists(port)
        assert _is_ended(first)


def _connect(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), _PATIENCE_S))


def _is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


_REFUSED = {
    "half a head": (KINDS["half a head"][0], 408),
    "no body": (KINDS["no body"][0], 408),
    "endless head": (b"GET / HTTP/1.1\r\nA: " + b"a" * 20_000, 431),
    "bare line feeds": (b"GET / HTTP/1.0\n\n", 400),
}


def test_what_never_becomes_a_request_is_told_so(tmp_path: Path) -> None:
    with _gunicorn(tmp_path, limits="request_s = 7.0") as port, ExitStack() as stack:
        clients = {}
        for kind, (said, _) in _REFUSED.items():
            clients[kind] = _connect(stack, port)
            clients[kind].sendall(said)
        for kind, client in clients.items():
            head, _, content = _read_all(client).partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {_REFUSED[kind][1]} ".encode()), kind
            assert json.loads(content)["Code"] == 4000, kind


def _read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65_536), b""))


def _read_until(client: socket.socket, word: bytes) -> bytes:
    said = b""
    while word not in said:
        piece = client.recv(65_536)
        assert piece, said
        said += piece
    return said


def test_large_bodies_take_half_of_the_threads_and_the_others_stand_in_line(tmp_path: Path) -> None:
    with _gunicorn(tmp_path, limits="request_s, crowded_s = 1000.0, 1.0", threads=4) as port, ExitStack() as stack:
        clients = [_connect(stack, port) for _ in range(3)]
        for client in clients:
            client.sendall(KINDS["endless chunks"][0])
        assert _lists(port)
        clients[2].sendall(b"0\r\n\r\n")
        assert b'"Code"' in _read_until(clients[2], b'"Msg"')


def test_requests_sent_at_once_are_answered_one_after_another(gunicorn: int) -> None:
    one = b"POST /task/query HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n"
    with ExitStack() as stack:
        client = _connect(stack, gunicorn)
        client.sendall(one + b'{"TaskID":"x"}' + one + b'{"TaskID":"y"}' + one + b'{"TaskID"')
        client.sendall(b':"z"}GET /livez HTTP/1.0\r\n\r\n')
        replies = _read_all(client)
    assert replies.count(b" 200 OK\r\n") == 4


def test_whoever_asks_whether_to_send_is_told_to(gunicorn: int) -> None:
    fields = b"Host: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n"
    with ExitStack() as stack:
        client = _connect(stack, gunicorn)
        client.sendall(b"POST /task/query HTTP/1.1\r\n" + fields)
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b'{"TaskID":"x"}')
        assert b'"Code"' in _read_all(client)


def test_a_large_reply_reaches_a_slow_reader_whole(tmp_path: Path) -> None:
    with _gunicorn(tmp_path, limits=_ENDLESS, threads=2) as port, ExitStack() as stack:
        readers = [_reader(stack, port) for _ in range(6)]
        assert _lists(port)
        lengths = {len(_read_all(reader).partition(b"\r\n\r\n")[2]) for reader in readers}
        whole = len(json.dumps(_document(port)))
    assert len(lengths) == 1
    assert lengths.pop() > whole / 2


def _reader(stack: ExitStack, port: int) -> socket.socket:
    reader = stack.enter_context(socket.socket())
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    reader.settimeout(_PATIENCE_S)
    reader.connect(("127.0.0.1", port))
    reader.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return reader


def _document(port: int) -> object:
    return _request(port, "GET", "/openapi.json")


_BREAKS_OFF = """import server
from flask import Response

def parts():
    yield b"the beginning"
    raise RuntimeError("the rest")

def create_app():
    app = server.create_app()
    app.before_request_funcs.clear()  # they know no such address
    app.after_request_funcs.clear()
    app.add_url_rule("/breaks", "breaks", lambda: Response(parts()))
    return app
"""


def test_an_answer_that_breaks_off_ends_its_connection_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "breaks.py").write_text(_BREAKS_OFF)
    (tmp_path / "conf.py").write_text(_MORE.format(limits="pass", threads=4, places=200))
    command = [*_GUNICORN[:4], str(tmp_path / "conf.py"), "--pythonpath", str(tmp_path), "breaks:create_app()"]
    port = _free_port()
    with _running(command, tmp_path, port), ExitStack() as stack:
        worker = _worker_of(port)
        client = _connect(stack, port)
        client.sendall(b"GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"the beginning" in _read_all(client)
        client = _connect(stack, port)
        client.sendall(b"GET /nothing HTTP/1.0\r\n\r\n")
        assert b" 404 " in _read_all(client)
        assert _worker_of(port) == worker


def test_a_body_in_countless_chunks_is_refused(gunicorn: int) -> None:
    def send(client: socket.socket) -> None:
        try:
            client.sendall(b"1\r\n \r\n" * 30_000 + b"0\r\n\r\n")
        except OSError:
            pass  # it was told before it had sent all

    with ExitStack() as stack:
        client = _connect(stack, gunicorn)
        client.sendall(KINDS["endless chunks"][0])
        sender = threading.Thread(target=send, args=(client,))
        sender.start()
        assert b"over 20000 chunks" in _read_until(client, b'"Msg"')
        client.shutdown(socket.SHUT_RDWR)
        sender.join()


def test_a_client_cannot_say_where_the_application_lies(gunicorn: int) -> None:
    with ExitStack() as stack:
        for field in (b"Script_Name: /x", b"SCRIPT-NAME: /x", b"Path-Info: /x"):
            client = _connect(stack, gunicorn)
            client.sendall(b"GET /livez HTTP/1.0\r\n" + field + b"\r\n\r\n")
            assert b" 200 " in _read_all(client).splitlines()[0], field


def test_descriptors_come_back_when_the_connections_have_gone(tmp_path: Path) -> None:
    with _gunicorn(tmp_path, limits="request_s = 1.0") as port:
        worker = _worker_of(port)
        assert _lists(port)
        before = len(os.listdir(f"/proc/{worker}/fd"))
        with _besieged(port, 60):
            assert _lists(port)
            _wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) > before + 20)
        _wait_for(lambda: len(os.listdir(f"/proc/{worker}/fd")) <= before + 2)


def _worker_of(port: int) -> int:
    """The one process that listens at the port and has no child which does."""
    listening = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _listens(pid, port)]
    [worker] = [pid for pid in listening if not set(children_of(pid)) & set(listening)]
    return worker


def _listens(pid: str, port: int) -> bool:
    try:
        return f"STREAMSERVER_PORT={port}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool]) -> None:
    over = threading.Event()
    for _ in range(int(_PATIENCE_S * 10)):
        if condition():
            return
        over.wait(0.1)
    pytest.fail("it did not come to pass")
