"""What the processes count for ``/metrics``, and the closed sets of words that they count by.

Each process counts since its own start and says so in its status file; ``supervise/tally.py`` makes sums of it that
outlive the processes. A histogram is told as a list: how many values lay in each bucket, those above the last bound,
and the sum of all.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import Any

TALLY_FILE = "run/tally.json"
"""Where the supervisor keeps the sums, relative to the state folder."""

FRAME_RESULTS = ("processed", "dropped", "broken")
"""Of ``frames_total``: analysed; left out because the engine was busy; packets that were lost or not decodable."""

RECONNECT_REASONS = ("ended", "lost", "stalled", "frozen")
"""Of ``stream_reconnects_total``: the server ended the stream; it broke off; no picture came; always the same came."""

ATTEMPT_OUTCOMES = ("delivered", "refused", "unreachable", "failed")
"""Of ``delivery_attempts_total``: the address took the alarm; it does not want this one; nobody could be connected to;
anything else, such as an error of the server or no answer in time.
"""

DROP_REASONS = ("expired", "full", "damaged", "refused")
"""Of ``alarms_dropped_total``: waited for longer than ``retention_h``; more waited than ``outbox_max_mb`` allows; went
with a damaged file; refused by every address, and kept as a dead letter, which may be replayed.
"""

RESTART_ROLES = ("engine", "client", "courier", "supervisor")
"""Of ``process_restarts_total``: who was started anew."""

RESTART_REASONS = ("crashed", "killed", "ended", "port", "silent", "late", "memory", "started")
"""Of ``process_restarts_total``: it left with an error; a signal ended it; it left before its work was done; its port
was taken; it gave no sign of life; it was not ready in time; it held too much memory; for the supervisor: it began.
"""

INFERENCE_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
DELAY_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
REQUEST_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_MOST_MODELS = 20


class Histogram:
    """Counts values by size; thread-safe.

    Args:
        bounds: the upper bounds of the buckets, ascending; a value that equals one lies below it.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Counts ``value``; one below 0, which a stepped clock makes, counts as 0."""
        value = max(value, 0.0)
        place = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[place] += 1
            self._sum += value

    def told(self) -> list[float]:
        """The form of the status files, see the module."""
        with self._lock:
            return [*self._counts, round(self._sum, 6)]


class InferenceTimes:
    """How long the runs of the models of one process took; thread-safe."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], Histogram] = {}

    def observe(self, model: str, device: str, duration_s: float) -> None:
        """Counts one run of ``model`` (its file's name) on ``device``: cpu, cuda:0, tensorrt:0 or remote."""
        times = self._times.get((model, device))
        if times is None:
            key = (model, device) if len(self._times) < _MOST_MODELS else ("other", device)
            times = self._times.setdefault(key, Histogram(INFERENCE_BOUNDS_S))
        times.observe(duration_s)

    def told(self) -> list[list[Any]]:
        """Model, device and histogram of each."""
        return [[model, device, times.told()] for (model, device), times in self._times.copy().items()]


inference_times = InferenceTimes()
"""Of this process, as ``core.secrets`` knows those of this process: sessions are opened deep inside elements."""


class DeliveryCounts:
    """What became of the POSTs of one process; thread-safe."""

    def __init__(self) -> None:
        self._attempts: Counter[str] = Counter()
        self._delay = Histogram(DELAY_BOUNDS_S)
        self._lock = threading.Lock()

    def attempted(self, outcome: str) -> None:
        """Counts a POST; ``outcome`` is one of ``ATTEMPT_OUTCOMES``."""
        with self._lock:
            self._attempts[outcome] += 1

    def delivered(self, delay_s: float) -> None:
        """Counts an alarm that an address has taken, so many seconds after it was raised."""
        self._delay.observe(delay_s)

    def attempts(self) -> dict[str, int]:
        """POSTs by outcome."""
        with self._lock:
            return dict(self._attempts)

    def delays(self) -> list[float]:
        """The histogram of the delays."""
        return self._delay.told()
