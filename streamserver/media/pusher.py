"""Pushes pictures to an RTSP or RTMP server without ever keeping the caller waiting."""

from __future__ import annotations

import collections
import logging
import os
import selectors
import subprocess
import sys
import threading
import time

from streamserver.core import secrets
from streamserver.core.errors import SourceError
from streamserver.core.picture import Picture
from streamserver.core.processes import PARENT_PID_VARIABLE
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.urls import for_ffmpeg, masked
from streamserver.media.backoff import backoff_s
from streamserver.media.encoding import Encoding, to_frame
from streamserver.media.push_order import READY, TIME_BYTES, Order

logger = logging.getLogger(__name__)

WAITING = 8
"""Pictures that may wait; when there are more, the oldest go."""

_CONNECT_S = 15.0
_STALL_S = 8.0
"""Time a server has to take one frame (after the pipe and its own buffers are full)."""

_HEALTHY_S = 10.0
_LAST_FRAMES_S = 3.0
_TICK_S = 0.1


class Pusher:
    """One stream to one server, from a thread of its own and a process that speaks with the server.

    The newest pictures win: while the server is away or slow, the oldest waiting ones are left out and counted. A
    server that is away is tried again for ever, 30 s apart at most; the log says so once for each reason, and again
    when it is back.

    Args:
        url: ``rtsp://`` or ``rtmp://``; may hold credentials.
        encoding: what to send.
    """

    def __init__(self, url: str, encoding: Encoding) -> None:
        self.dropped = 0
        secrets.register(url)
        self._name = masked(url)
        self._url = url
        self._encoding = encoding
        self._waiting: collections.deque[tuple[int, Picture]] = collections.deque()
        self._news = threading.Condition()
        self._closing = False
        self._hurry = threading.Event()
        self._started = time.monotonic()
        self._last_ms = -1
        self._away_since: float | None = None
        self._ready_at: float | None = None
        self._dropped_before: int | None = None
        self._reasons: set[str] = set()
        self._thread = threading.Thread(target=self._run, name=f"push {self._name}", daemon=True)
        self._thread.start()

    def put(self, picture: Picture) -> None:
        """Hands over a picture; returns at once. After ``close`` nothing is taken any more.

        Raises:
            RuntimeError: the thread that sends was ended by something unexpected, such as a picture that cannot be had.
        """
        if self._closing:
            return
        if not self._thread.is_alive():
            raise RuntimeError(f"{self._name}: the thread that sends has died; its traceback is on standard error")
        now_ms = max(self._last_ms + 1, round((time.monotonic() - self._started) * 1000))
        self._last_ms = now_ms
        with self._news:
            self._waiting.append((now_ms, picture))
            while len(self._waiting) > WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._news.notify()

    def close(self, *, hurry: bool = False) -> None:
        """Sends what waits, unless ``hurry``, and ends the stream; takes a few seconds at most."""
        with self._news:
            self._closing = True
            self._news.notify()
        if hurry:
            self._hurry.set()
        self._thread.join(_LAST_FRAMES_S)
        self._hurry.set()
        self._thread.join(_LAST_FRAMES_S)

    def _run(self) -> None:
        while (first := self._next()) is not None:
            self._ready_at = None
            try:
                self._push_from(first)
            except SourceError as e:
                with self._news:
                    self.dropped += 1
                healthy = self._ready_at is not None and time.monotonic() - self._ready_at > _HEALTHY_S
                if healthy or self._away_since is None:
                    self._away_since = time.monotonic()
                self._away(e.message)
        if self.dropped:
            logger.info("%s: %d frames were left out in all", self._name, self.dropped)

    def _next(self) -> tuple[int, Picture] | None:
        """The oldest waiting picture; ``None`` once there are no more to come, or nobody wants to wait for them."""
        with self._news:
            while not self._waiting and not self._closing:
                self._news.wait()
            return None if not self._waiting or self._hurry.is_set() else self._waiting.popleft()

    def _away(self, reason: str) -> None:
        """Says once for each reason that the server is away, and waits before the next try; drops go on meanwhile."""
        if self._hurry.is_set():
            return
        assert self._away_since is not None
        delay_s = backoff_s(time.monotonic() - self._away_since)
        if self._dropped_before is None:
            self._dropped_before = self.dropped
            logger.warning("%s: %s; frames are left out until the server takes them", self._name, reason)
        else:
            level = logging.DEBUG if reason in self._reasons else logging.WARNING
            logger.log(level, "%s: %s; frames are still left out", self._name, reason)
        self._reasons.add(reason)
        with self._news:
            self._news.wait_for(lambda: self._closing, delay_s)
            if self._closing:
                self.dropped += len(self._waiting)
                self._waiting.clear()

    def _push_from(self, first: tuple[int, Picture]) -> None:
        """Sends pictures over one connection.

        Raises:
            SourceError: it broke off, or never came about.
        """
        encoding = self._encoding.for_picture(first[1].size_wh)
        order = Order(
            url=for_ffmpeg(self._url),
            codec=encoding.codec,
            pixel_format=encoding.pixel_format,
            rate=encoding.rate,
            size_wh=encoding.size_wh,
        )
        with _Connection(order, self._hurry) as connection:
            connection.wait_until_ready()
            self._ready_at = time.monotonic()
            lost = (
                "" if self._dropped_before is None else f" again; {self.dropped - self._dropped_before} were left out"
            )
            self._dropped_before = None
            self._reasons.clear()
            logger.info("%s: takes frames of %dx%d%s", self._name, *encoding.size_wh, lost)
            item: tuple[int, Picture] | None = first
            while item is not None:
                connection.send(item[0], item[1])
                item = self._next()


