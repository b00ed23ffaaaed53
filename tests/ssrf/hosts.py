"""A listener where nothing may arrive, and the ways to spell its address."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamserver.core.networks import parse_networks
from streamserver.core.outgoing import Policy

DENIED = "127.66.0.1"
ALLOWED = "127.0.0.1"
NETWORK = "127.66.0.0/16"

REACHING = {
    "plain": "127.66.0.1",
    "decimal": "2135031809",
    "octal": "0177.0102.0.01",
    "octal in one": "017720400001",
    "hexadecimal": "0x7f.0x42.0x0.0x1",
    "hexadecimal in one": "0x7f420001",
    "two parts": "127.4325377",
    "three parts": "127.66.1",
    "mixed": "0x7f.0102.1",
    "full width": "１２７.66.0.1",
    "ideographic dots": "127。66。0。1",
    "behind a user": "good@127.66.0.1",
    "behind user and password": "127.0.0.1:80@127.66.0.1",
    "behind a backslash": "good\\@127.66.0.1",
    "behind a hash": "good:x#@127.66.0.1",
    "behind a question mark": "good:x?@127.66.0.1",
    "behind a slash": "good:x/@127.66.0.1",
}
"""Hosts of addresses by which the listener is really reached where nothing is denied."""

DISGUISED = {
    "mapped into IPv6": "[::ffff:127.66.0.1]",
    "mapped in hexadecimal": "[::ffff:7f42:1]",
    "mapped in full": "[0:0:0:0:0:ffff:7f42:0001]",
    "mapped with a zone": "[::ffff:127.66.0.1%25lo]",
    "compatible": "[::127.66.0.1]",
    "NAT64": "[64:ff9b::7f42:1]",
    "NAT64 of one's own": "[64:ff9b:1::7f42:1]",
    "6to4": "[2002:7f42:1::1]",
    "Teredo server": "[2001:0:7f42:1::1]",
    "Teredo client": "[2001:0:5db8:d822:0:0:80bd:fffe]",
    "ISATAP": "[fd00::5efe:7f42:1]",
    "a dot at the end": "127.66.0.1.",
    "percent escapes": "%31%32%37.66.0.1",
}
"""Hosts that lead there by a gateway or a tunnel, or where somebody reads more into them than we do."""


@dataclass
class Listener:
    """Counts who connects, and takes every report."""

    port: int
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    arrived: list[bytes] = field(default_factory=list)


@contextmanager
def listening(host: str, *, port: int = 0) -> Iterator[Listener]:
    """A running listener; afterwards nobody listens."""
    with socket.create_server((host, port)) as server:
        listener = Listener(server.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(server, listener), daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(server: socket.socket, listener: Listener) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            listener.arrived.append(b"")
            connection.settimeout(60)
            try:
                listener.arrived[-1] = connection.recv(65536)
                connection.sendall(listener.answer)
            except OSError:
                pass


def policy(*, allow: str = "") -> Policy:
    """One that denies the listener's network."""
    return Policy(
        deny=parse_networks(NETWORK, setting="deny_networks"), allow=parse_networks(allow, setting="allow_networks")
    )


def answer_with(monkeypatch: pytest.MonkeyPatch, names: dict[str, Callable[[], list[str]]]) -> None:
    """Makes the resolver answer for ``names``, each time anew; all others as before."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        if host not in names:
            return real(host, port, *arguments, **options)
        found = [real(address, port, *arguments, **options) for address in names[host]()]
        return [entry for entries in found for entry in entries]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
