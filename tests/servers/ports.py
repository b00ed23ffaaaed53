"""Free ports for servers that go away and come back."""

from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below the ports that Linux gives to outgoing connections: nobody takes one of these while its server is away, and a
client that knocks at it in vain does not happen to connect to itself."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that was free a moment ago; media servers take a pair, so it is even."""
    for _ in range(1000):
        port = random.randrange(_LOWEST, _HIGHEST, 2)
        if _is_free(port, kind) and _is_free(port + 1, kind):
            return port
    raise OSError(f"no two free ports between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
