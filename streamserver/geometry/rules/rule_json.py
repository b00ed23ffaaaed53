"""The keys ``rule`` and ``conditions`` of a filter's entry (docs/elements.md, "filter"), checked once.

Both are ours and win where they stand; what each key means stands at ``RuleSpec`` and ``Conditions``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from streamserver.core.events import Kind
from streamserver.geometry.rules.areas import AreaRule
from streamserver.geometry.rules.crossing import CrossingRule
from streamserver.geometry.rules.flow import FlowRule
from streamserver.geometry.rules.reading import (
    SpecError,
    read_choice,
    read_direction,
    read_list,
    read_object,
    read_ours,
    read_real,
    read_some,
    read_whole,
    real_number,
    whole_number,
)
from streamserver.geometry.rules.rule import Conditions, Polygon, Polyline, Rule, RuleKind, RuleSpec
from streamserver.geometry.rules.weekly import MINUTES_A_DAY, WeeklySchedule, WeeklyWindow

RULE_KEY = "rule"
CONDITIONS_KEY = "conditions"

_RULE_KEYS = {one.name for one in dataclasses.fields(RuleSpec)} - {"conditions", "direction_xy"} | {"direction"}
_CONDITION_KEYS = {one.name for one in dataclasses.fields(Conditions)}
_SCHEDULE_KEYS = {"zone", "windows"}
_ANCHORS = ("foot", "center", "box", "share")
_AREA_EVENTS = (Kind.ENTER, Kind.LEAVE, Kind.INSIDE, Kind.DWELL, Kind.OCCUPANCY)
_FEWEST_CORNERS = 3
_DAYS = 7


def parse_conditions(entry: Mapping[str, Any], path: str) -> Conditions:
    """What ``conditions`` of an entry of ``filters`` says; without the key everything matters always.

    Args:
        entry: one member of ``filters``.
        path: the entry's JSON path below ``configure``, for errors.

    Raises:
        SpecError: a value cannot be used.
    """
    if CONDITIONS_KEY not in entry:
        return Conditions()
    path = f"{path}.{CONDITIONS_KEY}"
    value = read_ours(entry[CONDITIONS_KEY], path, _CONDITION_KEYS)
    schedule = value.get("schedule")
    return Conditions(
        classes=_classes(value["classes"], f"{path}.classes") if value.get("classes") is not None else None,
        thresholds=_thresholds(value.get("thresholds", {}), f"{path}.thresholds"),
        min_px=read_real(value, "min_px", path, default=0.0),
        max_px=read_real(value, "max_px", path, default=0.0),
        schedule=None if schedule is None else _schedule(schedule, f"{path}.schedule"),
        exclude=_polygons(value, "exclude", path),
    )


def parse_rule(entry: Mapping[str, Any], path: str) -> RuleSpec:
    """The rule of an entry of ``filters`` that has the key ``rule``.

    Where the entry's ``conditions`` name no classes, the entry's own ``classes`` hold, if there are any.

    Args:
        entry: one member of ``filters``.
        path: the entry's JSON path below ``configure``, for errors.

    Raises:
        SpecError: a value cannot be used.
    """
    conditions = _with_classes_of(entry, parse_conditions(entry, path), path)
    path = f"{path}.{RULE_KEY}"
    value = read_ours(entry[RULE_KEY], path, _RULE_KEYS)
    usual = RuleSpec(kind=RuleKind.CROSS)
    spec = RuleSpec(
        kind=_kind(value, path),
        conditions=conditions,
        lines=_polylines(value, path),
        direction_xy=read_direction(value.get("direction"), f"{path}.direction"),
        both_ways=_flag(value, "both_ways", path, default=usual.both_ways),
        include=_polygons(value, "include", path),
        anchor=read_choice(value, "anchor", _ANCHORS, path),
        share=read_real(value, "share", path, default=usual.share),
        events=_events(value, path),
        dwell_s=read_real(value, "dwell_s", path, default=usual.dwell_s),
        occupancy_above=read_whole(value, "occupancy_above", path, default=usual.occupancy_above, least=0),
        first=read_whole(value, "first", path, default=usual.first, least=0),
        every=read_whole(value, "every", path, default=usual.every, least=0),
        cooldown_s=read_real(value, "cooldown_s", path, default=usual.cooldown_s),
        rearm_s=read_real(value, "rearm_s", path, default=usual.rearm_s),
        report_every_s=read_real(value, "report_every_s", path, default=usual.report_every_s),
        best_picture=_flag(value, "best_picture", path, default=usual.best_picture),
        max_lost=read_whole(value, "max_lost", path, default=usual.max_lost, least=1),
    )
    if not 0 < spec.share <= 1:
        raise SpecError(f"{path}.share", f"expected a share above 0 and at most 1, got {spec.share:g}")
    if spec.kind is RuleKind.CROSS and not spec.lines:
        raise SpecError(f"{path}.lines", "a rule of kind 'cross' needs a line", cure="draw one")
    return spec


def make_rule(spec: RuleSpec) -> Rule:
    """The rule that does what ``spec`` says."""
    kinds: dict[RuleKind, Callable[[RuleSpec], Rule]] = {
        RuleKind.CROSS: CrossingRule,
        RuleKind.AREA: AreaRule,
        RuleKind.FLOW: FlowRule,
    }
    return kinds[spec.kind](spec)


def _with_classes_of(entry: Mapping[str, Any], conditions: Conditions, path: str) -> Conditions:
    if conditions.classes is not None or "classes" not in entry:
        return conditions
    return dataclasses.replace(conditions, classes=_classes(entry["classes"], f"{path}.classes"))


def _kind(value: Mapping[str, Any], path: str) -> RuleKind:
    if "kind" not in value:
        raise SpecError(f"{path}.kind", "is missing", cure=f"write one of {', '.join(RuleKind)}")
    return RuleKind(read_choice(value, "kind", tuple(RuleKind), path))


def _classes(value: Any, path: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise SpecError(path, f"expected a list of class numbers, got {value!r}")
    return tuple(whole_number(number, f"{path}[{i}]") for i, number in enumerate(value))


def _thresholds(value: Any, path: str) -> dict[int, float]:
    """JSON has only texts for keys: class numbers stand in quotes."""
    thresholds = {}
    for key, share in read_object(value, path).items():
        if not (isinstance(key, str) and key.isascii() and key.isdecimal()):
            raise SpecError(f"{path}.{key}", "expected a class number as key")
        least = real_number(share, f"{path}.{key}")
        if not 0 <= least <= 1:
            raise SpecError(f"{path}.{key}", f"expected a confidence from 0 to 1, got {share!r}")
        thresholds[int(key)] = least
    return thresholds


def _schedule(value: Any, path: str) -> WeeklySchedule:
    entry = read_ours(value, path, _SCHEDULE_KEYS)
    zone = entry.get("zone")
    try:
        if not isinstance(zone, str) or not zone:
            raise ValueError
        place = ZoneInfo(zone)
    except (ValueError, OSError, KeyError) as e:  # a zone that is not known is a KeyError, a folder an OSError
        raise SpecError(
            f"{path}.zone", f"there is no time zone {zone!r}", cure="write one such as 'Europe/Berlin'"
        ) from e
    windows = read_some(entry, "windows", f"{path}.windows")
    return WeeklySchedule(place, tuple(_window(one, f"{path}.windows[{i}]") for i, one in enumerate(windows)))


def _window(value: Any, path: str) -> WeeklyWindow:
    limits = {"day": (0, _DAYS - 1), "start": (0, MINUTES_A_DAY - 1), "end": (1, MINUTES_A_DAY)}
    entry = read_ours(value, path, limits)
    numbers = {key: read_whole(entry, key, path) for key in limits}
    for key, (least, most) in limits.items():
        if not least <= numbers[key] <= most:
            raise SpecError(f"{path}.{key}", f"expected a number from {least} to {most}, got {numbers[key]}")
    return WeeklyWindow(**numbers)


def _events(value: Mapping[str, Any], path: str) -> frozenset[Kind]:
    if "events" not in value:
        return RuleSpec(kind=RuleKind.AREA).events
    names = read_some(value, "events", f"{path}.events")
    for i, name in enumerate(names):
        if name not in tuple(_AREA_EVENTS):
            known = ", ".join(_AREA_EVENTS)
            raise SpecError(f"{path}.events[{i}]", f"expected one of {known}, got {name!r}")
    return frozenset(Kind(name) for name in names)


def _polylines(value: Mapping[str, Any], path: str) -> tuple[Polyline, ...]:
    lines = _point_lists(value, "lines", path)
    for i, points in enumerate(lines):
        if len(np.unique(points, axis=0)) < 2:
            raise SpecError(f"{path}.lines[{i}]", f"expected two different points or more, got {points.tolist()}")
    return lines


def _polygons(value: Mapping[str, Any], key: str, path: str) -> tuple[Polygon, ...]:
    polygons = _point_lists(value, key, path)
    for i, points in enumerate(polygons):
        if len(points) < _FEWEST_CORNERS:
            raise SpecError(f"{path}.{key}[{i}]", f"expected three corners or more, got {points.tolist()}")
    return polygons


def _point_lists(value: Mapping[str, Any], key: str, path: str) -> tuple[npt.NDArray[np.float64], ...]:
    if key not in value:
        return ()
    path = f"{path}.{key}"
    return tuple(_points(points, f"{path}[{i}]") for i, points in enumerate(read_list(value, key, path)))


def _points(value: Any, path: str) -> npt.NDArray[np.float64]:
    if not isinstance(value, list):
        raise SpecError(path, f"expected a list of points [x, y], got {value!r}")
    rows = []
    for i, point in enumerate(value):
        if not isinstance(point, list) or len(point) != 2:
            raise SpecError(f"{path}[{i}]", f"expected a point [x, y], got {point!r}")
        rows.append([real_number(number, f"{path}[{i}][{k}]") for k, number in enumerate(point)])
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _flag(value: Mapping[str, Any], key: str, path: str, *, default: bool) -> bool:
    flag = value.get(key, default)
    if not isinstance(flag, bool):
        raise SpecError(f"{path}.{key}", f"expected true or false, got {flag!r}")
    return flag
