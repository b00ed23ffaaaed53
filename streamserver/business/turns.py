"""Whose turn it is: many outboxes, few places to work on them. Pure; times are monotonic seconds.

Outboxes with the same report addresses are a lane. Lanes take turns, so that a thousand alarms for an address that is
down do not hold up one for another. A lane that fails keeps no more than its share of the places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

PLACES = 16
"""Outboxes that are open at a time."""

STAY_S = 2.0
"""How long an outbox whose addresses take nothing keeps its place while others wait."""

LONGEST_STAY_S = 30.0
"""How long one that is being delivered keeps it while others wait."""

TROUBLE_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses before the next try of an outbox that cannot be opened or read; the last one holds for all that follow."""

Lane = Hashable


@dataclass(slots=True)
class _Waiting:
    lane: Lane
    not_before: float
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How an outbox with a place is doing.

    Attributes:
        since: when it got the place.
        moved_at: when an alarm of it was last delivered or settled; ``since`` before the first.
        stuck: all its addresses failed, or nothing of it is due.
        patience_s: how long one try of all its addresses may take.
    """

    since: float
    moved_at: float
    stuck: bool
    patience_s: float


class Turns:
    """The queue of outboxes, by key."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._waiting: dict[str, _Waiting] = {}
        self._at_work: dict[str, Lane] = {}
        self._failing: set[Lane] = set()
        self._served: dict[Lane, int] = {}
        self._troubles: Counter[str] = Counter()
        self._number = 0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting or key in self._at_work

    def wait(self, key: str, lane: Lane, *, not_before: float = float("-inf")) -> None:
        """Puts ``key`` at the end of its lane; its place, if it had one, is free."""
        self._at_work.pop(key, None)
        self._number += 1
        self._waiting[key] = _Waiting(lane, not_before, self._number)

    def wait_after_trouble(self, key: str, lane: Lane, now: float) -> float:
        """Puts ``key`` at the end, not to be looked at for a while; returns how long, in seconds."""
        pause_s = TROUBLE_S[min(self._troubles[key], len(TROUBLE_S) - 1)]
        self._troubles[key] += 1
        self.wait(key, lane, not_before=now + pause_s)
        return pause_s

    def forget(self, key: str) -> None:
        """``key`` is done with."""
        self._waiting.pop(key, None)
        self._at_work.pop(key, None)
        self._troubles.pop(key, None)
        known = {*self._at_work.values(), *(one.lane for one in self._waiting.values())}
        self._failing &= known
        self._served = {lane: number for lane, number in self._served.items() if lane in known}

    def note(self, key: str, *, works: bool) -> None:
        """An address of the lane of ``key`` took an alarm, or none takes any."""
        lane = self._at_work.get(key)
        if lane is not None and works:
            self._failing.discard(lane)
            self._troubles.pop(key, None)
        elif lane is not None:
            self._failing.add(lane)

    def next(self, now: float) -> str | None:
        """Gives a free place to whoever is next; ``None`` when there is none, or nobody to have it."""
        if len(self._at_work) >= self._places:
            return None
        first = self._first_of_each_lane(now)
        counts = Counter(self._at_work.values())
        share = max(1, self._places // max(1, len({*counts, *first})))
        allowed = [lane for lane in first if lane not in self._failing or counts[lane] < share]
        if not allowed:
            return None
        lane = min(allowed, key=lambda one: (counts[one], self._served.get(one, 0)))
        self._number += 1
        self._served[lane] = self._number
        self._at_work[first[lane]] = lane
        del self._waiting[first[lane]]
        return first[lane]

    def leavers(self, now: float, at_work: Mapping[str, Progress]) -> list[str]:
        """Who gives his place to those that wait."""
        ready = sum(one.not_before <= now for one in self._waiting.values())
        wanted = ready - (self._places - len(self._at_work))
        if wanted <= 0:
            return []
        done = [key for key, progress in at_work.items() if _has_stayed(progress, now)]
        return sorted(done, key=lambda key: at_work[key].moved_at)[:wanted]

    def _first_of_each_lane(self, now: float) -> dict[Lane, str]:
        first: dict[Lane, str] = {}
        for key, one in self._waiting.items():
            if one.not_before <= now and (one.lane not in first or one.number < self._waiting[first[one.lane]].number):
                first[one.lane] = key
        return first


def _has_stayed(progress: Progress, now: float) -> bool:
    limit_s = STAY_S if progress.stuck else progress.patience_s
    return now - progress.moved_at > limit_s or now - progress.since > LONGEST_STAY_S
