"""gunicorn's threaded worker, which many slow connections cannot stop."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import ssl
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import InvalidChunkSize
from gunicorn.workers import gthread

from streamserver.core.errors import ConfigError
from streamserver.core.tls import Certificate
from streamserver.web import arrival, refusals
from streamserver.web.arrival import Stage
from streamserver.web.connection import Connection, Outlet
from streamserver.web.patience import STAYS_KEY

log = logging.getLogger(__name__)

_ROUND_S = 0.25
_ACCEPTED_AT_ONCE = 64
_LINGER_S = 2.0
_LINGER_BYTES = 1_000_000
_RESTS_BYTES = 64_000_000
_SLOWEST_BYTES_PER_S = 20_000
_QUIET_S = 30.0
_MOST_CHUNKS = 20_000
"""Of a body; each takes as long as 500 bytes would."""

Step = Callable[[Connection], None]


class PatientWorker(gthread.ThreadWorker):  # type: ignore[misc]
    """Gives its threads to requests that are there, and takes them back once the answer is.

    The main loop does the TLS handshake, gathers head and small body, sends what a client did not take of its reply at
    once, and waits for it to close: none of this holds a thread. Large bodies are read in threads, in half of them at
    most; the others stand in line. What is not sent, answered and read within ``request_s`` loses its connection; a
    view that answers for longer says now and then that its reader takes what it sends (``web.patience``), and is told
    when the worker ends. Where all places are taken, the oldest waiting connections of the address with most of them
    are closed.
    """

    request_s = 15.0

    crowded_s = 5.0
    """The same while every thread is taken, so that others are answered before the guard calls it hung."""

    beat_file: Path | None = None
    """Touched about once a second while requests are answered, for the guard."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._until: dict[Connection, float] = {}
        self._waiting: dict[Connection, Step] = {}
        self._long: set[Connection] = set()
        self._line: deque[Connection] = deque()
        self._certificate: Certificate | None = None
        self._has_answered = False
        self._next_round = 0.0
        self._told = -_QUIET_S
        self._ends_at: float | None = None

    def init_process(self) -> None:
        """In the worker, before it serves."""
        if self.cfg.is_ssl:
            try:
                self._certificate = Certificate(self.cfg.certfile, self.cfg.keyfile or self.cfg.certfile)
            except ConfigError as e:
                log.critical("%s", e)
                sys.exit(self.WORKER_BOOT_ERROR)
        super().init_process()

    WORKER_BOOT_ERROR = 3
    """Tells gunicorn's arbiter to end as well."""

    def load_wsgi(self) -> None:
        """Lets requests ask for more time."""
        super().load_wsgi()
        application: Callable[..., Any] = self.wsgi

        def with_patience(environ: dict[str, Any], start_response: Any) -> Any:
            connection = environ["gunicorn.socket"].connection
            environ[STAYS_KEY] = partial(self._stays, connection)
            environ["gunicorn.socket"] = connection.sock
            return application(environ, start_response)

        self.wsgi: Callable[..., Any] = with_patience

    # in a thread

    def handle(self, conn: Connection) -> Any:
        """Answers one request that has arrived."""
        self._until[conn] = time.monotonic() + self.request_s
        try:
            return super().handle(conn)
        finally:
            self._until.pop(conn, None)
            self._has_answered = True

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answers it; what the client does not take at once is left to the main loop."""
        if isinstance(req.body.reader, ChunkedReader):
            req.body.reader.parser = _not_too_many(req.body.reader.parser)
        return super().handle_request(req, SimpleNamespace(sock=Outlet(conn), client=conn.client, server=conn.server))

    def _stays(self, conn: Connection) -> bool:
        """Gives the request on this connection its time once more; False if the worker ends."""
        conn.stays = conn.has_begun  # who only makes a picture first has an end
        if conn in self._until:
            self._until[conn] = time.monotonic() + self.request_s
        return bool(self.alive)

    # in the main loop: from the connection to the thread

    def accept(self, listener: Any) -> None:
        """Takes in who has connected."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                client, address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:  # who has left again
                continue
            except OSError as e:  # descriptors or memory are used up
                self._make_room(e.strerror or str(e))
                return
            self.nr_conns += 1
            if self.nr_conns >= self.worker_connections:
                self._make_room(f"there are {self.nr_conns} connections")
            self._welcome(client, address, listener.getsockname())
            if self.nr_conns >= self.worker_connections:
                return

    def _welcome(self, client: socket.socket, address: Any, server: Any) -> None:
        conn = Connection(self.cfg, client, address, server)
        if self._certificate is None:
            self._wait(conn, self._gather, self.cfg.keepalive)
            return
        try:
            conn.sock = self._certificate.context().wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        except OSError:
            self._drop(conn)
        else:
            self._wait(conn, self._greet, self.request_s)

    def _greet(self, conn: Connection) -> None:
        """Goes on with the TLS handshake."""
        try:
            conn.sock.do_handshake()
        except ssl.SSLWantReadError:
            self.poller.modify(conn.sock, selectors.EVENT_READ, partial(self._on_event, conn))
        except ssl.SSLWantWriteError:
            self.poller.modify(conn.sock, selectors.EVENT_WRITE, partial(self._on_event, conn))
        except ssl.SSLError as e:
            if e.reason == "HTTP_REQUEST":
                socket.socket.send(conn.sock, refusals.reply(400, "this port speaks https; ask for https://"))
            self._drop(conn)
        else:
            self._leave(conn)
            self._wait(conn, self._gather, self.cfg.keepalive)
            self._on_event(conn)  # the request may have come with the handshake, where the poller does not see it

    def _gather(self, conn: Connection) -> None:
        """Takes what has come of a request, until it may have a thread."""
        is_first = not conn.received
        is_open = conn.receive()
        if is_first and conn.received:
            conn.deadline = time.monotonic() + self.request_s
        stage = arrival.stage(conn.received)
        if stage in (Stage.WHOLE, Stage.LONG) or (stage is Stage.BODY and not is_open):
            self._leave(conn)
            self._give_thread(conn, is_long=stage is Stage.LONG)
        elif stage is Stage.TOO_LARGE:
            self._refuse(conn, 431, f"the head of the request has over {arrival.HEAD_BYTES} bytes")
        elif stage is Stage.BROKEN:
            self._refuse(conn, 400, "the lines of the request's head have to end in CR LF")
        elif not is_open:
            self._drop(conn)

    def _give_thread(self, conn: Connection, *, is_long: bool) -> None:
        if is_long and len(self._long) >= max(1, self.cfg.threads // 2):
            self._line.append(conn)
            self._waiting[conn] = self._stand
            conn.deadline = time.monotonic() + self.request_s
            return
        if is_long:
            self._long.add(conn)
        conn.hand_over()
        self.enqueue_req(conn)

    def _stand(self, conn: Connection) -> None:
        """Nothing happens to a connection in line."""

    def _next_in_line(self) -> None:
        while self._line:
            conn = self._line.popleft()
            if self._waiting.get(conn) == self._stand:
                del self._waiting[conn]
                self._give_thread(conn, is_long=True)
                return

    # in the main loop: from the answer to the end, or to the next request

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        """A thread is done with a request."""
        if conn in self._long:
            self._long.discard(conn)
            self._next_in_line()
        conn.is_kept = not fs.cancelled() and fs.exception() is None and bool(fs.result())
        conn.has_begun = conn.stays = False
        if conn.rest_bytes:
            self._wait(
                conn, self._flush, self.request_s + conn.rest_bytes / _SLOWEST_BYTES_PER_S, selectors.EVENT_WRITE
            )
            self._bound_rests()
        else:
            self._answered(conn)

    def _flush(self, conn: Connection) -> None:
        """Sends more of a reply."""
        conn.flush()
        if not conn.rest_bytes:
            self._leave(conn)
            self._answered(conn)

    def _bound_rests(self) -> None:
        """Of those who do not take their replies, the oldest lose them when there is too much of it."""
        slow = [conn for conn, step in self._waiting.items() if step == self._flush]
        total = sum(conn.rest_bytes for conn in slow)
        for conn in slow:
            if total <= _RESTS_BYTES:
                return
            total -= conn.rest_bytes
            self._drop(conn)

    def _answered(self, conn: Connection) -> None:
        if not conn.is_kept:
            self._end(conn)
            return
        conn.take_back()
        self._wait(conn, self._gather, self.request_s if conn.received else self.cfg.keepalive)
        self._on_event(conn)  # the next request may be here already, where the poller does not see it

    def _refuse(self, conn: Connection, status: int, message: str) -> None:
        """Tells the client why nobody answers its request."""
        self._leave(conn)
        conn.sock.setblocking(False)
        with suppress(OSError):
            conn.sock.send(refusals.reply(status, message))
        self._end(conn)

    def _end(self, conn: Connection) -> None:
        """Says that nothing follows, and gives the client time to read and to close."""
        conn.finish()
        self._wait(conn, self._linger, _LINGER_S)

    def _linger(self, conn: Connection) -> None:
        if not conn.drop_input() or conn.dropped_bytes > _LINGER_BYTES:
            self._drop(conn)

    # in the main loop: those who wait

    def _wait(self, conn: Connection, step: Step, limit_s: float, event: int = selectors.EVENT_READ) -> None:
        """From now on ``step`` is taken whenever something happens on the connection."""
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, event, partial(self._on_event, conn))
        except (OSError, ValueError, KeyError):  # a thread has closed it
            self._drop(conn)
            return
        conn.deadline = time.monotonic() + limit_s
        self._waiting[conn] = step

    def _on_event(self, conn: Connection, _: object = None) -> None:
        step = self._waiting.get(conn)
        if step is None:  # dropped by what happened just before on another
            return
        try:
            step(conn)
        except (OSError, ValueError):
            self._drop(conn)

    def _leave(self, conn: Connection) -> None:
        if self._waiting.pop(conn, None):
            with suppress(OSError, ValueError, KeyError):
                self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        self._leave(conn)
        self.nr_conns -= 1
        conn.close()

    def _make_room(self, cause: str) -> None:
        """Ends the oldest waiting connections of whoever has most of them."""
        holders: dict[str, list[Connection]] = defaultdict(list)
        for conn in self._waiting:
            holders[conn.network].append(conn)
        if not holders:
            return
        network, most = max(holders.items(), key=lambda item: len(item[1]))
        for conn in most[: max(1, self.worker_connections // 32)]:
            self._drop(conn)
        self._tell("%s; the oldest of the %d from %s that wait are closed", cause, len(most), network)

    def _tell(self, message: str, *values: object) -> None:
        """Warns, now and then: whoever causes this can cause it a thousand times a second."""
        if time.monotonic() > self._told + _QUIET_S:
            self._told = time.monotonic()
            log.warning(message, *values)

    def murder_pending(self) -> None:
        """In the main loop, once a second at least: ends what takes too long."""
        super().murder_pending()
        now = time.monotonic()
        if now < self._next_round:
            return
        self._next_round = now + _ROUND_S
        if self._has_answered and self.beat_file:
            self._has_answered = False
            with suppress(OSError):  # a state folder that is gone or full is for others to report
                os.utime(self.beat_file)  # not touch: nothing comes back to life in a folder that is being removed
        for conn, limit_s in list(self._late_requests(now)):
            if self._until.pop(conn, 0.0):
                self._tell("a request of %s took over %g s and was dropped", conn.client, limit_s)
                conn.hang_up()
        self._end_late(now)

    def _late_requests(self, now: float) -> Iterator[tuple[Connection, float]]:
        is_full = len(self._until) >= self.cfg.threads
        for conn, deadline in self._until.copy().items():  # in one step: threads change it
            is_crowded = is_full or (bool(self._line) and conn in self._long)
            limit_s = min(self.request_s, self.crowded_s) if is_crowded else self.request_s
            if now > deadline - self.request_s + limit_s:
                yield conn, limit_s

    def _end_late(self, now: float) -> None:
        if not self.alive and self._ends_at is None:
            self._ends_at = now + gthread.STOP_KEEPALIVE_LINGER
        for conn, step in list(self._waiting.items()):
            ends_now = self._ends_at is not None and now > self._ends_at and step == self._gather
            if now < conn.deadline and not ends_now:
                continue
            if step == self._gather and conn.received:
                self._refuse(conn, 408, "the request did not come whole in time")
            elif step == self._stand:
                self._refuse(conn, 503, "too many large requests at a time; try again")
            else:
                self._drop(conn)


def _not_too_many(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for number, chunk in enumerate(chunks):
        if number >= _MOST_CHUNKS:
            raise InvalidChunkSize(b"over %d chunks" % _MOST_CHUNKS)
        yield chunk
