"""How often the same may be told about the same object, and when an object that was gone counts as a new one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from streamserver.geometry.rules.rule import RuleFrame

MISSED_FRAMES = 2
"""Processed frames in a row in which a detector may miss an object that is still there."""

MISSED_S = 1.0
"""The same in seconds, where frames are many."""


MOST_REMEMBERED = 10_000
"""However long ``rearm_s`` is, a rule remembers at most so many objects: those unseen for longest count as gone."""


@dataclass(slots=True)
class Sighting:
    """When an object was last there: by the number of the frame among those its rule has seen, and by ``clock_s``."""

    frame: int
    clock_s: float

    def is_recent(self, frame: int, clock_s: float) -> bool:
        """True if the object still counts as there, though a detector may have missed it since."""
        return frame - self.frame <= MISSED_FRAMES or clock_s - self.clock_s <= MISSED_S

    def is_gone(self, frame: int, clock_s: float, rearm_s: float) -> bool:
        """True after ``rearm_s`` without it, and more than ``MISSED_FRAMES`` frames, however far apart they come."""
        return clock_s - self.clock_s >= rearm_s and frame - self.frame > MISSED_FRAMES


@dataclass(slots=True)
class _Told:
    seen: Sighting
    last: dict[str, tuple[int, float]] = field(default_factory=dict)


class Pacing:
    """Notes what was told about whom. Only those of whom something was told are remembered, until they are gone.

    Call ``see`` once for each processed frame, then ``allows`` for what is to be told in it.

    Args:
        every: processed frames between two reports of the same; 0 for no repeat until the object was gone.
        cooldown_s: least seconds between them.
        rearm_s: an object that was gone for so long is forgotten, and with it its cool-down: it counts as new.
    """

    def __init__(self, *, every: int, cooldown_s: float, rearm_s: float) -> None:
        self._every = max(0, every)
        self._cooldown_s = cooldown_s
        self._rearm_s = rearm_s
        self._told: dict[int, _Told] = {}  # those seen longest ago come first
        self._frame = 0

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._told)

    def reset(self) -> None:
        """Forgets all objects."""
        self._told.clear()

    def see(self, frame: RuleFrame, identities: Iterable[int]) -> None:
        """Takes who is there in ``frame``, and forgets who is gone.

        ``identities`` may hold 0 for what is no single object; it is then there, and gone, like one.
        """
        self._frame += 1
        for identity in identities:
            if (told := self._told.pop(int(identity), None)) is not None:
                self._told[int(identity)] = told
                told.seen = Sighting(self._frame, frame.clock_s)
        while self._told:
            identity, told = next(iter(self._told.items()))
            is_gone = told.seen.is_gone(self._frame, frame.clock_s, self._rearm_s)
            if not is_gone and len(self._told) <= MOST_REMEMBERED:
                return
            del self._told[identity]

    def allows(self, key: tuple[int, str], step: int, clock_s: float) -> bool:
        """Whether ``key``, an identity and what is said of it, may be told now; notes it as told if so."""
        identity, what = key
        told = self._told.get(identity)
        if told is not None and what in told.last and not self._is_over(told.last[what], step, clock_s):
            return False
        if told is None:
            told = self._told[identity] = _Told(Sighting(self._frame, clock_s))
        told.last[what] = (step, clock_s)
        return True

    def _is_over(self, last: tuple[int, float], step: int, clock_s: float) -> bool:
        last_step, last_s = last
        return 0 < self._every <= step - last_step and clock_s - last_s >= self._cooldown_s
