"""The keys of ``Extend`` that say what is watched and told, for every algorithm that decides by rules.

They are checked by whoever uses them (``plugin_api``), while a task is created: a sample of somebody else may mean
something else by ``Mode``. All are optional, and ``null`` is the same as leaving a key out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, model_validator

from streamserver.core.drawings import MAX_POINTS, Area, Point
from streamserver.core.errors import BadRequestError
from streamserver.core.labels import class_number
from streamserver.core.slips import nearest
from streamserver.core.strict_json import describe
from streamserver.core.wire_errors import fault, validate
from streamserver.core.wire_types import Whole, Wire, without_default

MODES = ("cross", "touch")
DIRECTIONS = ("arrow", "both")
ANCHORS = ("foot", "center", "box")
EVENTS = ("enter", "leave", "inside", "dwell", "occupancy")
PICTURES = ("event", "best")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MAX_SHAPES = 64
MAX_CLASSES = 1000
"""Entries of ``Classes`` and ``Thresholds``."""

MAX_SECONDS = 604_800
MAX_REARM_S = 3600
"""So long are those remembered who do not come any more."""

MINUTES_A_DAY = 1440
_MAX_COUNT = 1_000_000
_ORIGIN = Point(X=0, Y=0)
_TIME_PATTERN = "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"


def _one_of(choices: tuple[str, ...]) -> BeforeValidator:
    def check(value: Any) -> Any:
        if value not in choices:
            raise fault("unknown value", cure=f"use {', '.join(choices[:-1])} or {choices[-1]}")
        return value

    return BeforeValidator(check)


def _some_of(choices: tuple[str, ...], what: str, *, cure: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise fault(f"expected a list of {what}s", cure=cure)
        for one in value:
            if one not in choices:
                raise fault(f"{describe(one)} is no {what}", cure=f"use {', '.join(choices)}", show=False)
        return list(dict.fromkeys(value))

    return BeforeValidator(check)


def _mode_schema(node: dict[str, Any]) -> None:
    without_default(node)
    node["enum"] = list(MODES)


def _anchor(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (0 < value <= 1 if number else value in ANCHORS):
        raise fault(
            "no anchor", cure="use foot, center, box, or the share of the box that has to be inside, above 0 up to 1"
        )
    return value


def _time_of_day(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(_TIME_PATTERN, value):
        raise fault("expected a time of day as HH:MM", cure='e.g. "08:30"; "24:00" is the end of the day')
    return value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as e:  # a folder of zones, a path, an unknown name
        raise fault("unknown time zone", cure='use a name of the IANA database, e.g. "Europe/Berlin" or "UTC"') from e
    return name


def _thresholds(value: Any) -> Any:
    if not isinstance(value, dict):
        raise fault("expected an object", cure='e.g. {"person": 60}')
    if len(value) > MAX_CLASSES:
        raise fault(f"{len(value)} classes are too many", cure=f"at most {MAX_CLASSES}", show=False)
    for name, least in value.items():
        if class_number(name) is None:
            raise fault(f"{describe(name)} is no class", cure=_CLASS_CURE, show=False)
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 < least <= 100:
            raise fault(
                f"{name}: expected a number above 0 and at most 100, got {describe(least)}", cure="e.g. 60", show=False
            )
    if len({class_number(name) for name in value}) < len(value):
        raise fault("a class is there twice", cure="name each once, by name or by number")
    return value


class _Exact(Wire):
    """An object in which every key has to be known: a slip in it would be alarms at the wrong time or place."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _knows_every_key(cls, content: Any) -> Any:
        known = [str(field.alias) for field in cls.model_fields.values()]
        for key in content if isinstance(content, dict) else ():
            if key not in known:
                cure = f"did you mean {nearest(key, known) or ' or '.join(known)}?"
                raise fault(f"{describe(key)} is no key here", cure=cure, show=False)
        return content


class Line(_Exact):
    """A line of two or more points, and the direction that counts."""

    points: list[Point] = Field(
        alias="Points",
        max_length=MAX_POINTS,
        description="from start to end; points that repeat collapse, and two at least must differ",
        examples=[[{"X": 100, "Y": 300}, {"X": 400, "Y": 350}, {"X": 700, "Y": 300}]],
    )
    direct_start: Point = Field(default=_ORIGIN, alias="DirectStart", description="tail of the direction arrow")
    direct_end: Point = Field(
        default=_ORIGIN, alias="DirectEnd", description="its tip; the same point as the tail means both directions"
    )

    @property
    def path_xy(self) -> list[tuple[int, int]]:
        """The points without neighbours that repeat each other."""
        path = [(point.x, point.y) for point in self.points]
        return [point for i, point in enumerate(path) if i == 0 or point != path[i - 1]]

    @property
    def arrow_xy(self) -> tuple[int, int]:
        """The arrow as a vector; (0, 0) for none."""
        return (self.direct_end.x - self.direct_start.x, self.direct_end.y - self.direct_start.y)


