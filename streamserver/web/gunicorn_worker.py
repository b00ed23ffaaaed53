"""gunicorn's threaded worker, without the two ways in which a few silent connections can stop it."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from gunicorn.workers import gthread

log = logging.getLogger(__name__)

_FIRST_BYTES_S = 0.01


class PatientWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """Gives its threads to those who ask something.

    A new connection that has said nothing waits in the poller and not in a thread, and a request that is not sent,
    answered and read within ``request_s`` seconds loses its connection: a laptop that goes to sleep in the middle
    of one would otherwise hold a thread for ever.
    """

    request_s = 15.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[gthread.TConn, float] = {}

    def handle(self, conn: gthread.TConn) -> Any:
        """In a thread: one request, or back to the poller."""
        if not conn.initialized and not conn.wait_for_data(_FIRST_BYTES_S):
            return gthread._DEFER
        self._until[conn] = time.monotonic() + self.request_s
        try:
            return super().handle(conn)
        finally:
            self._until.pop(conn, None)

    def murder_pending(self) -> None:
        """In the main loop, once a second at least: also ends the requests that take too long."""
        super().murder_pending()
        now = time.monotonic()
        for conn, deadline in list(self._until.items()):
            if now > deadline and self._until.pop(conn, 0.0):
                log.warning("a request of %s took over %g s and was dropped", conn.client, self.request_s)
                _hang_up(conn.sock)


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that reads or writes; closing is its own business."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # gone already
