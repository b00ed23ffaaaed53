"""gunicorn's threaded worker, without the two ways in which a few silent connections can stop it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.workers import gthread

from streamserver.web.patience import STAYS_KEY

log = logging.getLogger(__name__)

_FIRST_BYTES_S = 0.01


class PatientWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """Gives its threads to those who ask something.

    A new connection that has said nothing waits in the poller and not in a thread, and a request that is not sent,
    answered and read within ``request_s`` seconds loses its connection: a laptop that goes to sleep in the middle
    of one would otherwise hold a thread for ever. A view that answers for longer says now and then that its reader
    takes what it sends (``web.patience``), and is told when the worker ends.
    """

    request_s = 15.0

    crowded_s = 5.0
    """The same while every thread is taken, so that others are answered before the guard calls it hung."""

    beat_file: Path | None = None
    """Touched about once a second while requests are answered, for the guard."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[gthread.TConn, float] = {}
        self._has_answered = False

    def load_wsgi(self) -> None:
        """Lets requests ask for more time."""
        super().load_wsgi()
        application: Callable[..., Any] = self.wsgi

        def with_patience(environ: dict[str, Any], start_response: Any) -> Any:
            environ[STAYS_KEY] = partial(self._stays, environ["gunicorn.socket"])
            return application(environ, start_response)

        self.wsgi: Callable[..., Any] = with_patience

    def handle(self, conn: gthread.TConn) -> Any:
        """In a thread: one request, or back to the poller."""
        if not conn.initialized and not conn.wait_for_data(_FIRST_BYTES_S):
            return gthread._DEFER
        self._until[conn] = time.monotonic() + self.request_s
        try:
            return super().handle(conn)
        finally:
            self._until.pop(conn, None)
            self._has_answered = True

    def murder_pending(self) -> None:
        """In the main loop, once a second at least: also ends the requests that take too long."""
        super().murder_pending()
        if self._has_answered and self.beat_file:
            self._has_answered = False
            with suppress(OSError):  # a state folder that is gone or full is for others to report
                os.utime(self.beat_file)  # not touch: nothing comes back to life in a folder that is being removed
        is_crowded = len(self._until) >= self.cfg.threads
        limit_s = min(self.request_s, self.crowded_s) if is_crowded else self.request_s
        latest = time.monotonic() + self.request_s - limit_s
        for conn, deadline in list(self._until.items()):
            if latest > deadline and self._until.pop(conn, 0.0):
                log.warning("a request of %s took over %g s and was dropped", conn.client, limit_s)
                _hang_up(conn.sock)

    def _stays(self, connection: socket.socket) -> bool:
        """In a thread: gives the request on this connection its time once more; False if the worker ends."""
        for conn in list(self._until):
            if conn.sock is connection:
                self._until[conn] = time.monotonic() + self.request_s
        return bool(self.alive)


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that reads or writes; closing is its own business."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # gone already
