"""How the guard sees that a program lives: a number that changes, an answer over HTTP, what the kernel says of it."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamserver.core import tls

ASK_INTERVAL_S = 2.0
"""How often the API is asked for a sign of life."""

ANSWER_LIMIT_S = 5.0
"""How long one answer may take; the next question follows at once, so a slow machine has several."""

_OUR_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - recognised, not listened on  # nosec B104
_REQUEST = b"GET /livez HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How a program shows that it lives.

    Attributes:
        read: a number that changes as long as it lives.
        first_s: time until the number changes for the first time.
        silence_s: time without a change after which it counts as hung.
        with_children: its children do its work, so one that is stopped is ended; it starts another by itself.
    """

    read: Callable[[], int]
    first_s: float
    silence_s: float
    with_children: bool = False


class WebProbe:
    """Asks the API for ``/livez`` again and again, in a thread of its own.

    Args:
        host: the setting ``host``; where it stands for every address, loopback is asked.
        port: the setting ``port``.
        is_https: it speaks TLS; whose certificate it has does not matter here.
        interval_s: pause between two questions.
        limit_s: time for one answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        is_https: bool = False,
        interval_s: float = ASK_INTERVAL_S,
        limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self._tls = tls.unverified() if is_https else None
        self._address = (_ANYWHERE.get(host, host), port)
        self._interval_s = interval_s
        self._limit_s = limit_s
        self.answers = 0
        """How often the API has answered."""

    def start(self) -> None:
        """Begins to ask; ends with the process."""
        threading.Thread(target=self._ask_for_ever, name="web probe", daemon=True).start()

    def _ask_for_ever(self) -> None:
        while True:
            asked_at = time.monotonic()
            self.answers += self.ask()
            time.sleep(max(0.1, self._interval_s - (time.monotonic() - asked_at)))

    def ask(self) -> bool:
        """One question: ``False`` when there was no answer; trouble of our own is not the API's silence."""
        until = time.monotonic() + self._limit_s
        try:
            with self._connect() as connection:
                connection.sendall(_REQUEST)
                said = b""
                while len(said) < 12 and (left_s := until - time.monotonic()) > 0:
                    connection.settimeout(left_s)
                    piece = connection.recv(1024)
                    if not piece:
                        break
                    said += piece
        except socket.gaierror:
            return True
        except OSError as e:
            return e.errno in _OUR_OWN_TROUBLE
        return said.startswith(b"HTTP/1.") and said[9:12] == b"200"

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, self._limit_s)
        try:
            return self._tls.wrap_socket(connection) if self._tls else connection
        except BaseException:
            connection.close()
            raise


def web_beat_file(state_path: Path) -> Path:
    """Its time of change moves while the API answers anybody: a long queue before ``/livez`` is no silence."""
    return state_path / "web.beat"


def last_change(path: Path) -> int:
    """When a file was changed last, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def is_stopped(pid: int) -> bool:
    """True while a process stands still because of SIGSTOP or its kin; a debugger's hold does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


def children_of(pid: int) -> list[int]:
    """The processes that the main thread of ``pid`` has started and not buried; none where the kernel does not say."""
    with suppress(OSError, ValueError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
