"""Answers that take long keep their connection as long as somebody takes them, and end with the server."""

from __future__ import annotations

import http.client
import signal
import socket
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from streamserver.web.patience import stays
from tests.web.test_server_process import _free_port, _running

_PATIENCE_S = 60.0

_CONF = """
from streamserver.web.gunicorn_conf import *
from streamserver.web.gunicorn_worker import PatientWorker


class worker_class(PatientWorker):
    request_s = 7.0


raw_env = ["PYTHONUNBUFFERED=1"]
"""

_APPLICATION = """
import itertools, time
import server
from streamserver.web.patience import stays

inner = server.create_app()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path not in ("/stays", "/forgets", "/endless"):
        return inner(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return pieces(path, stays(environ))


def pieces(path, stays):
    for _ in itertools.count() if path == "/endless" else range(15):
        yield b"x" * 10
        time.sleep(0.55)
        if path != "/forgets" and not stays():
            return
"""


def _command(folder: Path) -> list[str]:
    (folder / "conf.py").write_text(_CONF)
    (folder / "application.py").write_text(_APPLICATION)
    options = ["-c", str(folder / "conf.py"), "--pythonpath", str(folder), "application:application"]
    return [sys.executable, "-m", "gunicorn", *options]


def _read(port: int, path: str) -> bytes:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def test_an_answer_that_is_taken_may_last_longer_than_others(tmp_path: Path) -> None:
    port = _free_port()
    with _running(_command(tmp_path), tmp_path, port):
        assert len(_read(port, "/stays")) == 150
        with pytest.raises(http.client.IncompleteRead):
            _read(port, "/forgets")


@pytest.mark.parametrize("key", ["gunicorn.socket", "werkzeug.socket"])
def test_an_answer_whose_reader_has_left_need_not_go_on(key: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        goes_on = stays({key: ours})
        assert goes_on()
        theirs.close()
        assert not goes_on()
    assert stays({})()


def test_the_server_ends_though_somebody_would_watch_for_ever(tmp_path: Path) -> None:
    port = _free_port()
    with _running(_command(tmp_path), tmp_path, port) as process:
        with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
            connection.request("GET", "/endless")
            response = connection.getresponse()
            assert response.read(20)
            process.send_signal(signal.SIGTERM)
            assert response.read().strip(b"x") == b""
        output, _ = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0
    assert "Traceback" not in output
