from __future__ import annotations

import logging
import socket
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from streamserver.elements import _ws_server
from streamserver.elements._ws_server import NewestServer
from tests.descriptors import no_descriptors_left
from tests.media.servers import repeat_until

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def time_to_greet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is turned away only because the machine is busy."""
    monkeypatch.setattr(_ws_server, "_GREETING_LIMIT_S", PATIENCE_S)


@pytest.fixture
def time_to_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client is cut off only because the machine is busy."""
    monkeypatch.setattr(_ws_server, "_GOODBYE_S", PATIENCE_S)


def wait_for_clients(server: NewestServer) -> None:
    repeat_until(lambda: server.has_clients, lambda: time.sleep(0.01))


@pytest.mark.usefixtures("time_to_part")
def test_every_client_gets_the_newest_message_and_a_clean_end() -> None:
    server = NewestServer("127.0.0.1", 0)
    with (
        connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S) as first,
        connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S) as second,
    ):
        repeat_until(lambda: server._clients == 2, lambda: time.sleep(0.01))
        server.show("one")
        assert [first.recv(timeout=PATIENCE_S), second.recv(timeout=PATIENCE_S)] == ["one", "one"]
        server.show("two")
        server.close()
        for client in (first, second):
            assert client.recv(timeout=PATIENCE_S) == "two"
            with pytest.raises(ConnectionClosedOK):
                client.recv(timeout=PATIENCE_S)


def test_a_client_that_never_reads_does_not_keep_the_server_from_ending() -> None:
    before = set(threading.enumerate())
    server = NewestServer("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(_HANDSHAKE)
        wait_for_clients(server)
        for _ in range(3):
            server.show("x" * 8_000_000)
        server.close()
    assert not server.has_clients
    repeat_until(lambda: set(threading.enumerate()) <= before, lambda: time.sleep(0.01))


@pytest.mark.parametrize("first_words", [b"", b"GET /", b"\x16\x03\x01", b"POST / HTTP/1.1\r\n\r\n"])
def test_what_is_no_web_socket_is_no_client_and_keeps_nothing_from_ending(first_words: bytes) -> None:
    before = set(threading.enumerate())
    server = NewestServer("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(first_words)
        time.sleep(0.05)
        assert not server.has_clients
        server.close()
    repeat_until(lambda: set(threading.enumerate()) <= before, lambda: time.sleep(0.01))


def test_a_client_that_says_too_much_is_thrown_out() -> None:
    server = NewestServer("127.0.0.1", 0)
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S) as client:
        wait_for_clients(server)
        client.send("x" * 100_000)
        repeat_until(lambda: not server.has_clients, lambda: time.sleep(0.01))
    server.close()


def test_only_so_many_clients_are_let_in_and_the_next_when_one_has_left(caplog: pytest.LogCaptureFixture) -> None:
    server = NewestServer("127.0.0.1", 0, most_clients=2)
    address = f"ws://127.0.0.1:{server.port}"
    with connect(address, open_timeout=PATIENCE_S):
        with connect(address, open_timeout=PATIENCE_S):
            with caplog.at_level(logging.WARNING), socket.create_connection(("127.0.0.1", server.port)) as third:
                assert third.recv(1) == b""
            assert "there are 2 clients, who comes now is turned away" in caplog.text
        repeat_until(lambda: len(server._server.handler_threads) == 1, lambda: time.sleep(0.01))
        with connect(address, open_timeout=PATIENCE_S) as client:
            repeat_until(lambda: server._clients == 2, lambda: time.sleep(0.01))
            server.show("one")
            assert client.recv(timeout=PATIENCE_S) == "one"
    server.close()


def test_a_shortage_of_descriptors_does_not_end_the_listening(caplog: pytest.LogCaptureFixture) -> None:
    server = NewestServer("127.0.0.1", 0)
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S):
        wait_for_clients(server)  # so that it does listen
    repeat_until(lambda: not server._server.handler_threads, lambda: time.sleep(0.01))
    with socket.socket() as client:
        with no_descriptors_left():
            client.connect(("127.0.0.1", server.port))
            client.sendall(_HANDSHAKE)
            repeat_until(lambda: "could not be let in" in caplog.text, lambda: time.sleep(0.01))
        wait_for_clients(server)
    server.close()


def test_a_server_in_a_hurry_waits_for_no_client() -> None:
    server = NewestServer("127.0.0.1", 0)
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S):
        wait_for_clients(server)
        server.close(hurry=True)
    assert not server.has_clients


def test_it_listens_on_addresses_of_version_six() -> None:
    server = NewestServer("::1", 0)
    with connect(f"ws://[::1]:{server.port}", open_timeout=PATIENCE_S):
        wait_for_clients(server)
    server.close()


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://6.6.6.6", "null", "http://127.0.0.1.evil.example", "http://[", "file://"],
)
def test_no_page_of_another_site_sees_the_pictures_that_only_this_machine_may_see(origin: str) -> None:
    server = NewestServer("127.0.0.1", 0)
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S, origin=Origin(origin)),
    ):
        pass
    server.close()


def test_a_name_that_a_page_has_pointed_at_this_machine_is_another_site() -> None:
    server = NewestServer("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(_HANDSHAKE.replace(b"Host: x", b"Host: evil.example\r\nOrigin: http://evil.example"))
        assert client.recv(12) == b"HTTP/1.1 403"
    server.close()


@pytest.mark.parametrize("origin", ["http://localhost:8089", "http://127.0.0.1", "https://app.example:8443"])
def test_pages_of_this_machine_and_of_named_hosts_see_them(origin: str) -> None:
    server = NewestServer("127.0.0.1", 0, page_hosts=["app.example"])
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S, origin=Origin(origin)) as client:
        wait_for_clients(server)
        server.show("one")
        assert client.recv(timeout=PATIENCE_S) == "one"
    server.close()


def test_where_others_may_connect_all_pages_may_as_in_sophon_stream() -> None:
    server = NewestServer("0.0.0.0", 0)
    with connect(f"ws://127.0.0.1:{server.port}", open_timeout=PATIENCE_S, origin=Origin("http://front.example")):
        wait_for_clients(server)
    server.close()
