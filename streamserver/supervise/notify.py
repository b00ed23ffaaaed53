"""What systemd wants to hear of a service of ``Type=notify``: ready, still alive, stopping (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Where systemd says how it wants to be told; not for children, gunicorn would call itself the service."""

_log = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager, where there is one; never raises.

    Args:
        environment: where ``VARIABLES`` are read.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        wanted = environment.get("WATCHDOG_USEC", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(wanted) / 1e6 if wanted.isdigit() and mine and address else 0.0
        """The silence after which the service manager ends this process; 0 for no such limit."""

    def ready(self) -> None:
        """The service does its work."""
        self._send("READY=1\nSTATUS=API and supervisor at work")

    def alive(self) -> None:
        """To be called twice within ``watchdog_s`` at least."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service was asked to end."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
                datagrams.setblocking(False)
                datagrams.sendto(text.encode(), self._address)
        except OSError as e:
            _log.warning("systemd could not be told %r: %s", text.partition("\n")[0], e)
