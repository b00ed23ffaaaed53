"""What a user draws on the picture: lines, areas and sizes, as the API's JSON has them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from streamserver.core.shapes import distinct_corners, polygon_fault
from streamserver.core.wire_errors import fault
from streamserver.core.wire_types import HIGH_COORDINATE, Coordinate, Whole, Wire

MAX_POINTS = 1000
"""Corners of one area, and of all areas of a request together."""


class Point(Wire):
    """A point in pixels of the stream; fractions are rounded, a picture's far edge (W, H) is inside."""

    x: Coordinate = Field(alias="X", description="from the left", examples=[580])
    y: Coordinate = Field(alias="Y", description="from the top", examples=[431])


_ORIGIN = Point(X=0, Y=0)


class TripWire(Wire):
    """A line and the direction that counts; all zero means that there is none."""

    line_start: Point = Field(default=_ORIGIN, alias="LineStart", description="one end of the line")
    line_end: Point = Field(default=_ORIGIN, alias="LineEnd", description="the other end")
    direct_start: Point = Field(default=_ORIGIN, alias="DirectStart", description="tail of the direction arrow")
    direct_end: Point = Field(
        default=_ORIGIN, alias="DirectEnd", description="its tip; the same point as the tail means both directions"
    )


def _sensible_line(wire: TripWire) -> TripWire:
    """Refuses half a line and a line without length; a direction without length becomes none."""
    for one, other in (("line_start", "line_end"), ("line_end", "line_start")):
        if one in wire.model_fields_set and other not in wire.model_fields_set:
            missing = TripWire.model_fields[other].alias
            raise fault(f"{missing} is missing", cure="a line needs LineStart and LineEnd", show=False)
    if wire.line_start == wire.line_end != _ORIGIN:
        at = f"({wire.line_start.x}, {wire.line_start.y})"
        raise fault(
            f"LineStart and LineEnd are the same point {at}", cure="draw a line, or send zeros for none", show=False
        )
    if wire.direct_start != wire.direct_end:
        return wire
    return wire.model_copy(update={"direct_start": _ORIGIN, "direct_end": _ORIGIN})


def _possible_area(points: list[Point]) -> list[Point]:
    corners_xy = distinct_corners([(point.x, point.y) for point in points])
    reason = polygon_fault(corners_xy) if corners_xy else ""
    if reason:
        raise fault(
            f"impossible polygon: {reason}",
            cure="send at least 3 corners of an area whose edges do not meet, or [] for none",
        )
    return [Point(X=x, Y=y) for x, y in corners_xy]


Area = Annotated[list[Point], Field(max_length=MAX_POINTS), AfterValidator(_possible_area)]
"""Corners of an area in order; repeated corners collapse."""


class DetectInfo(Wire):
    """One drawing of the user: a line, an area, or both."""

    trip_wire: Annotated[TripWire, AfterValidator(_sensible_line)] = Field(
        default=TripWire(), alias="TripWire", description="the line; absent, null or all zero for none"
    )
    hot_area: Area = Field(
        default=[],
        alias="HotArea",
        description="corners of the area in order; absent, null or [] for none; repeated corners collapse",
        examples=[[{"X": 0, "Y": 0}, {"X": 1920, "Y": 0}, {"X": 1920, "Y": 1080}]],
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_the_old_spelling(cls, content: Any) -> Any:
        """The old server's manual calls the key TripleWire."""
        if isinstance(content, dict) and "TripleWire" in content and content.get("TripWire") is None:
            return {"TripWire" if key == "TripleWire" else key: content[key] for key in content if key != "TripWire"}
        return content


def not_contradictory(size: TargetSize) -> TargetSize:
    """Refuses sizes that no object can have."""
    if 0 < size.largest < size.smallest:
        raise fault(
            f"MinDetect {size.smallest} is larger than MaxDetect {size.largest}", cure="swap them, or 0", show=False
        )
    return size


class TargetSize(Wire):
    """How large an object may be, in pixels; 0 means no limit."""

    smallest: Whole = Field(
        default=0,
        alias="MinDetect",
        ge=0,
        le=HIGH_COORDINATE,
        description="an object whose longer side is shorter is too small; 0 for any",
    )
    largest: Whole = Field(
        default=0,
        alias="MaxDetect",
        ge=0,
        le=HIGH_COORDINATE,
        description="an object whose shorter side is longer is too large; 0 for any",
    )
