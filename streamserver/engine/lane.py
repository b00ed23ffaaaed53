"""One thread of a node: takes frames from its queue, has the element work on them and sends on what comes out.

Or no thread but that of the node before, see ``Node.inline``.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from typing import TYPE_CHECKING

from streamserver.engine.element import Element
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.queues import FrameQueue

if TYPE_CHECKING:
    from streamserver.engine.node import Node


class Lane:
    """The queue of some channels at a node, and what one thread does with their frames.

    It sees to what elements need not know: a frame that the element does not want passes by; a channel's end goes on
    once, over all outputs; a break of continuity reaches what follows each output even if the frame it came with does
    not; what an element drops is made known to those who wait for it.

    Args:
        node: whose element works here.
        label: what it is called in messages.
        capacity: how many frames may wait at each input port.
        flow: shared by all nodes of the engine.

    Attributes:
        turn: held while the element works, or is changed, in a thread that is not the lane's own.
    """

    def __init__(self, node: Node, label: str, *, capacity: int, flow: Flow) -> None:
        self.label = label
        self.turn = threading.Lock()
        self.queue = FrameQueue(capacity)
        self.busy_since: float | None = None
        self._node = node
        self._flow = flow
        self._ends: dict[int, int] = {}
        self._broken: set[tuple[int, int]] = set()
        self._unsent: set[Frame] = set()

    def work(self) -> None:
        """Works until the queue is closed."""
        element, joining = self._node.element, self._node.joining
        assert element is not None
        holds_back = joining.holds_back if joining is not None and self._node.may_hold else None
        batching = element.batch_size > 1 and joining is None
        self.queue.batch_size = element.batch_size if batching else 1
        while (frame := self.queue.get(holds_back)) is not None:
            frames = [frame]
            if batching and self._is_work(element, frame):
                frames += self.queue.more(frame, functools.partial(self._is_work, element))
            self._handle(element, frames)

    def work_on(self, frame: Frame) -> None:
        """Works on one frame in the calling thread; one that comes after the end is forgotten."""
        element = self._node.wait_until_open()
        with self.turn:
            if element is None or self.queue.closed:
                self._flow.done()
            else:
                self._handle(element, [frame])

    def _handle(self, element: Element, frames: list[Frame]) -> None:
        self.busy_since = time.monotonic()
        self._take(element, frames)
        self.busy_since = None
        self._unsent.clear()
        self._flow.done(len(frames))

    def _take(self, element: Element, frames: list[Frame]) -> None:
        """Does what there is to do with one frame, or with several that the element is to work on."""
        for frame in frames:
            self._node.receive(frame)
            if self._node.tap is not None and not (frame.end_of_stream or frame.skipped or frame.dropped):
                self._node.tap(frame)
        self._unsent.update(frames)
        if frames[0].end_of_stream:
            self._end(element, frames[0])
        elif self._passes_by(element, frames[0]):
            self.emit(frames[0], port=element.through_port)
        else:
            self._process(element, frames)

    def _is_work(self, element: Element, frame: Frame) -> bool:
        return not frame.end_of_stream and not self._passes_by(element, frame)

    def touch(self) -> None:
        """What takes so long is something else than the element."""
        if self.busy_since is not None:
            self.busy_since = time.monotonic()

    def emit(self, frame: Frame, *, port: int | None = None) -> None:
        """Sends ``frame`` to what is connected to ``port`` (see ``Emit``); an end goes everywhere, a copy each."""
        connected_port = None if frame.end_of_stream else self._node.port_for(port)
        if frame.end_of_stream or connected_port is not None or not self._node.outputs:
            self._unsent.discard(frame)
        if frame.end_of_stream:
            for connected in self._node.outputs:
                self._send(dataclasses.replace(frame), connected)
        if connected_port is None:
            return
        mark = (frame.channel_id, connected_port)
        if mark in self._broken and not frame.skipped and not frame.dropped:
            self._broken.discard(mark)
            frame.discontinuity = True
        self._send(frame, connected_port)

    def _send(self, frame: Frame, connected_port: int) -> None:
        """Also to the graphs that share the element; waiting for room at a busy neighbour is not being busy."""
        node, output = self._node, self._node.outputs[connected_port]
        copies = [(branch, copy) for branch in node.branches if (copy := branch.copy_for(node, frame)) is not None]
        frame.port = output.port
        self.busy_since = None
        output.node.put(frame)
        for branch, copy in copies:
            branch.send(node, copy)
        self.busy_since = time.monotonic()

    def _passes_by(self, element: Element, frame: Frame) -> bool:
        if frame.dropped:
            return self._node.joining is None
        return frame.channel_id in self._node.bypassed or (frame.skipped and not element.wants_skipped)

    def _process(self, element: Element, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.discontinuity and not element.keeps_frames:
                self._broken |= {(frame.channel_id, port) for port in self._node.outputs}
        awaited = [frame for frame in frames if frame.returns_to is not None or frame.parts_out]
        if len(frames) == 1:
            element.process(frames[0], self.emit)
        else:
            element.process_many(frames, self.emit)
        for frame in awaited:
            if frame in self._unsent and not element.keeps_frames:
                self.emit(_notice_of(frame), port=element.through_port)

    def _end(self, element: Element, frame: Frame) -> None:
        """Takes the end of a channel that came over one connection; the element sees the last of them."""
        channel_id = frame.channel_id
        self._ends[channel_id] = self._ends.get(channel_id, 0) + 1
        if self._ends[channel_id] < self._node.ends.get(channel_id, 1):
            return
        del self._ends[channel_id]
        self._broken = {mark for mark in self._broken if mark[0] != channel_id}
        if channel_id not in self._node.bypassed:
            element.end_of_stream(frame, self.emit)
        if frame in self._unsent:
            self.emit(frame)


def _notice_of(frame: Frame) -> Frame:
    """What goes on in the place of a frame that was dropped, for those who wait for it or for its parts."""
    return Frame(
        frame.channel_id,
        frame.graph_id,
        frame.frame_id,
        sequence=frame.sequence,
        ticket=frame.ticket,
        branch_of=frame.branch_of,
        parts_out=frame.parts_out,
        returns_to=frame.returns_to,
        dropped=True,
    )
