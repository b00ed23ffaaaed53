"""The core: detections of one video, frame by frame, to how many people came, went and are there.

The same parts count for the server's passenger flow (Type 7).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamserver.core.arrays import Detections
from streamserver.core.events import IN, OUT, Kind
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.rule import Polygon, RuleFrame, RuleKind, RuleSpec
from streamserver.geometry.tracking.byte_tracker import ByteTracker, ByteTrackOptions
from streamserver.geometry.tracking.linker import Linker


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers after a frame.

    Attributes:
        current: people who are in the area now; without an area, in view.
        came: people who have come in so far.
        went: people who have gone out so far.
    """

    current: int = 0
    came: int = 0
    went: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who was seen in a frame; row i of both arrays is the same person.

    Attributes:
        boxes_xyxy: (n, 4), pixels.
        identities: (n,), their numbers.
        present: the numbers of those who are counted as there.
    """

    boxes_xyxy: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), dtype=np.float32))
    identities: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    present: frozenset[int] = frozenset()


class FlowCounter:
    """Counts one video. Not for several threads at once.

    Args:
        polygons: whose union is the area; none for the whole view.

    Attributes:
        tally: the numbers so far.
        people: those of the last frame that was looked at.
    """

    def __init__(self, polygons: tuple[Polygon, ...]) -> None:
        self.tally = Tally()
        self.people = People()
        self._next_id = itertools.count(1).__next__
        self._rule = FlowRule(RuleSpec(kind=RuleKind.FLOW, include=polygons))
        self._linker = Linker()
        self._step = 0
        self._tracker = self._new_tracker()

    def restart(self) -> None:
        """What comes next does not continue what was; the totals stay."""
        self._tracker = self._new_tracker()
        self._linker.reset()
        self._rule.reset()

    def look(self, found: Detections, *, clock_s: float, size_wh: tuple[int, int]) -> None:
        """Takes the people found in the next frame that was looked at, ``clock_s`` of the video's own time."""
        tracked = self._tracker.update(found, size_wh, clock_s)
        identities = self._linker.update(clock_s, tracked.track_ids, tracked.boxes_xyxy, tracked.class_ids, size_wh)
        events = self._rule.update(
            RuleFrame(
                step=self._step,
                clock_s=clock_s,
                timestamp_us=0,
                size_wh=size_wh,
                detections=tracked,
                identities=identities,
            )
        )
        self._step += 1
        ways = [event.direction for event in events if event.kind is Kind.FLOW]
        came, went = self.tally.came + ways.count(IN), self.tally.went + ways.count(OUT)
        self.tally = Tally(self._rule.current, came, went)
        self.people = People(tracked.boxes_xyxy, identities, self._rule.present)

    def _new_tracker(self) -> ByteTracker:
        return ByteTracker(ByteTrackOptions(), self._next_id)
