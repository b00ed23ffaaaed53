"""What travels between elements: one frame and all that was found in it so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections, FloatArray, ImageBgr
from streamserver.core.events import RuleEvent
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox
from streamserver.core.picture import Picture

__all__ = ["Frame", "Picture"]

T = TypeVar("T")

_NOTHING = Detections.empty()
"""Shared by all frames in which nothing was found yet: arrays without elements cannot change."""


@dataclass(slots=True, eq=False)
class Frame:
    """One frame, or one part of a frame, on its way through a graph; elements add to it and pass it on.

    A distributor gives out *parts*: frames of their own with the part's picture, which other elements treat like any
    frame. They stand in the whole frame's ``sub_frames`` from the start; a converger holds the whole frame back until
    its parts have come back, so what elements add to a part is seen in the whole. A frame equals nothing but itself.

    Attributes:
        channel_id: the channel's id in the demo file.
        graph_id: the graph it runs through.
        frame_id: position in the source from 0; starts over with each loop and reconnect (``mFrameId``).
        sequence: processed frames of this channel before this one; grows by 1, never starts over (``mSequence``).
        loop: how often the source started over (``mLoop``).
        timestamp_us: wall clock in microseconds since the epoch when the frame was read; 0 for pictures.
        clock_s: the source's own time in seconds, from which durations are measured: the position in a file, over all
            its loops; the monotonic clock of a live stream. Never goes back.
        picture: the pixels; ``None`` only at the end of the stream.
        end_of_stream: no frame follows on this channel; carries nothing else.
        discontinuity: the first frame after a start, a loop or a reconnect: whatever an element remembers of this
            channel (tracks, counters, background) no longer holds.
        skipped: not to be processed, only passed on (``mFilter``, sampling strategy KEEP).
        port: the input port of the element that it has arrived at; set by the engine.
        detections: what detectors, then trackers and filters, left.
        poses: from yolov8 Pose and fastpose one a row of ``detections``; from openpose on their own.
        recognitions: what was read or classified; usually one, of a part.
        faces: from face detectors.
        turned_boxes: from yolov8 Obb.
        segments: from yolov8 Seg, one a row of ``detections``.
        touched_areas: the filter's areas that let an object pass, each (n, 2) points in pixels; drawn by osd.
        events: what the filter's rules have seen happen, their rows those of ``detections``; ``None`` where no rule
            has looked.
        event_pictures: for each of ``events`` a picture of the object as it was before; ``None`` for one whose picture
            is to be cut from this frame.
        sub_frames: the parts that were given out, in the order they were.
        sub_id: of a part, the row of the whole frame's faces and then detections it was cut from; -1 for all of it.
        track_id: of a part, the track of the object it shows; 0 when no tracker has spoken.
        ticket: the number, different from all others of the process, of a frame that has parts out or is a part; 0 for
            none.
        branch_of: of a part, its whole frame's ticket; 0 for a frame that is no part.
        parts_out: of a whole frame, by the id of each converger that it comes to, how many parts come back there.
        returns_to: of a part, the id of the converger that waits for it; ``None`` when none does.
        dropped: some element has dropped it, and it only goes on to tell the convergers that wait for it; carries
            nothing but the fields from ``ticket`` to here.
        drawing: what to show instead of ``picture`` (``mSpDataOsd``); ``None`` when nothing was drawn.
    """

    channel_id: int
    graph_id: int
    frame_id: int
    sequence: int = 0
    loop: int = 0
    timestamp_us: int = 0
    clock_s: float = 0.0
    picture: Picture | None = None
    end_of_stream: bool = False
    discontinuity: bool = False
    skipped: bool = False
    port: int = 0
    detections: Detections = _NOTHING
    poses: Sequence[Pose] = ()
    recognitions: Sequence[Recognition] = ()
    faces: Sequence[Face] = ()
    turned_boxes: Sequence[TurnedBox] = ()
    segments: Sequence[Segment] = ()
    touched_areas: Sequence[FloatArray] = ()
    events: Sequence[RuleEvent] | None = None
    event_pictures: Sequence[ImageBgr | None] = ()
    sub_frames: list[Frame] = field(default_factory=list)
    sub_id: int = 0
    track_id: int = 0
    ticket: int = 0
    branch_of: int = 0
    parts_out: Mapping[int, int] = field(default_factory=dict)
    returns_to: int | None = None
    dropped: bool = False
    drawing: Picture | None = None

    def keep_rows(self, rows: npt.NDArray[np.intp], detections: Detections | None = None) -> None:
        """Leaves only some of the objects, with what belongs to them: poses and outlines by rows, and their parts.

        Events stay, whoever they speak of.

        Args:
            rows: those to keep, in their new order.
            detections: what stands in these rows from now on, ``len(rows)`` of them; ``None`` for what stood there.
        """
        before, shift = len(self.detections), len(self.faces)
        self.detections = self.detections.select(rows) if detections is None else detections
        self.poses = _rows_of(self.poses, rows, before)
        self.segments = _rows_of(self.segments, rows, before)
        places = {int(row): place for place, row in enumerate(rows)}
        self.sub_frames = [part for part in self.sub_frames if part.sub_id < shift or part.sub_id - shift in places]
        for part in self.sub_frames:
            if part.sub_id >= shift:
                part.sub_id = shift + places[part.sub_id - shift]
        if self.events:
            self.events = [replace(event, row=places.get(event.row, -1)) for event in self.events]


def _rows_of(items: Sequence[T], rows: npt.NDArray[np.intp], count: int) -> Sequence[T]:
    """The items of these rows, if there is one for each of ``count`` objects; otherwise all."""
    return [items[row] for row in rows] if len(items) == count else items
