"""What a rule of the filter has seen happen, and its form on the wire (``mEvents`` of a posted message, ours).

A frame in which a rule saw something carries its events to the client, which makes reports of them. An event tells all
that a report needs, so it may speak of an object that has left the picture. Both processes read this module, so it
needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streamserver.core.results import BoxXyxy

EVENTS_KEY = "mEvents"
"""A list of events; absent from messages of graphs without rules, and of a sophon-stream binary."""

PICTURES_KEY = "mEventPictures"
"""Base64 JPEGs parallel to ``mEvents``, in the message that carries pictures; empty where there is none to show."""


class Kind(StrEnum):
    """What has happened."""

    CROSS = "cross"
    """A foot went across a line."""
    ENTER = "enter"
    """An object came into an area."""
    LEAVE = "leave"
    """It left the area, or was not seen any more while in it."""
    INSIDE = "inside"
    """It has been in the area for ``TrackInterval`` processed frames, or still is ``AlarmInterval`` later."""
    DWELL = "dwell"
    """It has been in the area for the dwell time."""
    OCCUPANCY = "occupancy"
    """More objects are in the area than allowed."""
    FLOW = "flow"
    """A person came in or went out: to be counted."""
    COUNT = "count"
    """How many there are now, told at regular times."""


NOWHERE: BoxXyxy = (0, 0, 0, 0)
"""The box of an event in which no single object is meant."""

IN, OUT = "in", "out"
"""Directions. Across a line: along its arrow or, without an arrow, from the left of the line to its right, seen from
its start to its end, is in. With areas: into the area is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvent:
    """One thing that happened.

    Attributes:
        kind: what it was.
        rule: which of the channel's filters saw it.
        place: which line or area of the rule.
        track_id: who it was: the track's number, for a track that was lost and refound that of its first part; 0 where
            no single object is meant.
        row: the object's row among the frame's objects as they are posted; -1 for none, and for one that is not
            in the frame.
        class_id: its class; -1 where no object is meant.
        score: the detector's confidence in it, from 0 to 1.
        box_xyxy: where it is, or was last seen, in pixels; ``NOWHERE`` where no object is meant.
        direction: ``IN``, ``OUT`` or empty.
        stay_s: seconds that it has been in the area; ``None`` where that has no meaning.
        leave_s: seconds since it was last in the area; ``None`` but for ``LEAVE``.
        count: objects that are in the area now; ``None`` where that has no meaning.
    """

    kind: Kind
    rule: int = 0
    place: int = 0
    track_id: int = 0
    row: int = -1
    class_id: int = -1
    score: float = 0.0
    box_xyxy: BoxXyxy = NOWHERE
    direction: str = ""
    stay_s: float | None = None
    leave_s: float | None = None
    count: int | None = None

    def to_wire(self) -> dict[str, Any]:
        """A member of ``mEvents``; what has no meaning is left out."""
        left, top, right, bottom = self.box_xyxy
        wire: dict[str, Any] = {
            "mKind": self.kind.value,
            "mRule": self.rule,
            "mPlace": self.place,
            "mTrackId": self.track_id,
            "mObject": self.row,
            "mClassify": self.class_id,
            "mScore": round(float(self.score), 4),
            "mBox": {"mX": left, "mY": top, "mWidth": right - left, "mHeight": bottom - top},
        }
        if self.direction:
            wire["mDirection"] = self.direction
        seconds = {"mStayTime": self.stay_s, "mLeaveTime": self.leave_s}
        wire |= {key: round(value, 2) for key, value in seconds.items() if value is not None}
        return wire if self.count is None else wire | {"mCount": self.count}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> RuleEvent:
        """Reads a member of ``mEvents``; raises ``ValueError``, ``KeyError`` or ``TypeError`` for what is none."""
        box = wire["mBox"]
        left, top = int(box["mX"]), int(box["mY"])
        return cls(
            kind=Kind(wire["mKind"]),
            rule=int(wire.get("mRule", 0)),
            place=int(wire.get("mPlace", 0)),
            track_id=int(wire.get("mTrackId", 0)),
            row=int(wire.get("mObject", -1)),
            class_id=int(wire.get("mClassify", -1)),
            score=float(wire.get("mScore", 0.0)),
            box_xyxy=(left, top, left + int(box["mWidth"]), top + int(box["mHeight"])),
            direction=str(wire.get("mDirection", "")),
            stay_s=_seconds(wire.get("mStayTime")),
            leave_s=_seconds(wire.get("mLeaveTime")),
            count=None if wire.get("mCount") is None else int(wire["mCount"]),
        )


def events_of(message: Mapping[str, Any]) -> list[RuleEvent] | None:
    """The events of a posted message; ``None`` when its engine knows no rules.

    Raises:
        ValueError: a member has the wrong form.
    """
    members = message.get(EVENTS_KEY)
    if members is None:
        return None
    try:
        return [RuleEvent.from_wire(member) for member in members]
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as e:
        raise ValueError(f"$.{EVENTS_KEY}: {e!r}") from e


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
