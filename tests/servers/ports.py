"""Free ports for servers that go away and come back."""

from __future__ import annotations

import itertools
import random
import socket
from collections.abc import Iterator

_LOWEST, _PORTS_OF_ONE, _PROCESSES = 20_000, 200, 60
"""Below the ports that Linux gives to outgoing connections: nobody takes one of these while its server is away, and a
client that knocks at it in vain does not happen to connect to itself."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that was free a moment ago; media servers take a pair, so it is even.

    No other process gets it from here as long as this one lives, and this one only after all its others.
    """
    for port in itertools.islice(_PAIRS, _PORTS_OF_ONE // 2):
        if _is_free(port, kind) and _is_free(port + 1, kind):
            return port
    raise OSError(f"none of the {_PORTS_OF_ONE // 2} pairs of ports of this process is free")


def _own_pairs() -> Iterator[int]:
    """The lower ports of pairs, round and round, none of which another process of tests on this machine gives out."""
    first = _LOWEST + _PORTS_OF_ONE * _own_number()
    pairs = list(range(first, first + _PORTS_OF_ONE, 2))
    begin = random.randrange(len(pairs))
    return itertools.cycle(pairs[begin:] + pairs[:begin])


def _own_number() -> int:
    """A number that no other such process has; it goes with the process, for a name among sockets stands for it."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    numbers = list(range(_PROCESSES))
    random.shuffle(numbers)
    for number in numbers:
        try:
            mark.bind(f"\0streamserver-tests-ports-{number}")
        except OSError:
            continue
        mark.detach()  # stays open to the end
        return number
    raise OSError(f"{_PROCESSES} processes on this machine have ports of tests already")


def _is_free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_PAIRS = _own_pairs()
