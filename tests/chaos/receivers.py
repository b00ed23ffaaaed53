"""Receivers of reports on loopback that write down what they took, and misbehave when told to."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TRICKLE_S = 1.0
_CLOSE_QUIETLY = socket.SHUT_RDWR


class Mode(StrEnum):
    """How a receiver answers a report that it has read."""

    TAKE = "take"  # writes it down, answers 200
    REFUSE = "refuse"  # 200 with application-web's {"code": -1, "msg": "参数错误"}
    UNAVAILABLE = "unavailable"  # 503
    CLOSE = "close"  # ends the connection without an answer
    TRICKLE = "trickle"  # answers a byte a second


@dataclass(frozen=True, slots=True)
class Delivery:
    """One report that was taken.

    Attributes:
        at_s: when it was written down, on the monotonic clock.
        alarm_id: ``X-Alarm-Id``.
        task_id: ``TaskID`` of the body.
        attempt: ``X-Attempt``; 0 where the header is missing.
        place: frame and box, which are the same for the same event of each loop of a file.
    """

    at_s: float
    alarm_id: str
    task_id: str
    attempt: int
    place: str


class Receiver:
    """One receiver; it listens from the start, on a port that stays its own while it does not listen.

    Attributes:
        mode: how it answers from now on.
        deliveries: what it took, in order.
        posts: all requests that were read, answered well or not.
        busiest: the most requests that were under way at one time, from the last byte read to the first one answered.
        protests: requests that are no report at all.
    """

    def __init__(self) -> None:
        self.mode = Mode.TAKE
        self.deliveries: list[Delivery] = []
        self.posts = 0
        self.busiest = 0
        self.protests: list[str] = []
        self.lock = threading.Lock()
        self.under_way = 0
        self.taking = 0
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.listen()

    @property
    def url(self) -> str:
        """What belongs into ``ReportUrlList``."""
        return f"http://127.0.0.1:{self.port}/api/upload"

    @property
    def listening(self) -> bool:
        """False while connections are refused."""
        return self._server is not None

    def listen(self) -> None:
        """Takes connections (again)."""
        if self._server is None:
            self._server = _Server(self)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def deafen(self, *, patience_s: float = 0.0) -> None:
        """Ends every connection and refuses new ones.

        Args:
            patience_s: time for answers to what was taken; without it, a report that was taken may come again.
        """
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            with self.lock:
                self._server.hung_up.set()  # nothing more is taken; but an answer that is due may take its time
            self.wait_answered(patience_s)
            self._server.hang_up()
            self._server.server_close()
            self._server = self._thread = None

    def wait_answered(self, patience_s: float) -> None:
        """Waits, so long at most, until everything that was taken has its answer."""
        until = time.monotonic() + patience_s
        while self.taking and time.monotonic() < until:
            time.sleep(0.01)

    def close(self) -> None:
        """Ends it for good."""
        self.deafen()
        self._holder.close()

    def note(self, alarm_id: str, attempt: str, report: dict[str, Any]) -> None:
        """Writes one report down."""
        event = report["AnalyzeEvents"][0]
        place = f"{report['FrameIndex']} {json.dumps(event['Box'], sort_keys=True)}"
        number = int(attempt) if attempt.isdigit() else 0
        with self.lock:
            self.deliveries.append(Delivery(time.monotonic(), alarm_id, report["TaskID"], number, place))

    def begin(self, hung_up: threading.Event) -> Mode:
        """A request was read; returns how to answer it."""
        with self.lock:
            mode = Mode.CLOSE if hung_up.is_set() else self.mode
            self.posts += 1
            self.under_way += 1
            self.taking += mode is Mode.TAKE
            self.busiest = max(self.busiest, self.under_way)
            return mode

    def end(self) -> None:
        """A request is about to be answered: whoever has the answer may send the next at once."""
        with self.lock:
            self.under_way -= 1

    def answered(self, mode: Mode) -> None:
        """A request was answered."""
        with self.lock:
            self.taking -= mode is Mode.TAKE


class Receivers(list[Receiver]):
    """``n`` receivers; a context manager that closes them."""

    def __init__(self, n: int) -> None:
        super().__init__(Receiver() for _ in range(n))

    def __enter__(self) -> Receivers:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:
            for one in self:
                stack.callback(one.close)

    @property
    def urls(self) -> list[str]:
        """The ``ReportUrlList`` with all of them."""
        return [one.url for one in self]

    def set_mode(self, mode: Mode) -> None:
        """All answer so from now on, and listen."""
        for one in self:
            one.mode = mode
            one.listen()

    def all(self) -> list[Delivery]:
        """What all of them took, by time."""
        rows: list[Delivery] = []
        for one in self:
            with one.lock:
                rows += one.deliveries
        return sorted(rows, key=lambda row: row.at_s)

    def counts(self) -> Counter[str]:
        """How often each alarm id was taken, by all together."""
        return Counter(row.alarm_id for row in self.all())

    def ids(self) -> set[str]:
        """The ids that were taken by any of them."""
        return set(self.counts())

    def protests(self) -> list[str]:
        """What any of them found that is no report."""
        return [text for one in self for text in one.protests]


@contextmanager
def receivers(n: int) -> Iterator[Receivers]:
    """``n`` receivers that listen; closed afterwards."""
    with Receivers(n) as several:
        yield several


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_port = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.hung_up = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", receiver.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that was killed in the middle of a request is what this is for."""

    def hang_up(self) -> None:
        self.hung_up.set()
        with self._open_lock:
            still_open: Iterable[socket.socket] = list(self._open)
        for one in still_open:
            try:
                one.shutdown(_CLOSE_QUIETLY)
            except OSError:  # it has ended already
                pass


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length)
        if len(content) < length:  # the sender is gone
            self.close_connection = True
            return
        receiver = self.server.receiver
        mode = receiver.begin(self.server.hung_up)
        try:
            if mode is Mode.TAKE:
                self._take(content)
            elif mode is Mode.TRICKLE:
                self._trickle()
        except OSError:
            self.close_connection = True
        finally:
            receiver.end()
        try:
            self._answer(mode)
        except OSError:
            self.close_connection = True
        finally:
            receiver.answered(mode)

    def _answer(self, mode: Mode) -> None:
        if mode is Mode.CLOSE:
            self.close_connection = True
        elif mode is Mode.UNAVAILABLE:
            self._send(503, b'{"code":503,"msg":"upgrading"}')
        elif mode is Mode.REFUSE:
            self._send(200, '{"code":-1,"msg":"参数错误"}'.encode())
        elif mode is Mode.TAKE:
            self._send(200, b'{"code":0,"msg":"ok"}')

    def _take(self, content: bytes) -> None:
        receiver = self.server.receiver
        try:
            body = json.loads(content)
            assert isinstance(body, list) and len(body) == 1, "a report is an array with one element"
            receiver.note(self.headers["X-Alarm-Id"], self.headers.get("X-Attempt", ""), body[0])
        except (AssertionError, ValueError, LookupError, TypeError) as e:
            with receiver.lock:
                receiver.protests.append(f"no report: {e!r}: {content[:80]!r}")

    def _trickle(self) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
            self.wfile.write(bytes([byte]))
            if self.server.hung_up.wait(_TRICKLE_S):
                break
        self.close_connection = True

    def _send(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass
