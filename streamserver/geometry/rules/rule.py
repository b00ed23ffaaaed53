"""What rules have in common: what they are told of a frame, what they are, and what one has to offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.core.events import Kind, RuleEvent
from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.weekly import WeeklySchedule

Polygon = npt.NDArray[np.float64]
"""Corners, (k, 2), in pixels."""

Polyline = npt.NDArray[np.float64]
"""Points from start to end, (k, 2) with k >= 2, in pixels."""


class RuleKind(StrEnum):
    """Which rule an entry of ``filters`` is."""

    CROSS = "cross"
    AREA = "area"
    FLOW = "flow"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleFrame:
    """One processed frame, as rules see it.

    Attributes:
        step: number of the processed frame; grows from call to call.
        clock_s: the source's own time in seconds, from which durations are measured; never goes back within a rule's
            memory and knows no steps of the wall clock. Of a file it is the position in it.
        timestamp_us: wall clock in microseconds since the epoch; 0 for a picture without a time, which is inside any
            schedule.
        size_wh: of the frame.
        detections: all its objects, n of them.
        identities: int64 (n,), who each is (``tracking.linker``); 0 where no tracker has spoken.
    """

    step: int
    clock_s: float
    timestamp_us: int
    size_wh: tuple[int, int]
    detections: Detections
    identities: npt.NDArray[np.int64]

    def event(self, row: int, kind: Kind, *, place: int = 0) -> RuleEvent:
        """What has happened to the object of a row, which is told as it is in this frame."""
        objects = self.detections
        left, top, right, bottom = (round(value) for value in objects.boxes_xyxy[row].tolist())
        return RuleEvent(
            kind=kind,
            place=place,
            track_id=int(self.identities[row]),
            row=row,
            class_id=int(objects.class_ids[row]),
            score=float(objects.scores[row]),
            box_xyxy=(left, top, right, bottom),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conditions:
    """Which objects of which moments matter at all; they hold for rules and for sophon-stream's filters alike.

    Attributes:
        classes: class numbers; ``None`` for all.
        thresholds: least confidence by class number, from 0 to 1; an object qualifies once it, or its track at its
            best, has reached it. Classes that are not here have no threshold of their own.
        min_px: an object is too small when even its longer side is shorter; 0 for any size.
        max_px: an object is too large when even its shorter side is longer; 0 for any size.
        schedule: when alarms are wanted; ``None`` for always.
        exclude: polygons; an object whose anchor is in one of them does not qualify.
    """

    classes: tuple[int, ...] | None = None
    thresholds: Mapping[int, float] = field(default_factory=dict)
    min_px: float = 0.0
    max_px: float = 0.0
    schedule: WeeklySchedule | None = None
    exclude: tuple[Polygon, ...] = ()

    def concerns(self, class_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which objects are of a class that matters, (n,)."""
        if self.classes is None:
            return np.ones(len(class_ids), dtype=np.bool_)
        concerned: npt.NDArray[np.bool_]
        if len(self.classes) == 1:
            concerned = class_ids == self.classes[0]
        else:
            concerned = (class_ids[:, None] == np.array(self.classes, dtype=np.int64)).any(axis=1)
        return concerned

    def is_shut(self, timestamp_us: int) -> bool:
        """True if ``timestamp_us``, microseconds since the epoch, is outside the schedule; 0, no time, never is."""
        return self.schedule is not None and not self.schedule.is_on(timestamp_us)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RuleSpec:
    """One rule of one channel, as ``rule_json.parse_rule`` reads it from an entry of ``filters``.

    Attributes:
        kind: which rule it is.
        conditions: which objects of which moments matter.
        lines: polylines, of ``CROSS``.
        direction_xy: the arrow that says which way across a line is in; (0, 0) for none.
        both_ways: whether crossings against the arrow are reported too (as out); without an arrow they always are.
        include: polygons, of ``AREA`` and ``FLOW``; their union is the area, none means everywhere.
        anchor: what of an object has to be inside: ``foot`` (middle of its lower edge), ``center``, ``box`` (all four
            corners), or ``share``.
        share: with anchor ``share``, how much of the box's surface has to be inside, from 0 (exclusive) to 1.
        events: which events of an ``AREA`` are wanted.
        dwell_s: seconds after which ``DWELL`` is raised.
        occupancy_above: ``OCCUPANCY`` is raised when more objects than this are inside.
        first: processed frames that an object must have been seen (``INSIDE``: inside) before it is reported.
        every: processed frames between two reports of the same about one object; 0 for no repeat until it was gone.
        cooldown_s: seconds between two reports of the same about one object.
        rearm_s: seconds that an object must have been gone before it counts as new.
        report_every_s: seconds between two ``COUNT`` events of a ``FLOW``; 0 for none.
        best_picture: show the object at its largest and sharpest, not at the moment of the event.
        max_lost: processed frames after which an unseen track is forgotten.
    """

    kind: RuleKind
    conditions: Conditions = field(default_factory=Conditions)
    lines: tuple[Polyline, ...] = ()
    direction_xy: PointXy = (0.0, 0.0)
    both_ways: bool = False
    include: tuple[Polygon, ...] = ()
    anchor: str = "foot"
    share: float = 0.5
    events: frozenset[Kind] = frozenset({Kind.INSIDE})
    dwell_s: float = 10.0
    occupancy_above: int = 0
    first: int = 0
    every: int = 0
    cooldown_s: float = 0.0
    rearm_s: float = 5.0
    report_every_s: float = 0.0
    best_picture: bool = False
    max_lost: int = 100


class Rule(Protocol):
    """What watches one channel for one thing. Not for several threads at once."""

    def update(self, frame: RuleFrame) -> list[RuleEvent]:
        """Takes the next processed frame; returns what has happened, with ``rule`` 0 and rows of ``frame``."""

    def end(self, frame: RuleFrame) -> list[RuleEvent]:
        """What is still to be told where nothing follows ``frame``, the last one, with ``row`` -1; before ``reset``."""

    def reset(self) -> None:
        """Forgets everything: what comes next has nothing to do with what was."""

    def __len__(self) -> int:
        """How many objects are remembered; bounded by what recent frames showed."""
