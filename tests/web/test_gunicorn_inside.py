"""What ``PatientWorker`` relies on inside gunicorn; where one of these fails, a new gunicorn has changed it."""

from __future__ import annotations

import inspect
import re
import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config
from gunicorn.http.body import ChunkedReader
from gunicorn.http.parser import RequestParser
from gunicorn.workers import gthread

from streamserver.web.gunicorn_worker import PatientWorker

_LOOP = inspect.getsource(gthread.ThreadWorker.run)


@pytest.mark.parametrize(
    "name", ["accept", "handle", "handle_request", "finish_request", "murder_pending", "load_wsgi", "init_process"]
)
def test_what_is_replaced_is_still_there_with_the_same_arguments(name: str) -> None:
    theirs = inspect.signature(getattr(gthread.ThreadWorker, name)).parameters
    ours = inspect.signature(getattr(PatientWorker, name)).parameters
    assert list(ours) == list(theirs)


def test_the_loop_calls_what_is_replaced() -> None:
    assert len(re.findall(r"self\.murder_pending\(\)", _LOOP)) == 2  # while it serves and while it ends
    assert "self.nr_conns < self.worker_connections" in _LOOP
    assert "while self.nr_conns > 0" in _LOOP
    assert "self.accept)" in inspect.getsource(gthread.ThreadWorker.set_accept_enabled)
    assert "self.finish_request, conn, fut" in inspect.getsource(gthread.ThreadWorker.enqueue_req)


def test_a_request_in_a_thread_needs_of_its_connection_what_the_outlet_has() -> None:
    source = inspect.getsource(gthread.ThreadWorker.handle_request)
    assert set(re.findall(r"\bconn\.(\w+)", source)) == {"sock", "client", "server"}


def test_a_connection_that_is_ready_is_neither_waited_for_nor_wrapped_again() -> None:
    assert "if not conn.initialized and not conn.data_ready" in inspect.getsource(gthread.ThreadWorker.handle)
    assert "if self.initialized:\n            return" in inspect.getsource(gthread.TConn.init)


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_the_parser_takes_what_was_put_back_before_it_reads(connected: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = connected
    ours.setblocking(False)  # it would raise where it had to wait
    parser = RequestParser(Config(), ours, ("127.0.0.1", 1))
    parser.unreader.unread(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET")
    request = next(parser)
    assert request.body.read() == b"{}"
    assert parser.finish_body()
    assert parser.unreader.take_buffered() == b"GET"


def test_chunks_come_out_of_a_generator_that_can_be_wrapped(connected: tuple[socket.socket, socket.socket]) -> None:
    parser = RequestParser(Config(), connected[0], ("127.0.0.1", 1))
    parser.unreader.unread(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    reader = next(parser).body.reader
    assert isinstance(reader, ChunkedReader)
    assert list(reader.parser) == [b"a", b"b"]
