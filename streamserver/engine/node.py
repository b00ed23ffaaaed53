"""One element at work: its threads, each with a queue of its own, and its connections."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamserver.engine.element import Element, JoiningElement
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.lane import Lane

if TYPE_CHECKING:
    from streamserver.engine.sharing import Branch

logger = logging.getLogger(__name__)

Tap = Callable[[Frame], None]
"""Looks at frames that pass, and keeps of them only what does not change any more."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a connection leads to: a node and its input port."""

    node: Node
    port: int


class Node:
    """Runs one element in as many threads as it asks for, but no more than there are channels.

    Args:
        label: what it is called in messages and what its threads are called.
        capacity: how many frames may wait for each thread at each input port.
        flow: shared by all nodes of the engine.
        channel_ids: the channels of its graph; the n-th always has the same thread.
        thread_number: how many threads its file asks for.

    Attributes:
        outputs: what is connected to each output port.
        ends: for each channel, over how many connections its end comes.
        bypassed: the channels whose frames pass the element untouched.
        may_hold: a joining element may leave frames in the queue (``JoiningElement.holds_back``).
        opened: set when the element is open.
        branches: where copies of its frames may leave for other graphs.
        tap: shown each analysed frame, and each part, before the element sees it; must return at once.
        inline: its element works in the thread that brings the frames, for nodes with one lane and one way in; its own
            thread only opens, changes and closes the element.
    """

    def __init__(
        self, label: str, *, capacity: int, flow: Flow, channel_ids: Sequence[int] = (0,), thread_number: int = 1
    ) -> None:
        self.label = label
        self.element: Element | None = None
        self.outputs: Mapping[int, Output] = {}
        self.ends: Mapping[int, int] = {}
        self.bypassed: frozenset[int] = frozenset()
        self.may_hold = False
        self.branches: Sequence[Branch] = ()
        self.opened = threading.Event()
        self.tap: Tap | None = None
        self.inline = False
        self._flow = flow
        self._open_tried = threading.Event()
        self._lock = threading.Lock()
        self._ports_warned: set[int] = set()
        self._meetings: list[threading.Barrier] = []
        count = max(1, min(thread_number, len(channel_ids)))
        labels = [label] if count == 1 else [f"{label} thread {k}" for k in range(count)]
        self.lanes = [Lane(self, name, capacity=capacity, flow=flow) for name in labels]
        self._lane_of = {channel_id: self.lanes[i % count] for i, channel_id in enumerate(channel_ids)}
        self._running = count
        self._started = False
        self.threads = [
            threading.Thread(target=self._run, args=[lane], name=lane.label, daemon=True) for lane in self.lanes
        ]

    def start(self) -> None:
        """Starts its threads, if that was not done."""
        with self._lock:
            fresh, self._started = not self._started, True
        for thread in self.threads if fresh else ():
            thread.start()

    @property
    def joining(self) -> JoiningElement | None:
        """The element, if it is one where parts come back."""
        return self.element if isinstance(self.element, JoiningElement) else None

    def put(self, frame: Frame, *, newest_wins: bool = False) -> list[Frame]:
        """Queues ``frame`` for its channel's thread; returns what was left out, as ``FrameQueue.put`` does."""
        self._flow.add()
        lane = self._lane_of[frame.channel_id]
        if self.inline:
            self._work_here(lane, frame)
            return []
        left_out = lane.queue.put(frame, newest_wins=newest_wins)
        if left_out:
            self._flow.done(len(left_out))
        return left_out

    def close_queues(self) -> None:
        """Lets the threads end; what waits is forgotten."""
        for lane in self.lanes:
            lane.queue.close()
        with self._lock:
            for meeting in self._meetings:
                meeting.abort()

    def between_frames(self, work: Callable[[], None]) -> None:
        """Has ``work`` done while none of the threads is at a frame, by one of them; returns at once.

        It is not done when the engine ends before. What it raises ends the engine.
        """
        if len(self.lanes) == 1:
            self.lanes[0].queue.call(functools.partial(self._in_turn, work) if self.inline else work)
            return
        meeting = threading.Barrier(len(self.lanes), action=work)
        with self._lock:
            self._meetings.append(meeting)
        for lane in self.lanes:
            lane.queue.call(functools.partial(self._meet, meeting))

    def _meet(self, meeting: threading.Barrier) -> None:
        """Waits for the other threads; not for one that has left, as all do when the engine ends."""
        with suppress(threading.BrokenBarrierError):
            meeting.wait()
        with self._lock:
            self._meetings = [one for one in self._meetings if one is not meeting]

    def _in_turn(self, work: Callable[[], None]) -> None:
        with self.lanes[0].turn:
            work()

    def wait_until_open(self) -> Element | None:
        """The element once it is open; ``None`` if it could not be opened."""
        self._open_tried.wait()
        return self.element if self.opened.is_set() else None

    def touch(self) -> None:
        """The element is well; what takes the calling thread so long is something else."""
        caller = threading.get_ident()
        for lane, thread in zip(self.lanes, self.threads, strict=True):
            if self.inline or thread.ident == caller:
                lane.touch()

    def receive(self, frame: Frame) -> None:
        """Called with each frame before the element sees it; for nodes that number their frames."""

    def port_for(self, port: int | None) -> int | None:
        """The connected output port that ``port`` means; ``None`` if what goes there is lost, which is said once."""
        if port is None:
            return min(self.outputs, default=None)
        if port in self.outputs:
            return port
        with self._lock:
            if self.outputs and port not in self._ports_warned:
                self._ports_warned.add(port)
                logger.warning("%s: output port %d is not connected; what goes there is lost", self.label, port)
        return None

    def _run(self, lane: Lane) -> None:
        try:
            try:
                if self._is_open(lane):
                    lane.work()
            finally:
                self._leave()
        except Exception as e:  # noqa: BLE001 - the engine's loop: whatever an element raises ends the process
            self._flow.fail(lane.label, e)

    def _is_open(self, lane: Lane) -> bool:
        """Opens the element in the first thread; the others wait for that. False if it could not be opened."""
        assert self.element is not None
        if lane is self.lanes[0]:
            try:
                self.element.open()
                self.opened.set()
            finally:
                self._open_tried.set()
        return self.wait_until_open() is not None

    def _work_here(self, lane: Lane, frame: Frame) -> None:
        try:
            lane.work_on(frame)
        except Exception as e:  # noqa: BLE001 - as in _run
            lane.queue.close()
            self._flow.fail(lane.label, e)

    def _leave(self) -> None:
        """Ends one thread; with the last of them the element is closed."""
        assert self.element is not None
        with self._lock:
            self._running -= 1
            last = self._running == 0
        if last:
            with self.lanes[0].turn:
                self.element.close()


class SourceNode(Node):
    """A node where frames enter: numbers what will be processed, after the decision what to leave out.

    Attributes:
        source_port: where they enter.
        processed: processed frames by channel id.
    """

    source_port = 0

    def __init__(
        self, label: str, *, capacity: int, flow: Flow, channel_ids: Sequence[int] = (0,), thread_number: int = 1
    ) -> None:
        super().__init__(label, capacity=capacity, flow=flow, channel_ids=channel_ids, thread_number=thread_number)
        self.processed: dict[int, int] = {}

    def receive(self, frame: Frame) -> None:
        """Gives the frame its ``sequence``, which grows by 1 from one processed frame of a channel to the next."""
        frame.sequence = self.processed.get(frame.channel_id, 0)
        if not frame.skipped and not frame.end_of_stream:
            self.processed[frame.channel_id] = frame.sequence + 1
