"""Requests and the responses to them over one way to the platform: SIP's client transactions (RFC 3261, 17.1)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from streamserver.media.gb28181.message import Message, Request, Response
from streamserver.media.gb28181.transport import Transport

logger = logging.getLogger(__name__)

_LOOK_S = 0.2
"""Who waits for a response looks so often whether it is still wanted."""

_JOIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long we wait for a platform.

    Attributes:
        first_resend_s: after which a request over UDP is sent again; doubles each time (T1).
        longest_resend_s: where the doubling ends (T2).
        answer_s: for any sign of the request's having arrived.
        ringing_s: for the last word on an INVITE, once there has been a first one.
        probe_s: for an answer over UDP before TCP is tried instead.
        goodbye_s: for an answer to what is only politeness: CANCEL, BYE, the end of the registration.
        keepalive_s: from one sign of life of ours to the next.
        keepalive_misses: so many of them unanswered in a row, and the platform is gone.
        expires_s: how long a registration is to hold.
    """

    first_resend_s: float = 0.5
    longest_resend_s: float = 4.0
    answer_s: float = 10.0
    ringing_s: float = 25.0
    probe_s: float = 4.0
    goodbye_s: float = 1.5
    keepalive_s: float = 60.0
    keepalive_misses: int = 3
    expires_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the last word.

    Attributes:
        limit_s: for any answer.
        ringing_s: for the last word instead, from the beginning, once there was a first.
        stopping: nobody wants the answer any more; ``None`` to wait all the same.
    """

    limit_s: float
    ringing_s: float = 0.0
    stopping: threading.Event | None = None


class NoResponse(Exception):
    """A request has got no last word; ``reason`` says why, and completes a sentence about the platform."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_Inbox = queue.SimpleQueue[Response | NoResponse]


class Endpoint:
    """Sends requests, hands out what comes in, in a thread of its own.

    Args:
        transport: the way; closed with the endpoint.
        on_request: the platform's requests; called in the receiving thread, must not wait.
        on_late: responses that nobody waits for any more; likewise.
        on_lost: the way has broken off by itself, and why; likewise, once.
        timing: limits of time.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        on_request: Callable[[Request], None],
        on_late: Callable[[Response], None],
        on_lost: Callable[[str], None],
        timing: Timing,
    ) -> None:
        self.transport = transport
        self.timing = timing
        self._on_request = on_request
        self._on_late = on_late
        self._on_lost = on_lost
        self._inboxes: dict[tuple[str, str], _Inbox] = {}
        self._lock = threading.Lock()
        self._closed_because: str | None = None
        self._thread = threading.Thread(target=self._receive, name="gb28181-sip", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Sends what needs no answer; a way that is broken shows itself in the receiving thread."""
        try:
            self.transport.send(message.to_bytes())
        except OSError as e:
            logger.debug("a message to the platform was lost: %s", e)

    def begin(self, request: Request) -> Exchange:
        """Starts an exchange; for use in a ``with``."""
        return Exchange(self, request)

    def close(self) -> None:
        """Ends the way and its thread; more than once, and from the thread itself."""
        self._end("the SIP connection was closed")
        self.transport.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def register(self, request: Request) -> _Inbox:
        """From now on, what answers ``request`` goes into the inbox."""
        inbox: _Inbox = queue.SimpleQueue()
        with self._lock:
            if self._closed_because is not None:
                inbox.put(NoResponse(f"does not answer: {self._closed_because}"))
            self._inboxes[request.branch, request.method] = inbox
        return inbox

    def forget(self, request: Request) -> None:
        """Nobody waits for answers to ``request`` any more."""
        with self._lock:
            self._inboxes.pop((request.branch, request.method), None)

    def _receive(self) -> None:
        reason = "the SIP connection to the platform broke off"
        try:
            while True:
                try:
                    messages = self.transport.receive()
                except ConnectionRefusedError:
                    self._tell_all("refuses the connection")
                    continue
                for message in messages:
                    self._deliver(message)
        except OSError as e:
            reason = f"{reason}: {e.strerror or e}"
        finally:
            by_itself = self._end(reason)
            self.transport.close()
            if by_itself:
                self._on_lost(reason)

    def _deliver(self, message: Message) -> None:
        if isinstance(message, Request):
            self._on_request(message)
        elif isinstance(message, Response):
            with self._lock:
                inbox = self._inboxes.get((message.branch, message.cseq[1]))
            if inbox is None:
                self._on_late(message)
            else:
                inbox.put(message)

    def _tell_all(self, reason: str) -> None:
        with self._lock:
            for inbox in self._inboxes.values():
                inbox.put(NoResponse(reason))

    def _end(self, reason: str) -> bool:
        """True for the first who ends it."""
        with self._lock:
            first = self._closed_because is None
            self._closed_because = self._closed_because or reason
        self._tell_all(f"does not answer: {reason}")
        return first


class Exchange:
    """One request and what is answered to it.

    Attributes:
        provisional: the last response that was not the last word; ``None`` without one.
    """

    def __init__(self, endpoint: Endpoint, request: Request) -> None:
        self.provisional: Response | None = None
        self._endpoint = endpoint
        self._request = request
        self._data = request.to_bytes()

    def __enter__(self) -> Exchange:
        self._inbox = self._endpoint.register(self._request)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._endpoint.forget(self._request)

    def send(self) -> None:
        """Sends the request, for the first time or again.

        Raises:
            NoResponse: it cannot leave.
        """
        try:
            self._endpoint.transport.send(self._data)
        except OSError as e:
            raise NoResponse(f"cannot be reached: {e.strerror or e}") from e

    def final(self, patience: Patience) -> Response:
        """Waits for the last word, and sends the request again where it may have been lost.

        Raises:
            NoResponse: there is none.
        """
        timing = self._endpoint.timing
        started = time.monotonic()
        pause_s = timing.first_resend_s
        resend_at = started + pause_s
        while True:
            wait_s = max(patience.limit_s, patience.ringing_s if self.provisional else 0.0)
            now = time.monotonic()
            response = self._next(min(_LOOK_S, started + wait_s - now, resend_at - now))
            if response is not None and response.status >= 200:
                return response
            self.provisional = response or self.provisional
            now = time.monotonic()
            if patience.stopping is not None and patience.stopping.is_set():
                raise NoResponse("was not asked any further: the stream is being stopped")
            if now - started >= wait_s:
                said = (
                    "did not answer within"
                    if self.provisional is None
                    else f"only said '{self.provisional.in_words}' for"
                )
                raise NoResponse(f"{said} {wait_s:.0f} s")
            if now >= resend_at:
                pause_s = min(2 * pause_s, timing.longest_resend_s)
                resend_at = now + pause_s
                if self._to_be_repeated():
                    self.send()

    def _to_be_repeated(self) -> bool:
        """Over UDP; an INVITE only until it has arrived."""
        ringing = self._request.method == "INVITE" and self.provisional is not None
        return not self._endpoint.transport.reliable and not ringing

    def _next(self, wait_s: float) -> Response | None:
        try:
            answer = self._inbox.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            return None
        if isinstance(answer, NoResponse):
            raise NoResponse(answer.reason)
        return answer
