"""The engine's preview socket: takes questions (``core.preview``) and passes on what the studio makes."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from streamserver.core.preview import (
    PreviewRefused,
    Wish,
    error_message,
    jpeg_message,
    read_line,
    socket_address,
)
from streamserver.worker.studio import Studio

logger = logging.getLogger(__name__)

MAX_VIEWERS = 8
MAX_SNAPSHOTS = 8
_MAX_CONNECTIONS = 32
"""With those that have not said yet what they want; each has a thread."""

_ASK_TIMEOUT_S = 5.0
_TAKE_TIMEOUT_S = 5.0
_ACCEPT_PAUSE_S = 1.0
_BACKLOG = 32


class PreviewServer:
    """Listens in the task's folder; one thread accepts, and one serves each connection.

    Args:
        task_dir: the task's folder, which has the folder ``run``.
        studio: makes the pictures; started and closed with this.
    """

    def __init__(self, task_dir: Path, studio: Studio) -> None:
        self._task_dir = task_dir
        self._studio = studio
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._counts = {False: 0, True: 0}
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="preview", daemon=True)

    def open(self) -> None:
        """Starts to listen; without room for a socket the task runs without a preview, and the log says why."""
        try:
            self._listener = listen(self._task_dir)
        except OSError as e:
            logger.warning("no preview of this task: its socket cannot be made: %s", e.strerror or e)
            return
        self._studio.start()
        self._thread.start()

    def close(self) -> None:
        """Ends everything that ``open`` began, and every connection; may be called twice."""
        self._closing.set()
        if self._listener is None:
            return
        _wake(self._task_dir)
        remove_socket(self._task_dir)
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)
        self._studio.close()
        self._thread.join(_ACCEPT_PAUSE_S)
        self._listener.close()

    def viewers(self) -> int:
        """How many watch."""
        with self._lock:
            return self._counts[False]

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:  # no descriptor is left, or the end
                self._closing.wait(_ACCEPT_PAUSE_S)
                continue
            self._take_in(connection)

    def _take_in(self, connection: socket.socket) -> None:
        with self._lock:
            full = self._closing.is_set() or len(self._connections) >= _MAX_CONNECTIONS
            if not full:
                self._connections.add(connection)
        if full:
            connection.close()
            return
        threading.Thread(target=self._serve, args=[connection], name="preview viewer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_ASK_TIMEOUT_S)
            with connection.makefile("rb") as stream:
                wish = Wish.from_line(read_line(stream))
            self._show(connection, wish)
        except PreviewRefused as e:
            _refuse(connection, str(e))
        except (OSError, EOFError):
            pass  # it has left, takes nothing, or the engine ends
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _show(self, connection: socket.socket, wish: Wish) -> None:
        self._come(wish)
        try:
            connection.settimeout(_TAKE_TIMEOUT_S)
            with self._studio.watching(wish) as show:
                number = 0
                while True:
                    number, jpeg = self._studio.next_jpeg(show, number)
                    _send(connection, jpeg_message(jpeg))
                    if wish.once:
                        return
        finally:
            with self._lock:
                self._counts[wish.once] -= 1

    def _come(self, wish: Wish) -> None:
        most = MAX_SNAPSHOTS if wish.once else MAX_VIEWERS
        with self._lock:
            if self._counts[wish.once] >= most:
                raise PreviewRefused(_too_many(most, "wait for a snapshot of" if wish.once else "watch"))
            self._counts[wish.once] += 1


def listen(task_dir: Path) -> socket.socket:
    """A listening socket that only its owner can reach; what an engine that crashed left in its place goes.

    Raises:
        OSError: it cannot be made.
    """
    remove_socket(task_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before bind, which gives the file this mode
        with socket_address(task_dir) as address:
            listener.bind(address)
        listener.listen(_BACKLOG)
        listener.settimeout(_ACCEPT_PAUSE_S)
    except OSError:
        listener.close()
        raise
    return listener


def remove_socket(task_dir: Path) -> None:
    """Takes the socket's file away, if there is one."""
    with suppress(FileNotFoundError), socket_address(task_dir) as address:
        Path(address).unlink()


def _wake(task_dir: Path) -> None:
    """Lets whoever waits for a connection have one."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as caller, socket_address(task_dir) as address:
        caller.settimeout(_ACCEPT_PAUSE_S)
        caller.connect(address)


def _too_many(count: int, what: str) -> str:
    return f"{count} {what} this task already; close one, or try again later"


def _refuse(connection: socket.socket, reason: str) -> None:
    with suppress(OSError):  # it has left
        connection.settimeout(_TAKE_TIMEOUT_S)
        connection.send(error_message(reason))


def _send(connection: socket.socket, data: bytes) -> None:
    """Sends all of it to a viewer who takes something every few seconds; raises ``TimeoutError`` for others."""
    left = memoryview(data)
    while left:
        left = left[connection.send(left) :]


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that waits at a socket; closing is its own business."""
    with suppress(OSError):  # not connected any more
        connection.shutdown(socket.SHUT_RDWR)
