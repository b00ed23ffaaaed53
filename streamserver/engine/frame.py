"""What travels between elements: one frame and all that was found in it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamserver.core.arrays import Detections
from streamserver.core.picture import Picture

__all__ = ["Frame", "Picture"]


@dataclass(slots=True)
class Frame:
    """One frame on its way through a graph; elements add to it and pass it on.

    Attributes:
        channel_id: the channel's id in the demo file.
        graph_id: the graph it runs through.
        frame_id: position in the source from 0; starts over with each loop and reconnect (``mFrameId``).
        sequence: processed frames of this channel before this one; grows by 1, never starts over (``mSequence``).
        loop: how often the source started over (``mLoop``).
        timestamp_us: wall clock in microseconds since the epoch when the frame was read; 0 for pictures.
        picture: the pixels; ``None`` only at the end of the stream.
        end_of_stream: no frame follows on this channel; carries nothing else.
        discontinuity: the first frame after a start, a loop or a reconnect: whatever an element remembers of this
            channel (tracks, counters, background) no longer holds.
        skipped: not to be processed, only passed on (``mFilter``, sampling strategy KEEP).
        detections: what detectors, then trackers and filters, left.
        sub_frames: parts of this frame that were looked at on their own (a plate's crop).
        sub_id: for a part, the row of the parent's detections it was cut from; -1 for the whole frame.
    """

    channel_id: int
    graph_id: int
    frame_id: int
    sequence: int = 0
    loop: int = 0
    timestamp_us: int = 0
    picture: Picture | None = None
    end_of_stream: bool = False
    discontinuity: bool = False
    skipped: bool = False
    detections: Detections = field(default_factory=Detections.empty)
    sub_frames: list[Frame] = field(default_factory=list)
    sub_id: int = 0