def _with_length(line: Line) -> Line:
    if len(line.path_xy) < 2:
        raise fault("the line has no length", cure="send two different points at least", show=False)
    return line


def _few_corners(value: Any) -> Any:
    """Refuses what takes long to check before it is checked."""
    count = sum(len(area) for area in value if isinstance(area, list)) if isinstance(value, list) else 0
    if count > MAX_POINTS:
        raise fault(f"the areas have {count} corners together", cure=f"at most {MAX_POINTS}", show=False)
    return value


def _drawn(points: list[Point]) -> list[Point]:
    if not points:
        raise fault("the area has no corners", cure="send at least 3, or leave the area out", show=False)
    return points


class Window(_Exact):
    """A part of the week in which alarms are wanted."""

    days: Annotated[list[str], _some_of(DAYS, "day", cure='e.g. ["Mon", "Tue"], or leave it out for every day')] = (
        Field(
            default=list(DAYS),
            alias="Days",
            description="days on which it begins: Mon, Tue, Wed, Thu, Fri, Sat, Sun",
            json_schema_extra={"items": {"type": "string", "enum": list(DAYS)}, "minItems": 1},
        )
    )
    start: Annotated[str, BeforeValidator(_time_of_day)] = Field(
        alias="From", description="its first minute", examples=["22:00"], pattern=_TIME_PATTERN
    )
    end: Annotated[str, BeforeValidator(_time_of_day)] = Field(
        alias="To",
        description="the minute before which it ends; not later than From means on the next day",
        examples=["06:00"],
        pattern=_TIME_PATTERN,
    )


def _with_minutes(window: Window) -> Window:
    if window.start == window.end or window.start == "24:00":
        raise fault(
            f"From {window.start} to {window.end} is no time", cure="00:00 to 24:00 is the whole day", show=False
        )
    return window


class Schedule(_Exact):
    """When alarms are wanted, by the clock on the wall of a place."""

    time_zone: Annotated[str, Strict(), AfterValidator(_zone)] = Field(
        alias="TimeZone", description="name of the IANA database", examples=["Europe/Berlin"]
    )
    windows: list[Annotated[Window, AfterValidator(_with_minutes)]] = Field(
        alias="Windows",
        min_length=1,
        max_length=MAX_SHAPES,
        description="alarms are wanted in any of them",
        examples=[[{"Days": ["Mon", "Tue"], "From": "22:00", "To": "06:00"}]],
    )

    def to_filter(self) -> dict[str, Any]:
        """As the filter's ``conditions`` have it: each weekday's windows in minutes, 0 for Monday."""
        windows = [
            {"day": DAYS.index(day), "start": _minute(window.start), "end": _minute(window.end) or MINUTES_A_DAY}
            for window in self.windows
            for day in window.days
        ]
        return {"zone": self.time_zone, "windows": windows}


class ConditionOptions(Wire):
    """Who matters at all, and when; for every algorithm that comes with the server."""

    exclude: Annotated[list[Annotated[Area, AfterValidator(_drawn)]], BeforeValidator(_few_corners)] = Field(
        default=[],
        alias="ExcludeAreas",
        max_length=MAX_SHAPES,
        description="areas in which objects do not count",
        examples=[[[{"X": 0, "Y": 0}, {"X": 200, "Y": 0}, {"X": 200, "Y": 100}]]],
    )
    thresholds: Annotated[dict[str, float], BeforeValidator(_thresholds)] = Field(
        default={},
        alias="Thresholds",
        description="least confidence by class, by name or number, as threshold has it",
        examples=[{"person": 60, "2": 0.4}],
        json_schema_extra={
            "maxProperties": MAX_CLASSES,
            "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
        },
    )
    schedule: Schedule | None = Field(
        default=None,
        alias="Schedule",
        description="when alarms are wanted; always unless given",
        json_schema_extra=without_default,
    )
    detect_roi: Annotated[bool, Strict()] = Field(
        default=False,
        alias="DetectRoi",
        description="the network is shown only what is around the areas and lines, so that small objects are found",
    )


Seconds = Annotated[float, Strict(), Field(ge=0, le=MAX_SECONDS)]


