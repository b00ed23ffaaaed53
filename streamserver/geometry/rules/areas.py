"""Who comes into an area, leaves it and how long it stays: the rule of kind ``area``.

* ``ENTER``: came in from outside, or was first seen inside; but who is there in the first frame of all (after a
  ``reset`` too) was there before, and has only left when it goes.
* ``LEAVE``: is outside again, or has not been seen for ``rearm_s``; ``box_xyxy`` is where it was last inside,
  ``stay_s`` the time until then, ``leave_s`` the time since.
* ``INSIDE``: has been in for ``first`` processed frames of this stay, of which a few may have been missed, and again
  while it stays.
* ``DWELL``: has been in for ``dwell_s``; once a stay.
* ``OCCUPANCY``: more than ``occupancy_above`` are in; again while it lasts, and anew when it was over for ``rearm_s``.

Each of them has the number of those who are in now as ``count``: seen ``first`` frames at all, and not missed for long.
What an object did before it was seen for ``first`` frames is told when it has been, and never if it was not.

``every`` is between two ``INSIDE`` or ``OCCUPANCY``; the cool-down holds for all, whereby a stay whose ``ENTER`` falls
into it goes without its ``LEAVE``. Outside the schedule nothing is told, but all are followed: who entered then does so
untold, and what lasts, as ``DWELL``, is told when the schedule opens and it is still so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from streamserver.core.events import IN, OUT, Kind, RuleEvent
from streamserver.geometry.rules.conditions import Qualifier
from streamserver.geometry.rules.pacing import MOST_REMEMBERED, Pacing, Sighting
from streamserver.geometry.rules.rule import RuleFrame, RuleSpec
from streamserver.geometry.rules.zone import Zone


@dataclass(slots=True)
class _Stay:
    """One stay inside: ``latest`` and ``seen`` are of the last frame in which it was seen there."""

    since_s: float
    latest: RuleEvent
    seen: Sighting
    frames: int = 0
    has_dwelt: bool = False


@dataclass(slots=True)
class _Visitor:
    """One identity, inside or not.

    ``waiting`` are its entries and exits that are still to be told, ``withheld`` whether the last entry was not.
    """

    seen: Sighting
    frames: int = 0
    stay: _Stay | None = None
    waiting: list[RuleEvent] = field(default_factory=list)
    withheld: bool = False


class AreaRule:
    """Watches the areas of one channel, or all of its picture where none is drawn; only objects that are tracked.

    Objects are forgotten once they were unseen for ``rearm_s``, but for the three frames that a detector may miss.
    """

    def __init__(self, spec: RuleSpec) -> None:
        self._spec = spec
        self._qualifier = Qualifier(spec.conditions, spec.anchor, spec.share)
        self._zone = Zone(spec.include, anchor=spec.anchor, share=spec.share)
        self._repeats = Pacing(every=spec.every, cooldown_s=spec.cooldown_s, rearm_s=spec.rearm_s)
        self._cooling = Pacing(every=1, cooldown_s=spec.cooldown_s, rearm_s=spec.rearm_s)
        self._visitors: dict[int, _Visitor] = {}  # those seen longest ago come first
        self._frame = 0

    def __len__(self) -> int:
        """How many objects are remembered."""
        return max(len(self._visitors), len(self._qualifier), len(self._repeats), len(self._cooling))

    def reset(self) -> None:
        """Forgets everything: what comes next has nothing to do with what was."""
        self._visitors.clear()
        self._qualifier.reset()
        self._repeats.reset()
        self._cooling.reset()
        self._frame = 0

    def update(self, frame: RuleFrame) -> list[RuleEvent]:
        """Takes the next processed frame; returns what has happened, with ``rule`` 0 and rows of ``frame``."""
        self._frame += 1
        rows = self._follow_all(frame)
        gone = self._forget(frame)
        inside = self._inside_now(frame)
        present = {identity for identity in rows if self._visitors[identity].stay is not None}
        crowded = len(inside) > self._spec.occupancy_above
        self._repeats.see(frame, present | {0} if crowded else present)
        self._cooling.see(frame, present)
        if not self._qualifier.on(frame):
            for identity in rows:
                self._drop_waiting(self._visitors[identity])
            return []
        events = [event for identity, row in rows.items() for event in self._told_of(identity, row, frame)]
        events += [event for visitor in gone for event in self._flush(visitor, None, frame)]
        events += self._crowd(inside, frame) if crowded else []
        return [replace(event, count=len(inside)) for event in events]

    def end(self, frame: RuleFrame) -> list[RuleEvent]:
        """Nothing comes after ``frame``: who was in and had gone by then has left."""
        if not self._qualifier.on(frame):
            return []
        gone = [one for one in self._visitors.values() if not one.seen.is_recent(self._frame, frame.clock_s)]
        for visitor in gone:
            self._end_stay(visitor, frame)
        count = len(self._inside_now(frame))
        return [replace(event, count=count) for visitor in gone for event in self._flush(visitor, None, frame)]

    def _follow_all(self, frame: RuleFrame) -> dict[int, int]:
        """Moves all on who are seen; returns their rows by identity."""
        identities, boxes = frame.identities.tolist(), frame.detections.boxes_xyxy
        suits = self._qualifier.suiting(frame) & (frame.identities > 0)
        before = np.array([self._is_inside(identity) for identity in identities], dtype=np.bool_)
        held = self._zone.holds(boxes, frame.size_wh, before) & ~self._qualifier.excluded(frame)
        places = np.zeros(len(boxes), dtype=np.intp)
        new = suits & held & ~before
        places[new] = self._zone.places(boxes[new], frame.size_wh)
        rows: dict[int, int] = {}
        for row in np.flatnonzero(suits).tolist():
            if rows.setdefault(identities[row], row) == row:
                self._follow(frame, row, int(places[row]) if held[row] else None)
        return rows

    def _is_inside(self, identity: int) -> bool:
        visitor = self._visitors.get(identity)
        return visitor is not None and visitor.stay is not None

    def _follow(self, frame: RuleFrame, row: int, place: int | None) -> None:
        """Moves one on; ``place`` is where it came in, if it was not in before, and ``None`` if it is not in now."""
        now = Sighting(self._frame, frame.clock_s)
        identity = int(frame.identities[row])
        visitor = self._visitors.pop(identity, None) or _Visitor(now)
        self._visitors[identity] = visitor
        visitor.seen = now
        visitor.frames += 1
        stay = visitor.stay
        if place is None:
            self._end_stay(visitor, frame)
        elif stay is None:
            visitor.stay = _Stay(frame.clock_s, frame.event(row, Kind.INSIDE, place=place), now, frames=1)
            if self._frame > 1:
                visitor.waiting.append(replace(visitor.stay.latest, kind=Kind.ENTER, direction=IN))
        else:
            stay.latest, stay.seen = frame.event(row, Kind.INSIDE, place=stay.latest.place), now
            stay.frames += 1

    def _end_stay(self, visitor: _Visitor, frame: RuleFrame) -> None:
        stay, visitor.stay = visitor.stay, None
        if stay is None:
            return
        stay_s, leave_s = stay.seen.clock_s - stay.since_s, frame.clock_s - stay.seen.clock_s
        left = replace(stay.latest, kind=Kind.LEAVE, row=-1, direction=OUT, stay_s=stay_s, leave_s=leave_s)
        visitor.waiting.append(left)

    def _forget(self, frame: RuleFrame) -> list[_Visitor]:
        """Drops those who are gone; returns those of them of whom something is to be told."""
        gone = []
        while self._visitors:
            identity, visitor = next(iter(self._visitors.items()))
            is_gone = visitor.seen.is_gone(self._frame, frame.clock_s, self._spec.rearm_s)
            if not is_gone and len(self._visitors) <= MOST_REMEMBERED:
                break
            self._end_stay(self._visitors.pop(identity), frame)
            gone.append(visitor)
        return gone

    def _inside_now(self, frame: RuleFrame) -> list[RuleEvent]:
        """Those who are in, as they were last seen there."""
        recent = itertools.takewhile(
            lambda visitor: visitor.seen.is_recent(self._frame, frame.clock_s), reversed(self._visitors.values())
        )
        return [visitor.stay.latest for visitor in recent if visitor.stay and self._is_sure(visitor)]

    def _is_sure(self, visitor: _Visitor) -> bool:
        return visitor.frames >= self._spec.first

    def _told_of(self, identity: int, row: int, frame: RuleFrame) -> Iterator[RuleEvent]:
        """What is to be told of an object in the frame."""
        visitor = self._visitors[identity]
        yield from self._flush(visitor, row, frame)
        stay = visitor.stay
        if stay is None or not self._is_sure(visitor):
            return
        stay_s = frame.clock_s - stay.since_s
        event = replace(stay.latest, stay_s=stay_s)
        long_enough = Kind.INSIDE in self._spec.events and stay.frames >= self._spec.first
        if long_enough and self._repeats.allows((identity, Kind.INSIDE), frame.step, frame.clock_s):
            yield event
        if Kind.DWELL in self._spec.events and not stay.has_dwelt and stay_s >= self._spec.dwell_s:
            stay.has_dwelt = self._has_cooled(identity, Kind.DWELL, frame)
            if stay.has_dwelt:
                yield replace(event, kind=Kind.DWELL)

    def _flush(self, visitor: _Visitor, row: int | None, frame: RuleFrame) -> Iterator[RuleEvent]:
        """The entries and exits that may be told now, in their order; ``row`` is where the object is in the frame."""
        if not self._is_sure(visitor):
            return
        waiting, visitor.waiting = visitor.waiting, []
        for event in waiting:
            if event.kind not in self._spec.events:
                continue
            if event.kind is Kind.ENTER or Kind.ENTER not in self._spec.events:
                visitor.withheld = not self._has_cooled(event.track_id, event.kind, frame)
            if visitor.withheld:
                continue
            if row is not None and event.kind is Kind.ENTER:
                event = replace(frame.event(row, Kind.ENTER, place=event.place), direction=IN)
            yield event if row is None else replace(event, row=row)

    def _has_cooled(self, identity: int, kind: Kind, frame: RuleFrame) -> bool:
        return self._spec.cooldown_s <= 0 or self._cooling.allows((identity, kind), frame.step, frame.clock_s)

    def _drop_waiting(self, visitor: _Visitor) -> None:
        if self._is_sure(visitor):
            visitor.waiting.clear()
            visitor.withheld = False

    def _crowd(self, inside: list[RuleEvent], frame: RuleFrame) -> list[RuleEvent]:
        if Kind.OCCUPANCY not in self._spec.events:
            return []
        if not self._repeats.allows((0, Kind.OCCUPANCY), frame.step, frame.clock_s):
            return []
        lefts, tops, rights, bottoms = zip(*(event.box_xyxy for event in inside), strict=True)
        return [RuleEvent(kind=Kind.OCCUPANCY, box_xyxy=(min(lefts), min(tops), max(rights), max(bottoms)))]
