"""The API over https, by gunicorn and by ``server.py``."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import pytest

from bench.tables.slow import served
from streamserver.core.tls import unverified
from streamserver.supervise.pulse import WebProbe
from tests.certificates import make_pair
from tests.web.test_server_process import _free_port, _running

_PATIENCE_S = 60.0
_FEW_THREADS = "threads = 2\nfrom streamserver.web.gunicorn_worker import PatientWorker as worker_class\n"


def _get(port: int, path: str, context: ssl.SSLContext | None = None) -> bytes:
    connection = HTTPSConnection("localhost", port, timeout=_PATIENCE_S, context=context or unverified())
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read()


@contextmanager
def _gunicorn(cert: Path, key: Path) -> Iterator[int]:
    with served(_FEW_THREADS, {"TLS_CERT": str(cert), "TLS_KEY": str(key)}) as (port, _):
        yield port


def test_gunicorn_speaks_https_and_half_done_handshakes_hold_no_thread(tmp_path: Path) -> None:
    cert, key = make_pair(tmp_path)
    with _gunicorn(cert, key) as port, ExitStack() as stack:
        for begun in (b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET"):
            for _ in range(4):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), _PATIENCE_S))
                client.sendall(begun)
        trusting = ssl.create_default_context(cafile=str(cert))
        assert b'"Code":0' in _get(port, "/task/list", trusting).replace(b" ", b"")
        assert len(_get(port, "/openapi.json")) > 10_000
        assert WebProbe("127.0.0.1", port, is_https=True, limit_s=_PATIENCE_S).ask()
        assert not WebProbe("127.0.0.1", port, limit_s=_PATIENCE_S).ask()
        with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as plain:
            plain.request("GET", "/livez")
            assert b"speaks https" in plain.getresponse().read()
        _renew(tmp_path, cert, key, port)


def _renew(folder: Path, cert: Path, key: Path, port: int) -> None:
    """What certbot does: other files under the same names; nobody tells the server."""
    for old, new in zip((key, cert), reversed(make_pair(folder, "renewed")), strict=True):
        new.rename(old)
    trusting = ssl.create_default_context(cafile=str(cert))
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            assert _get(port, "/livez", trusting)
            return
        except ssl.SSLError:
            assert time.monotonic() < deadline, "it goes on with the old certificate"
            time.sleep(0.2)


def test_many_requests_on_one_connection_and_one_in_pieces(tmp_path: Path) -> None:
    one = b"POST /task/query HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n"
    with (
        _gunicorn(*make_pair(tmp_path)) as port,
        socket.create_connection(("127.0.0.1", port), _PATIENCE_S) as plain,
        unverified().wrap_socket(plain) as client,
    ):
        client.sendall(one + b'{"TaskID":"x"}' + one)
        client.sendall(b'{"TaskID"')
        client.sendall(b':"y"}' + one + b'{"TaskID":"z"}GET /livez HTTP/1.0\r\n\r\n')
        replies = b"".join(iter(lambda: client.recv(65_536), b""))
    assert replies.count(b" 200 OK\r\n") == 4


def test_server_py_speaks_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = make_pair(tmp_path)
    monkeypatch.setenv("STREAMSERVER_TLS_CERT", str(cert))
    monkeypatch.setenv("STREAMSERVER_TLS_KEY", str(key))
    monkeypatch.setattr("tests.web.test_server_process._answers", _is_up)
    port = _free_port()
    with _running([sys.executable, "server.py"], tmp_path, port) as process, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert b'"Code"' in _get(port, "/task/list", ssl.create_default_context(cafile=str(cert)))
        with pytest.raises((OSError, HTTPException)), closing(HTTPConnection("127.0.0.1", port, timeout=5)) as plain:
            plain.request("GET", "/livez")
            plain.getresponse()
        stack.close()
        process.terminate()
        output, _ = process.communicate(timeout=_PATIENCE_S)
    assert "https://" in output
    assert "Traceback" not in output


def _is_up(port: int) -> bool:
    try:
        return bool(_get(port, "/livez"))
    except (OSError, HTTPException):
        return False
