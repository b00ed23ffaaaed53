"""The threads that POST: as many as have something to do."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streamserver.business.receiver import Receiver
from streamserver.business.slots import Slot
from streamserver.core.counters import DeliveryCounts
from streamserver.core.errors import AlarmRefusedError, DeliveryError
from streamserver.outbox.box import PendingEvent
from streamserver.sinks.sink import Alarm

_log = logging.getLogger(__name__)

GONE = -1
"""The index of an address that the task has no more."""


@dataclass(slots=True, eq=False)
class Errand:
    """An alarm in hand, for one round of the addresses.

    Attributes:
        event: the alarm as the outbox gave it.
        start: the address where it started.
        asked: the addresses that it was sent to.
        errors: what was wrong with those that have answered.
        under_way: POSTs without an answer yet.
        settled: an address took it.
        archived: its local copy exists.
    """

    event: PendingEvent
    start: int
    archived: bool
    asked: set[int] = field(default_factory=set)
    errors: list[DeliveryError] = field(default_factory=list)
    under_way: int = 0
    settled: bool = False


@dataclass(slots=True, eq=False)
class Post:
    """One POST of an alarm to one address, or without an ``errand`` only a connection to see whether anybody is there.

    Attributes:
        index: the address's place in the task's list; ``GONE`` once it has none.
        probe: the address's breaker was open when it began.
        archive: writes the local copy first.
        late: it took too long, and another address was asked.
        begun_at: when the address was turned to, on the reporter's clock; ``None`` before.
        ended_at: when it was done with.
        error: what was wrong.
        archive_error: what was wrong with the local copy.
    """

    index: int
    receiver: Receiver
    slot: Slot
    errand: Errand | None = None
    probe: bool = False
    archive: Receiver | None = None
    late: bool = False
    begun_at: float | None = None
    ended_at: float = 0.0
    error: DeliveryError | None = None
    archive_error: DeliveryError | None = None

    def work(self, clock: Callable[[], float]) -> None:
        """Does what is to be done and notes how it went; whatever goes wrong becomes ``error``."""
        try:
            if self.errand is None:
                self.begun_at = clock()
                self.error = self.receiver.knock()
                return
            event = self.errand.event
            alarm = Alarm(id=event.id, body=event.body, created=event.created, attempt=event.attempt)
            if self.archive is not None:
                self.archive_error = self.archive.send(alarm)
            self.begun_at = clock()
            self.error = self.receiver.send(alarm)
        except Exception as e:  # noqa: BLE001  the reporter waits for an answer, whatever happens here
            _log.exception("unexpected error while posting to %s", self.receiver.name)
            self.error = DeliveryError(f"{self.receiver.name}: {e!r}")
        finally:
            self.ended_at = clock()
            self.slot.release()

    def count(self, counts: DeliveryCounts) -> None:
        """Counts how it went, once it is done; a mere connection counts only where nobody could be connected to."""
        if self.error is None:
            if self.errand is not None:
                counts.attempted("delivered")
                if not self.errand.settled:
                    counts.delivered(time.time() - self.errand.event.created)
        elif self.error.unreachable:
            counts.attempted("unreachable")
        elif self.errand is not None:
            counts.attempted("refused" if isinstance(self.error, AlarmRefusedError) else "failed")


def renumber(
    posts: Collection[Post], errands: Iterable[Errand], before: Sequence[Receiver], after: Sequence[Receiver]
) -> None:
    """Makes what is under way or in hand speak of addresses by their places in another list.

    Args:
        posts: those under way; their alarms are included.
        errands: alarms in hand besides.
        before: the addresses as they were numbered.
        after: as they are from now on.
    """
    place = {receiver: index for index, receiver in enumerate(after)}
    moved = {index: place[receiver] for index, receiver in enumerate(before) if receiver in place}
    for post in posts:
        post.index = place.get(post.receiver, GONE)
    under_way = (post.errand for post in posts if post.errand is not None)
    for errand in {*errands, *under_way}:
        errand.start = moved.get(errand.start, 0)
        errand.asked = {moved[index] for index in errand.asked if index in moved}


class Posters(Protocol):
    """Does posts, several at a time."""

    def hand(self, post: Post) -> None:
        """Begins ``post``; it comes back when it is done."""

    def rest(self) -> None:
        """Called when nothing has been under way for a while."""


class PosterThreads:
    """A thread for each post that is under way; they stay for the next ones until ``rest``.

    Args:
        clock: monotonic, in seconds.
        done: gets each post that is done, in a thread of these.
        counts: where posts are counted.
    """

    def __init__(self, clock: Callable[[], float], done: Callable[[Post], None], counts: DeliveryCounts) -> None:
        self._clock = clock
        self._done = done
        self._counts = counts
        self._posts: queue.SimpleQueue[Post | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0

    def hand(self, post: Post) -> None:
        """Begins ``post``, in a new thread if all are busy."""
        with self._lock:
            self._busy += 1
            more = self._busy > self._threads
            self._threads += more
        self._posts.put(post)
        if more:
            threading.Thread(target=self._run, name="poster", daemon=True).start()

    def rest(self) -> None:
        """Ends the threads that have nothing to do."""
        with self._lock:
            idle = self._threads - self._busy
            self._threads = self._busy
        for _ in range(idle):
            self._posts.put(None)

    def _run(self) -> None:
        while (post := self._posts.get()) is not None:
            post.work(self._clock)
            post.count(self._counts)
            with self._lock:
                self._busy -= 1
            self._done(post)
