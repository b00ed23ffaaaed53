"""What an outbox hands out and takes."""

from __future__ import annotations

from dataclasses import dataclass

PER_ALGORITHM = "events:"
"""Begins the names of the counters of single algorithms."""

LIVE_KEY = "live:"
"""Begins the keys of alarms of live streams, which come again only within a minute: they are forgotten soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An alarm to keep.

    Attributes:
        algorithm: its position in the task.
        body: what a receiver gets, as JSON.
        key: what makes it the same alarm when it is raised again; ``None`` when it never is.
    """

    algorithm: int
    body: bytes
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What an algorithm is to remember across restarts.

    Attributes:
        algorithm: its position in the task.
        content: JSON, as its state gave it.
        place: loop, frame and time (microseconds since the epoch) of the frame that changed it last.
    """

    algorithm: int
    content: str
    place: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """An alarm that somebody is to deliver.

    Attributes:
        id: UUID version 7, greater than that of any alarm before it.
        body: what a receiver gets, as JSON.
        created: when it was raised, seconds since the epoch.
        attempt: 1 when it is handed out for the first time.
        refusals: how often all receivers refused it for its own sake.
        archived: the local copy exists.
    """

    id: str
    body: bytes
    created: float
    attempt: int
    refusals: int = 0
    archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an outbox keeps.

    Attributes:
        max_bytes: of the bodies of waiting alarms and dead letters; beyond it the oldest are dropped.
        max_age_s: seconds of running for which they are kept.
        min_free_bytes: with less free space on the disk no alarm is taken; 0 for no mark.
        keep_keys: how many of the newest rows are remembered after their delivery, to know a repeated event.
    """

    max_bytes: int = 1 << 30
    max_age_s: float = 72 * 3600.0
    min_free_bytes: int = 0
    keep_keys: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What happened since the task was accepted; it survives restarts.

    Attributes:
        events: alarms that were raised.
        delivered: alarms that a receiver has confirmed.
        dropped: alarms that were given up because too many waited, or for too long.
        expired: those that waited for too long.
        dead: dead letters that wait for a replay.
        lost: alarms that went with a damaged file.
        pending_bytes: size of the bodies of waiting alarms and dead letters.
        per_algorithm: position and number of alarms of each algorithm.
    """

    events: int = 0
    delivered: int = 0
    dropped: int = 0
    expired: int = 0
    dead: int = 0
    lost: int = 0
    pending_bytes: int = 0
    per_algorithm: tuple[tuple[int, int], ...] = ()

    @property
    def pending(self) -> int:
        """Alarms that wait for a receiver, those under way included."""
        return self.events - self.delivered - self.dropped - self.dead - self.lost
