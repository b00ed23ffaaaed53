"""``converger``: lets frames go on, in their order, when the parts that a distributor gave out have come back."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

from streamserver.elements._routes import read_port
from streamserver.engine.element import ElementContext, Emit, JoiningElement
from streamserver.engine.frame import Frame

logger = logging.getLogger(__name__)

MOST_WAITING = 8
"""Frames of a channel that wait here, before further ones wait in the queue (``JoiningElement.holds_back``)."""

MOST_KEPT = 150
"""The same where none wait in the queue, because an element on the parts' way keeps them until later ones come: what
has waited longest then goes on without the parts that are missing. In full HD these are 0.9 GB."""


@dataclass(slots=True)
class _Back:
    """What has come back of one frame: how many parts, and the tickets of those that were not dropped."""

    count: int = 0
    tickets: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Channel:
    """What waits of one channel: its frames in their order, by their tickets what has come back, and what is overdue.

    That is how many parts are still out of a frame that went on without them.
    """

    frames: deque[Frame] = field(default_factory=deque)
    back: dict[int, _Back] = field(default_factory=dict)
    overdue: dict[int, int] = field(default_factory=dict)


class Converger(JoiningElement):
    """Keeps frames until their parts are back, and parts that come before their frame; no more than a few frames.

    A part that was dropped on its way counts as back. What goes on has those of its parts that did come back.
    """

    def __init__(self, context: ElementContext) -> None:
        super().__init__(context)
        self.default_port = read_port(context, context.configure, "default_port", "default_port")
        if context.input_ports and self.default_port not in context.input_ports:
            arriving = ", ".join(map(str, sorted(set(context.input_ports))))
            raise context.error("default_port", f"nothing arrives at port {self.default_port}, only at {arriving}")
        self._channels: dict[int, _Channel] = {}
        self._strangers: set[int] = set()
        self._gave_up = False

    def holds_back(self, frame: Frame) -> bool:
        """True for frames, not parts, of a channel of which enough are waiting here."""
        channel = self._channels.get(frame.channel_id)
        return frame.port == self.default_port and channel is not None and len(channel.frames) >= MOST_WAITING

    def process(self, frame: Frame, emit: Emit) -> None:
        """Takes a frame or a part of one; emits the frames that are complete now and have none before them."""
        channel = self._channels.setdefault(frame.channel_id, _Channel())
        if frame.port == self.default_port:
            channel.frames.append(frame)
        elif frame.returns_to == self.context.element_id:
            _take_back(channel, frame)
        else:
            self._refuse(frame)
        while channel.frames and (not self._missing(channel, channel.frames[0]) or self._must_give_up(channel)):
            self._release(channel, emit)

    def end_of_stream(self, frame: Frame, emit: Emit) -> None:
        """Emits what still waits, though parts are missing, and forgets the channel."""
        channel = self._channels.pop(frame.channel_id, None)
        while channel is not None and channel.frames:
            self._release(channel, emit)
        emit(frame)

    def close(self) -> None:
        """Forgets all channels."""
        self._channels.clear()

    def _missing(self, channel: _Channel, frame: Frame) -> int:
        """How many parts are still to come back."""
        expected = frame.parts_out.get(self.context.element_id, 0)
        return expected - channel.back[frame.ticket].count if expected and frame.ticket in channel.back else expected

    def _must_give_up(self, channel: _Channel) -> bool:
        """True when too many frames wait, which is said once."""
        if len(channel.frames) <= MOST_KEPT:
            return False
        if not self._gave_up:
            self._gave_up = True
            logger.warning(
                "%s: element %d: %d frames wait for parts that an element before it keeps; frames go on without them",
                self.context.config_file,
                self.context.element_id,
                MOST_KEPT,
            )
        return True

    def _release(self, channel: _Channel, emit: Emit) -> None:
        """Emits the first frame, unless it was dropped and nobody waits for it."""
        frame = channel.frames.popleft()
        here = self.context.element_id
        if here in frame.parts_out:
            if missing := self._missing(channel, frame):
                channel.overdue[frame.ticket] = missing
            tickets = channel.back.pop(frame.ticket, _Back()).tickets
            frame.sub_frames = [part for part in frame.sub_frames if part.returns_to != here or part.ticket in tickets]
            frame.parts_out = {where: count for where, count in frame.parts_out.items() if where != here}
        if not frame.dropped or frame.returns_to is not None or frame.parts_out:
            emit(frame)

    def _refuse(self, frame: Frame) -> None:
        """Says once that something comes to a port where nobody waits for it."""
        if frame.port not in self._strangers:
            self._strangers.add(frame.port)
            logger.warning(
                "%s: element %d: what arrives at port %d are no parts of frames that come to port %d; it ends here",
                self.context.config_file,
                self.context.element_id,
                frame.port,
                self.default_port,
            )


def _take_back(channel: _Channel, part: Frame) -> None:
    """Counts a part, or what says that it was dropped."""
    if part.branch_of in channel.overdue:
        channel.overdue[part.branch_of] -= 1
        if not channel.overdue[part.branch_of]:
            del channel.overdue[part.branch_of]
        return
    back = channel.back.setdefault(part.branch_of, _Back())
    back.count += 1
    if not part.dropped:
        back.tickets.add(part.ticket)


ELEMENT = Converger
