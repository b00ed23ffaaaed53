"""Names looked up in a few threads, for callers who cannot wait for a name server."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

_MOST_AT_ONCE = 8
_KEEP_S = 5.0
_MOST_KEPT = 256


@dataclass(slots=True, eq=False)
class _Answer:
    addresses: tuple[str, ...] = ()
    done: threading.Event = field(default_factory=threading.Event)
    begun_at: float = field(default_factory=time.monotonic)


class Lookups:
    """Answers are kept for five seconds, those that name nothing too; at most eight lookups are under way.

    A name server that does not answer costs threads, but never more than these; who asks meanwhile learns nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._answers: dict[str, _Answer] = {}

    def begin(self, host: str, *, until: float) -> None:
        """Begins to look up ``host``, unless it was lately; waits for a free thread until ``until`` (monotonic)."""
        if self._known(host) is not None or not self._room.acquire(timeout=max(0.0, until - time.monotonic())):
            return
        answer = _Answer()
        with self._lock:
            self._answers[host] = answer
            while len(self._answers) > _MOST_KEPT:
                del self._answers[next(iter(self._answers))]
        try:
            threading.Thread(target=self._look_up, args=(host, answer), name="lookup", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            self._end(answer)

    def addresses(self, host: str, *, until: float) -> tuple[str, ...]:
        """The IP addresses of ``host``; none when there are none, or none are known at ``until`` (monotonic)."""
        self.begin(host, until=until)
        answer = self._known(host)
        if answer is None or not answer.done.wait(max(0.0, until - time.monotonic())):
            return ()
        return answer.addresses

    def _known(self, host: str) -> _Answer | None:
        with self._lock:
            answer = self._answers.get(host)
            if answer is not None and answer.done.is_set() and time.monotonic() - answer.begun_at > _KEEP_S:
                del self._answers[host]
                return None
            return answer

    def _look_up(self, host: str, answer: _Answer) -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            answer.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
        except (OSError, UnicodeError):
            pass
        finally:
            self._end(answer)

    def _end(self, answer: _Answer) -> None:
        answer.done.set()
        self._room.release()
