"""Identifiers that sort by the time they were made: UUID version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from uuid import UUID

_COUNTER_BITS = 12
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1


class Uuid7Source:
    """Makes UUIDs of version 7, each greater than the one before, whatever the clock does. Thread-safe.

    The 12 bits after the time are a counter within one millisecond; it starts in its lower half at random, and when it
    runs over, the time is taken to be one millisecond further.

    Args:
        clock_ns: wall clock in nanoseconds since the epoch.
        random_bits: a random number of so many bits.
        after: all identifiers are greater than this one.
    """

    def __init__(
        self,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        random_bits: Callable[[int], int] = secrets.randbits,
        after: UUID | None = None,
    ) -> None:
        self._clock_ns = clock_ns
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last_ms = after.int >> 80 if after is not None else -1
        self._counter = after.int >> 64 & _COUNTER_MAX if after is not None else 0

    def __call__(self) -> UUID:
        """The next identifier."""
        with self._lock:
            self._advance()
            milliseconds, counter = self._last_ms, self._counter
        value = (milliseconds & (1 << 48) - 1) << 80
        value |= 0x7 << 76 | counter << 64
        value |= 0b10 << 62 | self._random_bits(62)
        return UUID(int=value)

    def _advance(self) -> None:
        now_ms = self._clock_ns() // 1_000_000
        if now_ms > self._last_ms:
            self._last_ms, self._counter = now_ms, self._random_bits(_COUNTER_BITS - 1)
        elif self._counter < _COUNTER_MAX:
            self._counter += 1
        else:
            self._last_ms, self._counter = self._last_ms + 1, self._random_bits(_COUNTER_BITS - 1)
