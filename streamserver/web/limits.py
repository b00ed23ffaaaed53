"""How often somebody may ask, and how often be wrong. Memory is bounded: who was not seen longest is forgotten."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST = 10_000
"""So many callers are remembered; who uses more addresses than that gains nothing but being forgotten."""


class Buckets:
    """A token bucket for each caller.

    Args:
        rate_per_s: how many tokens come in a second; 0 for no limit.
        depth: how many there can be at once.
        clock: monotonic time in seconds.
    """

    def __init__(self, rate_per_s: float, depth: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._depth = max(depth, 1.0)
        self._clock = clock
        self._lock = threading.Lock()
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Takes one token and returns 0; without one, the seconds until there is one."""
        if not self._rate_per_s:
            return 0.0
        now = self._clock()
        with self._lock:
            tokens, at = self._filled.pop(caller, (self._depth, now))
            tokens = min(self._depth, tokens + (now - at) * self._rate_per_s)
            wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate_per_s
            self._filled[caller] = (tokens if wait_s else tokens - 1, now)
            _forget(self._filled)
        return wait_s

    def __len__(self) -> int:
        return len(self._filled)


@dataclass(slots=True)
class _Failures:
    count: int = 0
    since: float = 0.0
    last: float = 0.0
    locks: int = 0
    locked_until: float = 0.0


class LockOut:
    """Refuses who sends one wrong key after another, for longer each time; a key that was good from there goes on.

    Args:
        clock: monotonic time in seconds.
    """

    failures = 10
    within_s = 60.0
    longest_s = 900.0
    forgotten_after_s = 3600.0

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[str, _Failures] = OrderedDict()
        self._good: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait_s(self, network: str, key_id: str) -> float:
        """Seconds for which ``network`` is locked out with this key; 0 when it is not."""
        with self._lock:
            found = self._failed.get(network)
            if found is None or (network, key_id) in self._good:
                return 0.0
            return max(0.0, found.locked_until - self._clock())

    def note_failure(self, network: str) -> None:
        """A wrong key came from ``network``."""
        now = self._clock()
        with self._lock:
            found = self._failed.pop(network, _Failures(since=now, last=now))
            if now - found.last > self.forgotten_after_s:
                found = _Failures(since=now)
            if now - found.since > self.within_s:
                found.count, found.since = 0, now
            found.count, found.last = found.count + 1, now
            if found.count >= self.failures:
                found.locked_until = now + min(self.longest_s, self.within_s * 2**found.locks)
                found.count, found.locks = 0, min(found.locks + 1, 10)
            self._failed[network] = found
            _forget(self._failed)

    def note_success(self, network: str, key_id: str) -> None:
        """A good key came from ``network``."""
        with self._lock:
            self._good.pop((network, key_id), None)
            self._good[network, key_id] = None
            _forget(self._good)

    def __len__(self) -> int:
        return len(self._failed) + len(self._good)


def _forget(
    remembered: OrderedDict[str, tuple[float, float]]
    | OrderedDict[str, _Failures]
    | OrderedDict[tuple[str, str], None],
) -> None:
    while len(remembered) > MOST:
        remembered.popitem(last=False)
