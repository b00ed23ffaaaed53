"""What was found in a frame, as it was when somebody decided to draw it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamserver.core.arrays import Detections, FloatArray
from streamserver.core.objects import Face, Pose, Recognition, Segment, TurnedBox

BoxXyxy = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One frame's results; the attributes are those of ``engine.frame.Frame``.

    Attributes:
        parts: what was found in parts of the frame, in pixels of the part unless it shows the whole frame.
    """

    detections: Detections = field(default_factory=Detections.empty)
    poses: Sequence[Pose] = ()
    recognitions: Sequence[Recognition] = ()
    faces: Sequence[Face] = ()
    turned_boxes: Sequence[TurnedBox] = ()
    segments: Sequence[Segment] = ()
    touched_areas: Sequence[FloatArray] = ()
    parts: Sequence[Part] = ()

    def row_of(self, part: Part) -> int:
        """The row of ``detections`` that a part was cut from, -1 for none (a face, or an object that is gone).

        Tracks go first: a filter takes rows away, and the numbers of the parts stay as they were.
        """
        if part.track_id > 0:
            rows = (self.detections.track_ids == part.track_id).nonzero()[0]
            return int(rows[0]) if len(rows) else -1
        row = part.sub_id - len(self.faces)
        return row if 0 <= row < len(self.detections) else -1

    def box_of(self, part: Part) -> BoxXyxy | None:
        """Where a part was cut from; ``None`` for the whole frame and for an object that is gone."""
        if part.track_id <= 0 and 0 <= part.sub_id < len(self.faces):
            return self.faces[part.sub_id].box_xyxy
        row = self.row_of(part)
        if row < 0:
            return None
        left, top, right, bottom = (float(value) for value in self.detections.boxes_xyxy[row])
        return left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a frame and what was found in it; ``sub_id`` and ``track_id`` as in ``engine.frame.Frame``."""

    sub_id: int
    track_id: int
    findings: Findings
