"""Who is there, and since when: reports an object once it has stayed, and again only after it was forgotten.

Counts *processed frames*, not posts: a frame that the engine did not push, because nothing in it qualified, counts as
absence. That is why every call says which frame it is.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(slots=True)
class _Entry:
    """One object: its last frame, its run of frames in a row and whether it was reported."""

    last_step: int
    streak: int
    reported: bool


class Presence(Generic[Name]):
    """Tells when an object has been present ``enter_frames`` processed frames in a row.

    An object is forgotten once it was absent ``leave_frames`` processed frames in a row; only then may it be reported
    again. An absence shorter than that breaks the run before the report, and changes nothing after it.

    Args:
        enter_frames: frames in a row before the report, at least 1.
        leave_frames: frames in a row after which an object is forgotten, at least 1.
    """

    def __init__(self, *, enter_frames: int, leave_frames: int) -> None:
        self.enter_frames = max(1, enter_frames)
        self.leave_frames = max(1, leave_frames)
        self._entries: dict[Name, _Entry] = {}
        self._last_step: int | None = None

    def __len__(self) -> int:
        """How many objects are remembered: those of the last ``leave_frames`` processed frames, at most."""
        return len(self._entries)

    def update(self, step: int, names: Iterable[Name]) -> list[Name]:
        """Takes the objects of one processed frame; returns those to report now, in the order given.

        Args:
            step: the number of the processed frame; it grows by 1 from one processed frame to the next. A smaller
                number than before means that the source started over, and everything is forgotten.
            names: what is present; a name given twice counts once.
        """
        if self._last_step is not None and step < self._last_step:
            self._entries.clear()
        self._last_step = step
        present = dict.fromkeys(names)
        self._forget(step, present)
        due = []
        for name in present:
            entry = self._enter(step, name)
            if not entry.reported and entry.streak >= self.enter_frames:
                entry.reported = True
                due.append(name)
        return due

    def _enter(self, step: int, name: Name) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry(step, 1, reported=False)
        elif entry.last_step != step:
            entry.streak = entry.streak + 1 if entry.last_step == step - 1 else 1
            entry.last_step = step
        return entry

    def _forget(self, step: int, present: Container[Name]) -> None:
        """Drops who was absent long enough: up to this frame, or, who is back in it, up to the one before."""
        gone = [
            name
            for name, entry in self._entries.items()
            if step - entry.last_step - (name in present) >= self.leave_frames
        ]
        for name in gone:
            del self._entries[name]
