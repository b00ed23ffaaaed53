"""Ports for client processes: lent out from a base upward, tried before they are lent, taken back."""

from __future__ import annotations

import socket

from streamserver.core.errors import PortError

_LAST_PORT = 65535


class PortPool:
    """The ports of one machine from ``base`` upward; used by the supervisor's loop alone.

    Args:
        host: the address on which the borrower will listen.
        base: the first port to lend.
    """

    def __init__(self, host: str, base: int) -> None:
        self._host = host
        self._base = base
        self._lent: set[int] = set()

    @property
    def lent(self) -> frozenset[int]:
        """What is out at the moment."""
        return frozenset(self._lent)

    def take(self, *, above: int = 0) -> int:
        """Lends the first port that nobody listens on and that is not out already.

        Args:
            above: only ports above this one, e.g. one that turned out to be taken.

        Raises:
            PortError: there is none up to 65535.
        """
        first = max(self._base, above + 1)
        for port in range(first, _LAST_PORT + 1):
            if port not in self._lent and can_listen(self._host, port):
                self._lent.add(port)
                return port
        raise PortError(
            f"no free port from {first} to {_LAST_PORT} on {self._host}",
            cure="delete tasks, or set client_port_base lower",
        )

    def release(self, port: int) -> None:
        """Takes a port back; one that is not out is ignored."""
        self._lent.discard(port)


def can_listen(host: str, port: int) -> bool:
    """True if a socket can be bound to ``host`` and ``port`` now; False also for a host this machine does not have."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