class _Connection:
    """The child process that holds one connection; ended with the ``with`` block."""

    def __init__(self, order: Order, hurry: threading.Event) -> None:
        self._order = order
        self._hurry = hurry
        path = os.pathsep.join(filter(None, [str(PROJECT_DIR), os.environ.get("PYTHONPATH", "")]))
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "streamserver.media.push_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": path, PARENT_PID_VARIABLE: str(os.getpid())},
            )
        except OSError as e:
            raise SourceError(f"its process cannot be started: {e.strerror}") from e
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._said = b""

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Lets the child send the last frames, unless something is wrong or there is no time."""
        self._stdin.close()
        if kind is None:
            deadline = time.monotonic() + _LAST_FRAMES_S
            while self._process.poll() is None and time.monotonic() < deadline and not self._hurry.wait(_TICK_S / 5):
                pass
        self._process.kill()
        self._process.wait()
        self._stdout.close()

    def wait_until_ready(self) -> None:
        """Returns once the server has taken the stream; raises ``SourceError`` when it has not."""
        self._write(self._order.to_line(), _STALL_S)
        deadline = time.monotonic() + _CONNECT_S
        while READY not in self._said:
            if time.monotonic() > deadline or self._hurry.is_set():
                raise SourceError("no answer in time")
            self._listen(_TICK_S)

    def send(self, time_ms: int, picture: Picture) -> None:
        """Hands one frame to the child; raises ``SourceError`` when the server no longer takes any."""
        frame = to_frame(picture.bgr, self._order.size_wh, self._order.pixel_format)
        self._write(time_ms.to_bytes(TIME_BYTES), _STALL_S)
        self._write(frame.to_ndarray().tobytes(), _STALL_S)

    def _write(self, data: bytes, limit_s: float) -> None:
        rest = memoryview(data)
        deadline = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            selector.register(self._stdout, selectors.EVENT_READ)
            while len(rest):
                ready = {key.fileobj for key, _ in selector.select(_TICK_S)}
                if self._stdout in ready:
                    self._listen(0.0)
                elif self._stdin in ready:
                    rest = rest[self._write_some(rest) :]
                if self._hurry.is_set():
                    raise SourceError("there was no time to send the rest")
                if time.monotonic() > deadline:
                    raise SourceError("it takes no more frames")

    def _write_some(self, rest: memoryview) -> int:
        try:
            return os.write(self._stdin.fileno(), rest)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self._listen(_TICK_S)
            raise SourceError("the connection broke off") from None

    def _listen(self, timeout_s: float) -> None:
        """Takes what the child says; raises ``SourceError`` with its last words when it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                return
        said = os.read(self._stdout.fileno(), 4096)
        self._said += said
        words = self._said.replace(READY, b"")
        if not said or b"\n" in words:
            raise SourceError(words.decode("utf-8", "replace").strip() or "the connection broke off")
