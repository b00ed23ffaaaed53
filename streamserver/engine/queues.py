"""Bounded queues between elements: a full one holds back who fills it, or, for live sources, the newest frame wins."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from streamserver.engine.frame import Frame

FILE_CAPACITY = 1
"""Frames that wait before an element; a 1080p frame in BGR is 6 MB."""

LIVE_CAPACITY = 1
"""The same for live sources, where a frame that waits is a frame that gets old."""


class FrameQueue:
    """Frames that wait for one thread of an element, in the order they came.

    Args:
        capacity: how many may wait at each input port, so that none of them can bar another's way.

    Attributes:
        batch_size: how many its thread takes at once. Where that is more than ``capacity``, as many may wait at each
            port, but of whole frames of one channel no more than ``capacity``: a live frame that waits gets old.
    """

    def __init__(self, capacity: int = FILE_CAPACITY) -> None:
        self.batch_size = 1
        self._capacity = capacity
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._interrupted: set[int] = set()
        self._errands: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def closed(self) -> bool:
        """Nothing is taken or given any more."""
        return self._closed

    def put(self, frame: Frame, *, newest_wins: bool = False) -> list[Frame]:
        """Adds ``frame``, waiting for room.

        Args:
            frame: what to add.
            newest_wins: do not wait; leave out the oldest frame of the same channel instead. An end of stream is
                never left out, and the break of continuity that a frame stood for passes to the channel's next one.

        Returns:
            the frames that were left out: older ones of this channel, or ``frame`` itself once the queue is closed.
        """
        with self._changed:
            left_out = self._make_room(frame.channel_id) if newest_wins else []
            while not newest_wins and not self._closed and self._is_full_for(frame):
                self._changed.wait()
            if self._closed:
                return [*left_out, frame]
            self._frames.append(frame)
            self._changed.notify_all()
            return left_out

    def get(self, holds_back: Callable[[Frame], bool] | None = None) -> Frame | None:
        """The frame that waited longest, waiting for one; ``None`` once the queue is closed.

        Args:
            holds_back: says of which frames none is to be taken; must not change while this call waits.
        """
        while True:
            with self._changed:
                while not self._closed and not self._errands:
                    frame = self._take(holds_back)
                    if frame is not None:
                        self._changed.notify_all()
                        return frame
                    self._changed.wait()
                if self._closed:
                    return None
                errand = self._errands.popleft()
            errand()

    def more(self, first: Frame, fits: Callable[[Frame], bool]) -> list[Frame]:
        """What waits already and may be worked on together with ``first``, which was taken before; waits for nothing.

        The frames of a channel stay in order: one that does not fit holds back those of its channel behind it.

        Args:
            first: counts for ``batch_size``.
            fits: says whether a frame may be worked on together with others.
        """
        taken: list[Frame] = []
        present, barred = {first.channel_id}, set[int]()
        with self._changed:
            for frame in list(self._frames):
                if len(taken) + 1 >= self.batch_size:
                    break
                broken = frame.discontinuity and frame.channel_id in present
                if frame.channel_id in barred or broken or not fits(frame):
                    barred.add(frame.channel_id)
                    continue
                self._hand_out(frame)
                taken.append(frame)
                present.add(frame.channel_id)
            if taken:
                self._changed.notify_all()
        return taken

    def call(self, errand: Callable[[], None]) -> None:
        """Has the thread that takes the frames do ``errand`` before it takes the next; at once while none waits."""
        with self._changed:
            self._errands.append(errand)
            self._changed.notify_all()

    def close(self) -> None:
        """Wakes everybody who waits; nothing is taken or given any more."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()

    def _is_full_for(self, frame: Frame) -> bool:
        if len(self._frames) < self._capacity:
            return False
        waiting = [other for other in self._frames if other.port == frame.port]
        if len(waiting) < self._capacity:
            return False
        if len(waiting) >= self.batch_size:
            return True
        return not frame.branch_of and sum(one.channel_id == frame.channel_id for one in waiting) >= self._capacity

    def _take(self, holds_back: Callable[[Frame], bool] | None) -> Frame | None:
        for frame in self._frames:
            if holds_back is None or not holds_back(frame):
                self._hand_out(frame)
                return frame
        return None

    def _hand_out(self, frame: Frame) -> None:
        self._frames.remove(frame)
        if frame.channel_id in self._interrupted and not frame.skipped:
            self._interrupted.discard(frame.channel_id)
            frame.discontinuity = True

    def _make_room(self, channel_id: int) -> list[Frame]:
        mine = [frame for frame in self._frames if frame.channel_id == channel_id and not frame.end_of_stream]
        left_out = mine[: max(0, len(mine) - self._capacity + 1)]
        for frame in left_out:
            self._frames.remove(frame)
            if frame.discontinuity:
                self._interrupted.add(channel_id)
        return left_out
