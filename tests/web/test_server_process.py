"""``server.py`` and gunicorn as they are really started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import exitcodes
from streamserver.supervise import lock
from streamserver.web import fresh_start
from tests.servers.ports import free_port as _free_port
from tests.web.conftest import body

_PROJECT = Path(__file__).parents[2]
_PATIENCE_S = 90.0

_GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "streamserver/web/gunicorn_conf.py", "server:create_app()"]


def _request(port: int, method: str, path: str, content: bytes | Iterator[bytes] | None = None) -> Any:
    with closing(HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)) as connection:
        connection.request(method, path, content, encode_chunked=content is not None and not isinstance(content, bytes))
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())


def _answers(port: int) -> bool:
    try:
        return bool(_request(port, "GET", "/task/list")["Code"] == 0)
    except (OSError, HTTPException):  # also of one that ends in the middle of its answer
        return False


@contextmanager
def _running(command: list[str], state: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "STREAMSERVER_STATE_DIR": str(state),
        "STREAMSERVER_PORT": str(port),
        "STREAMSERVER_CONFIG": str(state / "none.yaml"),
        "STREAMSERVER_NURSERIES": "false",
    }
    process = subprocess.Popen(
        command, cwd=_PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _answers(port):
            if process.poll() is not None:
                pytest.fail(f"it ended with {process.returncode}: {process.communicate()[0]}")
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    process.send_signal(number)
    output, _ = process.communicate(timeout=_PATIENCE_S)
    return output


def _chunks(count: int) -> Iterator[bytes]:
    return (b" " * 100_000 for _ in range(count))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_server_py_serves_supervises_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    port = _free_port()
    command = [sys.executable, "server.py", "--stream_path=/opt/none", "--is_single_process", "1"]
    with _running(command, tmp_path, port) as process:
        held = lock.acquire(lock.lock_file(tmp_path))
        assert held is None, "it does not supervise"
        output = _end(process, number)
    assert process.returncode == exitcodes.FINISHED
    assert "--is_single_process is ignored" in output
    assert "Traceback" not in output
    freed = lock.acquire(lock.lock_file(tmp_path))
    assert freed is not None
    freed.release()


def _is_anew(process: subprocess.Popen[str]) -> bool:
    return b"STREAMSERVER_STARTED_ANEW=" in Path(f"/proc/{process.pid}/environ").read_bytes()


def _remove(state: Path) -> None:
    """Takes the folder away in one step, for the server writes into it meanwhile."""
    shutil.rmtree(state.rename(state.with_name("gone")))


@pytest.mark.parametrize("loss", [_remove, lock.tell_of_damage], ids=["folder gone", "database damaged"])
def test_without_a_guard_what_is_gone_is_opened_anew(tmp_path: Path, loss: Callable[[Path], None]) -> None:
    """Nobody is there to start it again, and afterwards it works and stops as before."""
    state, port = tmp_path / "state", _free_port()
    with _running([sys.executable, "server.py"], state, port) as process:
        _wait_until_at_work(state)
        loss(state)
        deadline = time.monotonic() + _PATIENCE_S
        while not (_is_anew(process) and _answers(port)):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it does not come back"
            time.sleep(0.05)
        assert lock.beats(lock.lock_file(state), _PATIENCE_S)
        output = _end(process, signal.SIGTERM)
    assert process.returncode == exitcodes.FINISHED
    assert output.count("the server starts itself anew") == 1
    assert "Traceback" not in output


def _wait_until_at_work(state: Path) -> None:
    """Until the supervisor's loop runs, which makes the ballast in its first round."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (state / "ballast").exists():
        assert time.monotonic() < deadline, "the supervisor never came to its loop"
        time.sleep(0.05)


def test_a_loss_that_comes_again_and_again_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_STARTED_ANEW", f"{time.monotonic()} " * fresh_start.MOST)
    state = tmp_path / "state"
    with _running([sys.executable, "server.py"], state, _free_port()) as process:
        _wait_until_at_work(state)
        _remove(state)
        output, _ = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == exitcodes.STATE_LOST
    assert "was removed while it was in use" in output
    assert "did not help; the server stops" in output


