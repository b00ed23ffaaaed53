from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streamserver.elements._push_connection import PushConnection, Target, UnreachableError


@contextmanager
def answering(*answers: bytes) -> Iterator[PushConnection]:
    """A connection to somebody who takes one request a connection, and gives these bytes for an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for answer in answers:
                try:
                    peer, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with peer, peer.makefile("rb") as request:
                    size = next(int(line.split()[1]) for line in request if line.startswith(b"Content-Length"))
                    while request.readline().strip():
                        pass
                    assert len(request.read(size)) == size
                    peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        connection = PushConnection(Target("127.0.0.1", listener.getsockname()[1], "/"))
        try:
            yield connection
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            connection.close()


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"pictures": ',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n{"pictures": ',
    ],
)
def test_half_an_answer_is_none_for_its_other_half_may_ask_for_the_pictures_of_an_alarm(half: bytes) -> None:
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"pictures": true}'
    with answering(half, whole) as connection:
        with pytest.raises(UnreachableError):
            connection.post(b"{}")
        assert connection.post(b"{}") == b'{"pictures": true}'
