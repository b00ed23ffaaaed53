"""Lets a view that answers for long keep its connection: what it and the server it runs in agree on."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

STAYS_KEY = "streamserver.stays"
"""Key of the WSGI environment: a function to be called now and then, False once the server ends."""

Stays = Callable[[], bool]


def stays(environ: dict[str, Any]) -> Stays:
    """What a long answer calls now and then to keep its connection; False once the server ends or the reader has left.

    A server without such limits has none to give, and its requests end with it.
    """
    given: Stays = environ.get(STAYS_KEY, lambda: True)
    connection = connection_of(environ)
    return lambda: given() and not (connection and _has_left(connection))


def connection_of(environ: dict[str, Any]) -> socket.socket | None:
    """The connection to the reader, where the server shows it."""
    connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    return connection if isinstance(connection, socket.socket) else None


def _has_left(connection: socket.socket) -> bool:
    """True once the reader has closed; writing would tell it two pictures later."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return bool(poller.poll(0))
