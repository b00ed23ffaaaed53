"""What the guard looks at, and what it tells systemd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamserver.supervise.notify import Notifier
from streamserver.supervise.pulse import WebProbe, children_of, is_stopped, last_change
from tests.supervise.house import OWN_LOOPBACK, wait_until


@contextmanager
def answering(reply: bytes | None, host: str = "127.0.0.1") -> Iterator[int]:
    """A port where every connection gets ``reply``, or is accepted and hears nothing (``None``)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                kept.append(connection)
                if reply is not None:
                    connection.recv(1000)
                    connection.sendall(reply)
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n{}", True, id="200"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n", True, id="HTTP 1.0"),
        pytest.param(b"HTTP/1.1 500 Internal Server Error\r\n\r\n", False, id="500"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", False, id="another protocol"),
        pytest.param(b"", False, id="closed"),
        pytest.param(None, False, id="silence"),
    ],
)
def test_only_an_answer_is_an_answer(reply: bytes | None, expected: bool) -> None:
    with answering(reply) as port:
        assert WebProbe("127.0.0.1", port, limit_s=0.5 if reply is None else 30.0).ask() is expected


@pytest.mark.parametrize(("host", "listens_at"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("localhost", "127.0.0.1")])
def test_every_address_is_asked_over_loopback(host: str, listens_at: str) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\n", listens_at) as port:
        assert WebProbe(host, port, limit_s=30.0).ask()


def test_nobody_there_is_no_answer_and_a_name_that_cannot_be_resolved_says_nothing() -> None:
    with answering(b"", OWN_LOOPBACK) as port:
        pass
    assert not WebProbe(OWN_LOOPBACK, port).ask()
    assert WebProbe("no-such-host.invalid", port).ask()


def test_a_stopped_process_is_told_from_one_that_sleeps() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            wait_until(lambda: process.pid in children_of(os.getpid()), "it is a child")
            assert not is_stopped(process.pid)
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: is_stopped(process.pid), "it is stopped")
        finally:
            process.kill()
    assert not is_stopped(process.pid)
    assert children_of(process.pid) == []


def test_a_file_that_is_not_there_never_changed(tmp_path: Path) -> None:
    assert last_change(tmp_path / "none") == 0


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_systemd_is_told_over_its_socket(abstract: bool, tmp_path: Path) -> None:
    address = f"\0stream-server-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        given = {"NOTIFY_SOCKET": address.replace("\0", "@"), "WATCHDOG_USEC": "15000000"}
        notifier = Notifier(given)
        assert notifier.watchdog_s == 15.0
        for tell in (notifier.ready, notifier.alive, notifier.stopping):
            tell()
        assert [manager.recv(100).partition(b"\n")[0] for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
        other = Notifier(given | {"WATCHDOG_PID": "1"})
        other.alive()
        other.stopping()
        assert manager.recv(100) == b"STOPPING=1", "a watchdog of another process is not ours"


def test_without_systemd_nobody_is_told_and_one_that_is_gone_is_no_error(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
