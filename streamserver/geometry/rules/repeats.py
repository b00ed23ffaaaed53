"""How often an object has qualified: when to report it first and when again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

_FORGET_MIN_FRAMES = 30
_FORGET_MAX_FRAMES = 10_000


@dataclass(slots=True)
class _Count:
    frames: int
    last_step: int


class Repeats:
    """Counts, for each object, the processed frames in which it qualified.

    An object is due when it has qualified in more than ``first`` frames, and again after every ``every`` further ones.
    A frame without it costs nothing; after ``forget_after`` processed frames in a row without it, the object is
    forgotten and starts anew. ``forget_after`` is ``every``, but at least 30 and at most 10,000 frames: an object does
    not get its next alarm early by leaving for a moment, and memory is bounded by what recent frames showed.
    """

    def __init__(self, *, first: int, every: int) -> None:
        self._first = max(0, first)
        self._every = max(1, every)
        self.forget_after = min(max(_FORGET_MIN_FRAMES, self._every), _FORGET_MAX_FRAMES)
        self._counts: dict[Hashable, _Count] = {}

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._counts)

    def reset(self) -> None:
        """Forgets all objects."""
        self._counts.clear()

    def update(self, step: int, names: Iterable[Hashable]) -> set[Hashable]:
        """Takes the objects that qualify in processed frame ``step``; returns those that are due now."""
        self._forget(step)
        due = set()
        for name in set(names):
            count = self._counts.setdefault(name, _Count(0, step))
            count.frames += 1
            count.last_step = step
            beyond = count.frames - self._first - 1
            if beyond >= 0 and beyond % self._every == 0:
                due.add(name)
        return due

    def _forget(self, step: int) -> None:
        gone = [name for name, count in self._counts.items() if step - count.last_step > self.forget_after]
        for name in gone:
            del self._counts[name]
