"""Pictures that others POST to an endpoint of the engine (``base64://host:port/path``): the source type BASE64.

There is no clock: a picture comes when somebody has one, so such a source is never late and never stands still. Who
sends faster than the engine works is held back, and then told 503; what was answered with 200 goes to the graph.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import SourceError, SourceMissingError
from streamserver.core.picture import Picture
from streamserver.core.pictures_address import PicturesAddress, parse_pictures
from streamserver.core.source_monitor import SourceMonitor
from streamserver.media.backoff import backoff_s
from streamserver.media.picture_request import MAX_PICTURES, MAX_PIXELS, pictures_in
from streamserver.media.picture_server import BusyError, PictureServer
from streamserver.media.sources import SourceFrame, SourceSpec

logger = logging.getLogger(__name__)

_ROOM_S = 5.0
"""How long a request waits for its turn and for room, before it is told to come again."""

_SIGN_OF_LIFE_S = 10.0
_POLL_S = 0.5


def read(spec: SourceSpec, *, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    """The pictures in the order in which they were taken, until ``stopping`` is set.

    While the port is taken by another program, it is tried again and again, as a camera that is away is.

    Raises:
        SourceMissingError: the address can never be listened at, or another channel of the process has it.
    """
    monitor.connecting()
    address = parse_pictures(spec.url)
    away_since, said = time.monotonic(), ""
    while not stopping.is_set():
        try:
            with _endpoint(address) as inbox:
                logger.info("%s: listening for pictures", spec.url)
                yield from _frames(inbox, stopping, monitor)
                return
        except SourceMissingError:
            raise
        except SourceError as e:
            monitor.reconnecting(e.message)
            level = logging.DEBUG if e.message == said else logging.WARNING
            logger.log(level, "%s: %s", spec.url, e)
            said = e.message
            stopping.wait(backoff_s(time.monotonic() - away_since))


class _Inbox:
    """The pictures of one endpoint that wait for the engine: few, for each may be large."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[ImageBgr, int]] = deque()
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._closed = False

    def take(self, body: bytes) -> int:
        """Decodes the pictures of a request and keeps all of them or none; one request at a time.

        Raises:
            BadPictureError: see ``picture_request.pictures_in``.
            BusyError: there was no room for ``_ROOM_S``.
        """
        deadline = time.monotonic() + _ROOM_S
        if not self._turn.acquire(timeout=_ROOM_S):
            raise BusyError
        try:
            pictures = pictures_in(body)
            pixels = sum(picture.size // 3 for picture in pictures)
            with self._changed:
                left_s = max(0.0, deadline - time.monotonic())
                self._changed.wait_for(lambda: self._closed or self._has_room(len(pictures), pixels), left_s)
                if self._closed or not self._has_room(len(pictures), pixels):
                    raise BusyError
                now_us = time.time_ns() // 1000
                self._waiting.extend((picture, now_us) for picture in pictures)
                self._changed.notify_all()
            return len(pictures)
        finally:
            self._turn.release()

    def next(self, wait_s: float) -> tuple[ImageBgr, int] | None:
        """The oldest picture and when it came, in microseconds since the epoch; ``None`` when none came in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, wait_s)
            if not self._waiting:
                return None
            oldest = self._waiting.popleft()
            self._changed.notify_all()
            return oldest

    def close(self) -> None:
        """Takes nothing more; those who wait are told to come again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, count: int, pixels: int) -> bool:
        waiting_pixels = sum(picture.size // 3 for picture, _ in self._waiting)
        return len(self._waiting) + count <= MAX_PICTURES and waiting_pixels + pixels <= MAX_PIXELS


class _Ports:
    """The servers of this process, so that channels can share a port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, int], PictureServer] = {}

    def open(self, address: PicturesAddress, inbox: _Inbox) -> None:
        """Lets what is posted to ``address`` go to ``inbox``; raises ``SourceError``."""
        with self._lock:
            server = self._servers.get(address.place)
            if server is None:
                self._servers[address.place] = _listen(address, inbox)
            elif not server.add(address.path, inbox.take):
                raise SourceMissingError(
                    f"another channel takes the pictures of port {address.port}, path '{address.path}'",
                    cure="give each channel a path of its own",
                )

    def close(self, address: PicturesAddress) -> None:
        """Ends the endpoint, and the server with its last one."""
        with self._lock:
            server = self._servers[address.place]
            if server.remove(address.path):
                del self._servers[address.place]
                server.close()


_ports = _Ports()


@contextmanager
def _endpoint(address: PicturesAddress) -> Iterator[_Inbox]:
    inbox = _Inbox()
    _ports.open(address, inbox)
    try:
        yield inbox
    finally:
        inbox.close()
        _ports.close(address)


def _listen(address: PicturesAddress, inbox: _Inbox) -> PictureServer:
    try:
        return PictureServer(address.place, {address.path: inbox.take})
    except OSError as e:
        problem = f"port {address.port} of {address.host} cannot be listened at: {e.strerror or e}"
        if e.errno == errno.EACCES:
            raise SourceMissingError(problem, cure="choose a port from 1024 on") from e
        raise SourceError(problem, cure="end the program that has the port, or choose another") from e


def _frames(inbox: _Inbox, stopping: threading.Event, monitor: SourceMonitor) -> Iterator[SourceFrame]:
    frame_id = 0
    last_sign = time.monotonic()
    while not stopping.is_set():
        found = inbox.next(_POLL_S)
        if found is None:
            if time.monotonic() - last_sign > _SIGN_OF_LIFE_S:
                last_sign = time.monotonic()
                _say_again(monitor, streaming=frame_id > 0)
            continue
        image, timestamp_us = found
        size_wh = (image.shape[1], image.shape[0])
        if frame_id == 0:
            monitor.streaming(f"pictures {size_wh[0]}x{size_wh[1]}")
        monitor.picture()
        last_sign = time.monotonic()
        picture = _picture(size_wh, image)
        yield SourceFrame(frame_id, 0, timestamp_us, last_sign, discontinuity=frame_id == 0, picture=picture)
        frame_id += 1


def _say_again(monitor: SourceMonitor, *, streaming: bool) -> None:
    """Whoever waits for a picture says so now and then, or the engine would take the reader for hung."""
    if streaming:
        monitor.streaming(connected=False)
    else:
        monitor.connecting()


def _picture(size_wh: tuple[int, int], image: ImageBgr) -> Picture:
    return Picture(size_wh, lambda: image)
