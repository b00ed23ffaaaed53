"""One element at work: its queue, its thread and its connections."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from streamserver.engine.element import Element
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.queues import FrameQueue

logger = logging.getLogger(__name__)


class Node:
    """Runs one element in one thread.

    Args:
        label: what it is called in messages and what its thread is called.
        capacity: how many frames may wait for it.
        flow: shared by all nodes of the engine.
    """

    def __init__(self, label: str, *, capacity: int, flow: Flow) -> None:
        self.label = label
        self.queue = FrameQueue(capacity)
        self.opened = threading.Event()
        self.outputs: Mapping[int, Node] = {}
        self.element: Element | None = None
        self.busy_since: float | None = None
        self.thread = threading.Thread(target=self._run, name=label, daemon=True)
        self._flow = flow
        self._ports_warned: set[int] = set()

    def put(self, frame: Frame, *, newest_wins: bool = False) -> list[Frame]:
        """Queues ``frame``; returns what was left out, as ``FrameQueue.put`` does."""
        self._flow.add()
        left_out = self.queue.put(frame, newest_wins=newest_wins)
        if left_out:
            self._flow.done(len(left_out))
        return left_out

    def emit(self, frame: Frame, *, port: int | None = None) -> None:
        """Sends ``frame`` to the node at ``port``, or at the first connected port; what leaves a sink is done."""
        target = self._target(port)
        if target is not None:
            self.busy_since = None
            target.put(frame)
            self.busy_since = time.monotonic()

    def touch(self) -> None:
        """The element is well; what takes so long is something else."""
        if self.busy_since is not None:
            self.busy_since = time.monotonic()

    def receive(self, frame: Frame) -> None:
        """Called with each frame before the element sees it; for nodes that number their frames."""

    def _target(self, port: int | None) -> Node | None:
        if port is None:
            return self.outputs[min(self.outputs)] if self.outputs else None
        if port not in self.outputs and self.outputs and port not in self._ports_warned:
            self._ports_warned.add(port)
            logger.warning("%s: output port %d is not connected; what goes there is lost", self.label, port)
        return self.outputs.get(port)

    def _run(self) -> None:
        assert self.element is not None
        try:
            try:
                self.element.open()
                self.opened.set()
                self._work(self.element)
            finally:
                self.element.close()
        except Exception as e:  # noqa: BLE001 - the engine's loop: whatever an element raises ends the process
            self._flow.fail(self.label, e)

    def _work(self, element: Element) -> None:
        while (frame := self.queue.get()) is not None:
            self.busy_since = time.monotonic()
            self.receive(frame)
            if frame.end_of_stream:
                element.end_of_stream(frame, self.emit)
            elif frame.skipped and not element.wants_skipped:
                self.emit(frame)
            else:
                element.process(frame, self.emit)
            self.busy_since = None
            self._flow.done()


class SourceNode(Node):
    """A node where frames enter: numbers what will be processed, after the decision what to leave out."""

    def __init__(self, label: str, *, capacity: int, flow: Flow) -> None:
        super().__init__(label, capacity=capacity, flow=flow)
        self.processed: dict[int, int] = {}
        """Processed frames by channel id."""

    def receive(self, frame: Frame) -> None:
        """Gives the frame its ``sequence``, which grows by 1 from one processed frame of a channel to the next."""
        frame.sequence = self.processed.get(frame.channel_id, 0)
        if not frame.skipped and not frame.end_of_stream:
            self.processed[frame.channel_id] = frame.sequence + 1
