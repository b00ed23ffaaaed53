"""Who went across a line, and which way: the rule of kind ``cross``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from streamserver.core.events import IN, OUT, Kind, RuleEvent
from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.conditions import Qualifier
from streamserver.geometry.rules.pacing import Pacing
from streamserver.geometry.rules.rule import RuleFrame, RuleSpec
from streamserver.geometry.tripwire import Crossing, LineWatch, along


class CrossingRule:
    """Follows all identities of one channel across polylines, each by itself. Not for several threads at once.

    Who crosses is told in the frame in which it is clearly on the other side (``geometry.tripwire``), or as soon as it
    was seen for ``spec.first`` frames, if it qualified and the schedule was on when it was there; crossings at other
    times are followed, so that nobody is thought to come from where it was before them. A crossing back is no repeat
    of the crossing forth.

    An arrow is judged against the part of the polyline that was crossed. Where it runs along that part, the way from
    the line's left to its right is in, and both ways are told, as without an arrow.

    Raises:
        ValueError: the points of a line are all the same.
    """

    def __init__(self, spec: RuleSpec) -> None:
        self.spec = spec
        self._watches = [LineWatch(line, first=spec.first, max_lost=spec.max_lost) for line in spec.lines]
        self._qualifier = Qualifier(spec.conditions, spec.anchor, spec.share)
        self._pacing = Pacing(every=spec.every, cooldown_s=spec.cooldown_s, rearm_s=spec.rearm_s)

    def __len__(self) -> int:
        """How many objects are remembered."""
        return max(len(self._qualifier), len(self._pacing), *(len(watch) for watch in self._watches))

    def reset(self) -> None:
        """Forgets everything: what comes next has nothing to do with what was."""
        self._qualifier.reset()
        self._pacing.reset()
        for watch in self._watches:
            watch.reset()

    def update(self, frame: RuleFrame) -> list[RuleEvent]:
        """Takes the next processed frame; returns the crossings to tell now, by row."""
        qualifying = self._qualifier.qualifying(frame)
        counted = qualifying if self._qualifier.on(frame) else np.zeros_like(qualifying)
        self._pacing.see(frame, sorted({identity for identity in frame.identities.tolist() if identity > 0}))
        events = [
            event for place, watch in enumerate(self._watches) for event in self._told(frame, place, watch, counted)
        ]
        return sorted(events, key=lambda event: event.row)

    def end(self, frame: RuleFrame) -> list[RuleEvent]:
        """Nothing: who has crossed is told while it is there."""
        return []

    def _told(self, frame: RuleFrame, place: int, watch: LineWatch, counted: npt.NDArray[np.bool_]) -> list[RuleEvent]:
        objects = frame.detections
        crossings = watch.update(
            frame.step,
            frame.identities,
            objects.boxes_xyxy,
            frame.size_wh,
            clock_s=frame.clock_s,
            born_xyxy=objects.born_xyxy,
            counted=counted,
        )
        told = []
        for crossing in crossings:
            direction = _direction(crossing, self.spec.direction_xy, both_ways=self.spec.both_ways)
            key = int(frame.identities[crossing.row]), f"{place}:{direction}"
            if direction and self._pacing.allows(key, frame.step, frame.clock_s):
                told.append(replace(frame.event(crossing.row, Kind.CROSS, place=place), direction=direction))
        return told


def _direction(crossing: Crossing, arrow_xy: PointXy, *, both_ways: bool) -> str:
    """``IN``, ``OUT``, or empty for one that goes the wrong way."""
    way = along(crossing, arrow_xy)
    if way == 0:
        return IN if crossing.side > 0 else OUT
    if way > 0:
        return IN
    return OUT if both_ways else ""