def test_beside_a_supervisor_it_only_answers(tmp_path: Path) -> None:
    held = lock.acquire(lock.lock_file(tmp_path))
    assert held is not None
    with held, _running([sys.executable, "server.py"], tmp_path, _free_port()) as process:
        output = _end(process, signal.SIGTERM)
    assert process.returncode == exitcodes.FINISHED
    assert f"process {os.getpid()} supervises" in output


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--host=192.0.2.1"], exitcodes.USAGE, "cannot listen on 192.0.2.1"),
        (["--config=/none.yaml"], exitcodes.USAGE, "there is no file '/none.yaml'; correct the path"),
        (["--port=70000"], exitcodes.USAGE, "70000"),
        (["--state_dir=/proc/none"], exitcodes.CRASHED, "/proc/none/tasks.sqlite"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(
    tmp_path: Path, options: list[str], exit_code: int, message: str
) -> None:
    result = _start_in_vain([f"--port={_free_port()}", f"--state_dir={tmp_path}", *options])
    assert result.returncode == exit_code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_port_in_use_is_told_with_the_cure(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = _start_in_vain([f"--port={port}", f"--state_dir={tmp_path}"])
    assert result.returncode == exitcodes.PORT_TAKEN
    assert f"port {port} on 127.0.0.1 is in use by another program; stop that one" in result.stderr
    assert result.stderr.count("\n") == 1


def _start_in_vain(options: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", *options]
    return subprocess.run(command, cwd=_PROJECT, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)


@pytest.mark.parametrize("command", [[sys.executable, "server.py"], _GUNICORN], ids=["server.py", "gunicorn"])
def test_real_connections_get_their_replies(tmp_path: Path, command: list[str]) -> None:
    port = _free_port()
    with _running(command, tmp_path, port) as process:
        for content in (b" " * 3_000_000, _chunks(30)):
            reply = _request(port, "POST", "/task/create", content)
            assert (reply["Code"], "1000000 bytes" in reply["Msg"]) == (4001, True)
        chunked = iter([b'{"TaskID":', b'"none"}'])
        assert _request(port, "POST", "/task/query", chunked)["Code"] == 1
        assert _request(port, "POST", "/task/list")["Result"] == []
        wrong = json.dumps(body(Algorithm=[{"Type": 99}])).encode()
        with ThreadPoolExecutor(20) as pool:
            codes = pool.map(lambda _: _request(port, "POST", "/task/create", wrong)["Code"], range(20))
            assert set(codes) == {4002}
        output = _end(process, signal.SIGTERM)
    assert process.returncode == 0
    assert "Traceback" not in output


def test_a_gunicorn_worker_dies_with_its_arbiter(tmp_path: Path) -> None:
    port = _free_port()
    with _running(_GUNICORN, tmp_path, port) as process:
        process.kill()
        process.wait()
        deadline = time.monotonic() + _PATIENCE_S
        while _answers(port):
            assert time.monotonic() < deadline, "the worker lives on"
            time.sleep(0.05)


def test_importing_the_server_and_making_the_application_loads_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, server; from streamserver.core.settings import Settings\n"
        "app = server.create_app(Settings(state_dir=sys.argv[1])); app.test_client().get('/docs')\n"
        "print([name for name in ('cv2', 'av', 'onnxruntime') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=_PROJECT, capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


_IMPATIENT = """
from streamserver.web.gunicorn_conf import *
from streamserver.web.gunicorn_worker import PatientWorker


class worker_class(PatientWorker):
    request_s = 1.0


threads = 2
"""


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one gunicorn that gives a request a second."""
    folder, port = tmp_path_factory.mktemp("impatient"), _free_port()
    (folder / "conf.py").write_text(_IMPATIENT)
    with _running([*_GUNICORN[:4], str(folder / "conf.py"), _GUNICORN[-1]], folder, port):
        yield port


@pytest.mark.parametrize("said", [b"", b"POST /task/list HTTP/1.1\r\nHost: x\r\n", b"{0}Content-Length: 9\r\n\r\n{{"])
def test_connections_that_say_little_do_not_stop_the_others(said: bytes, impatient: int) -> None:
    """More of them than threads: a client that went away in the middle of a request must not hold one for ever."""
    start = b"POST /task/list HTTP/1.1\r\nHost: x\r\n"
    sent = said.replace(b"{0}", start).replace(b"{{", b"{")
    with ExitStack() as stack:
        for _ in range(6):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", impatient)))
            with suppress(BrokenPipeError, ConnectionResetError):  # its second may be over already
                silent.sendall(sent)
        assert _request(impatient, "GET", "/task/list")["Code"] == 0
        if sent:
            silent.settimeout(_PATIENCE_S)
            with suppress(ConnectionResetError):
                silent.recv(65_536)  # what it is told, or nothing: it is not kept waiting


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of one as it is."""
    port = _free_port()
    with _running(_GUNICORN, tmp_path_factory.mktemp("gunicorn"), port):
        yield port


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Content-Length: 500\r\n\r\n", "the body ended after 14 of 500 bytes"),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "the body could not be read: Invalid chunk size"),
        (b"Transfer-Encoding: chunked\r\n\r\nff\r\n", "the body could not be read: No more data"),
    ],
    ids=["cut", "no chunk", "cut chunk"],
)
def test_a_body_that_did_not_come_whole_changes_nothing(head: bytes, expected: str, gunicorn: int) -> None:
    with socket.create_connection(("127.0.0.1", gunicorn), _PATIENCE_S) as client:
        client.sendall(b"POST /task/query HTTP/1.1\r\nHost: x\r\n" + head + b'{"TaskID":"x"}')
        client.shutdown(socket.SHUT_WR)
        reply = json.loads(b"".join(iter(lambda: client.recv(65_536), b"")).partition(b"\r\n\r\n")[2])
        assert reply["Code"] == 4000
        assert expected in reply["Msg"]


_CROWDED = """
from streamserver.web.gunicorn_conf import *
from streamserver.web.gunicorn_worker import PatientWorker


class worker_class(PatientWorker):
    request_s, crowded_s = 1000.0, 4.0


threads = 2
"""


def test_who_holds_every_thread_gets_less_time(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(_CROWDED)
    port = _free_port()
    with _running([*_GUNICORN[:4], str(tmp_path / "conf.py"), _GUNICORN[-1]], tmp_path, port), ExitStack() as stack:
        for _ in range(2):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), _PATIENCE_S))
            silent.sendall(b"POST /task/list HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        assert _request(port, "GET", "/task/list")["Code"] == 0
        silent.sendall(b"1\r\n}\r\n0\r\n\r\n")
        assert silent.recv(15) == b"HTTP/1.1 200 OK", "its turn comes when the first one's time is over"
