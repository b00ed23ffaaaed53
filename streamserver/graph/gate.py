"""The key ``gate`` of a channel: a source of which only key frames are decoded while nothing moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from streamserver.core.extend_options import DEFAULT_GATE_HOLD_S, LEAST_GATE_HOLD_S
from streamserver.graph.fields import Fields, show


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The motion gate of a channel.

    Attributes:
        hold_s: how long everything is decoded after the last motion (``hold``).
        areas: where motion counts, polygons and lines of two points in pixels; none for the whole picture.
        extra: keys that nobody knows, kept for writing back.
    """

    hold_s: float = DEFAULT_GATE_HOLD_S
    areas: tuple[tuple[tuple[float, float], ...], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Reads the object; both keys may be left out."""
        hold_s = fields.number("hold", DEFAULT_GATE_HOLD_S)
        if hold_s < LEAST_GATE_HOLD_S:
            fields.fail("hold", f"got {show(hold_s)}", cure=f"use {LEAST_GATE_HOLD_S:g} seconds or more")
        areas = fields.items("areas", [])
        if not all(_is_area(area) for area in areas):
            fields.fail("areas", f"got {show(areas)}", cure="use polygons and lines of at least two points [x, y]")
        return cls(
            hold_s=hold_s,
            areas=tuple(tuple((float(x), float(y)) for x, y in area) for area in areas),
            extra=fields.others(frozenset({"hold", "areas"})),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as in the file."""
        return {"hold": self.hold_s, "areas": [[list(point) for point in area] for area in self.areas], **self.extra}


def _is_area(area: Any) -> bool:
    return isinstance(area, list) and len(area) >= 2 and all(_is_point(point) for point in area)


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)
