"""What several readings of one thing say together."""

from __future__ import annotations

from collections import defaultdict, deque


class Votes:
    """The last readings of one thing, each with a weight.

    A vote on each character of equally long texts was tried, too: of blurred, tilted plates it was right no more often
    than this one on whole texts, whose winner is always something that was really read.

    Args:
        window: how many readings are kept; older ones no longer count.
    """

    def __init__(self, *, window: int) -> None:
        self._readings: deque[tuple[str, float]] = deque(maxlen=window)

    def __len__(self) -> int:
        """Readings kept."""
        return len(self._readings)

    def add(self, text: str, weight: float) -> None:
        """One more reading."""
        self._readings.append((text, weight))

    def keep_last(self, count: int) -> None:
        """Forgets all readings but the last ones."""
        while len(self._readings) > count:
            self._readings.popleft()

    def winner(self) -> tuple[str, float]:
        """The text with the most weight, and how sure of it one may be; empty without any reading.

        That is its share of all weight times the mean weight of its readings. Of equals, the one read last wins.
        """
        sums: defaultdict[str, float] = defaultdict(float)
        counts: defaultdict[str, int] = defaultdict(int)
        last: dict[str, int] = {}
        for i, (text, weight) in enumerate(self._readings):
            sums[text] += weight
            counts[text] += 1
            last[text] = i
        if not sums:
            return "", 0.0
        best = max(sums, key=lambda text: (sums[text], last[text]))
        total = sum(sums.values())
        return best, sums[best] / total * sums[best] / counts[best] if total else 0.0