class RuleOptions(ConditionOptions):
    """What is watched for, and how often it is told."""

    mode: Annotated[str, _one_of(MODES)] = Field(
        default="",
        alias="Mode",
        description="cross: feet go across lines; touch: boxes on lines, or whole in areas, as in sophon-stream",
        json_schema_extra=_mode_schema,
    )
    direction: Annotated[str, _one_of(DIRECTIONS)] = Field(
        default="arrow",
        alias="Direction",
        description="arrow: only crossings along a line's arrow; both: either way",
        json_schema_extra={"enum": list(DIRECTIONS)},
    )
    lines: list[Annotated[Line, AfterValidator(_with_length)]] = Field(
        default=[],
        alias="Lines",
        max_length=MAX_SHAPES,
        description="lines of several points, beside those of DetectInfos",
    )
    anchor: Annotated[str | float, BeforeValidator(_anchor)] = Field(
        default="foot",
        alias="Anchor",
        description="what must be in an area: foot (middle of the lower edge), center, box (all corners), or the share "
        "of the box, above 0 up to 1",
        json_schema_extra={"anyOf": [{"enum": list(ANCHORS)}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]},
    )
    events: Annotated[list[str], _some_of(EVENTS, "event", cure='e.g. ["enter", "leave"]')] = Field(
        default=["inside"],
        alias="Events",
        description="what of an area is told: enter, leave, inside, dwell, occupancy",
        json_schema_extra={"items": {"type": "string", "enum": list(EVENTS)}, "minItems": 1},
    )
    dwell_s: Annotated[float, Strict(), Field(gt=0, le=MAX_SECONDS)] = Field(
        default=10.0, alias="DwellTime", description="seconds in the area after which dwell is told", examples=[30]
    )
    occupancy_above: Whole = Field(
        default=0,
        alias="OccupancyAbove",
        ge=0,
        le=_MAX_COUNT,
        description="occupancy is told when more objects are in the area",
        examples=[5],
        json_schema_extra=without_default,
    )
    cooldown_s: Seconds = Field(
        default=0.0, alias="Cooldown", description="seconds before the same is told of the same object again"
    )
    rearm_s: Annotated[float, Strict(), Field(ge=0, le=MAX_REARM_S)] = Field(
        default=5.0, alias="RearmTime", description="seconds that an object must be gone before it counts as new"
    )
    picture: Annotated[str, _one_of(PICTURES)] = Field(
        default="event",
        alias="Picture",
        description="event: the object as it is then; best: as it was at its largest and sharpest",
        json_schema_extra={"enum": list(PICTURES)},
    )
    report_every_s: Seconds = Field(
        default=0.0, alias="ReportInterval", description="passenger flow: seconds between two counts, 0 for none"
    )
    report_events: Annotated[bool, Strict()] = Field(
        default=True, alias="ReportEvents", description="passenger flow: whether each person is told"
    )

    @property
    def wanted_events(self) -> list[str]:
        """``Events``, and those whose own key is there; without ``Events``, these alone if there are any."""
        asked = self.events if "events" in self.model_fields_set else []
        keys = {"dwell": "dwell_s", "occupancy": "occupancy_above"}
        added = [event for event, key in keys.items() if key in self.model_fields_set and event not in asked]
        return [*asked, *added] or list(self.events)


OptionsT = TypeVar("OptionsT", bound=ConditionOptions)

CONDITION_KEYS = tuple(str(field.alias) for field in ConditionOptions.model_fields.values())
"""Those that every algorithm understands, as they are written."""

RULE_KEYS = tuple(str(field.alias) for field in RuleOptions.model_fields.values())
"""All keys, as they are written."""

_CLASS_CURE = 'use numbers from 0 or the names in configs/labels/coco.txt, e.g. "person"'


def condition_options(algorithm: Mapping[str, Any]) -> ConditionOptions:
    """The keys of an algorithm's ``Extend`` that every algorithm understands.

    Raises:
        BadRequestError: one of them cannot be meant so; its path lacks the algorithm's position, which ``plugins``
            fills in.
    """
    return _parsed(ConditionOptions, algorithm)


def rule_options(algorithm: Mapping[str, Any]) -> RuleOptions:
    """All keys that a rule understands; raises as ``condition_options`` does."""
    options = _parsed(RuleOptions, algorithm)
    if "occupancy" in options.events and "occupancy_above" not in options.model_fields_set:
        raise BadRequestError(
            "occupancy is told above a number",
            path="$.Algorithm[].Extend.Events",
            cure='add "OccupancyAbove": 5, or the like',
        )
    return options


def _parsed(model: type[OptionsT], algorithm: Mapping[str, Any]) -> OptionsT:
    extend = algorithm.get("Extend")
    try:
        return validate(model, extend if isinstance(extend, dict) else {}, at=("Algorithm", 0, "Extend"))
    except BadRequestError as e:
        path = e.path.replace("$.Algorithm[0]", "$.Algorithm[]", 1)
        raise BadRequestError(e.message.removeprefix(f"{e.path}: "), path=path, cure=e.cure) from e


def _minute(time: str) -> int:
    hours, minutes = time.split(":")
    return int(hours) * 60 + int(minutes)
