"""The ``configure`` object of the filter element (CONTRACT 3.5) and our own keys, checked once.

Ours are ``mode``, ``anchor`` and ``max_lost``; the meaning of each key stands at ``FilterSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.schedule import DailyWindow, parse_time_of_day

BY_PLATE = 0
BY_TRACK = 1
EVERY_FRAME = 2

MODES = ("touch", "cross")
ANCHORS = ("box", "foot")

AreaPoints = npt.NDArray[np.float64]


class SpecError(ValueError):
    """A key of the configuration cannot be used.

    Attributes:
        key: its JSON path below ``configure``.
        problem: what is wrong, with the value.
        cure: what to write instead; may be empty.
    """

    def __init__(self, key: str, problem: str, *, cure: str = "") -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem
        self.cure = cure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilterSpec:
    """One entry of ``filters``.

    Attributes:
        classes: class ids that matter (``classes``); all others are removed.
        areas: point lists (``areas``), (k, 2) as x, y: 0 points everything, 1 or 2 a point or a line, more a polygon.
        windows: when alarms are wanted (``times``), local time.
        kind: ``type``: 0 and 1 count objects one by one, any other passes every frame that qualifies.
        first: ``alert_first_frame`` (also ``alert_first_frames``): frames an object must have qualified in before.
        every: ``alert_frame_skip_nums``: frames between two reports of an object, at least 1.
        direction_xy: ``direction``, (0, 0) for any.
        interval: ``trajectory_interval``: frames between two samples of the direction in mode ``touch``, at least 1.
        crossing: ``mode`` is ``cross`` (a track's foot goes across a line) instead of ``touch`` (a box is on it).
        by_foot: ``anchor`` is ``foot`` (the foot point is inside a polygon) instead of ``box`` (all four corners).
        max_lost: frames after which mode ``cross`` forgets an unseen track.
    """

    classes: tuple[int, ...]
    areas: tuple[AreaPoints, ...]
    windows: tuple[DailyWindow, ...]
    kind: int
    first: int = 0
    every: int = 1
    direction_xy: PointXy = (0.0, 0.0)
    interval: int = 5
    crossing: bool = False
    by_foot: bool = False
    max_lost: int = 100

    @property
    def needs_tracks(self) -> bool:
        """True if the filter means nothing without a tracker before it."""
        return self.kind == BY_TRACK

    @property
    def lacks(self) -> str:
        """The key whose empty list keeps everything out, or an empty string."""
        lists = {"classes": self.classes, "areas": self.areas, "times": self.windows}
        return next((key for key, values in lists.items() if not values), "")


def parse_rules(configure: Mapping[str, Any]) -> dict[int, tuple[FilterSpec, ...]]:
    """The filters of each channel; of several rules for one channel the last holds.

    Raises:
        SpecError: a key is missing or has a value that cannot be used.
    """
    rules = _list(configure, "rules", "rules")
    parsed: dict[int, tuple[FilterSpec, ...]] = {}
    for i, rule in enumerate(rules):
        path = f"rules[{i}]"
        channel_id = _whole(_object(rule, path), "channel_id", path)
        filters = _list(rule, "filters", f"{path}.filters")
        parsed[channel_id] = tuple(_filter(item, f"{path}.filters[{j}]") for j, item in enumerate(filters))
    return parsed


def _filter(item: Any, path: str) -> FilterSpec:
    entry = _object(item, path)
    first_key = "alert_first_frame" if "alert_first_frame" in entry else "alert_first_frames"
    spec = FilterSpec(
        classes=tuple(_number(n, f"{path}.classes[{i}]") for i, n in enumerate(_list(entry, "classes", path))),
        areas=tuple(_area(a, f"{path}.areas[{i}]") for i, a in enumerate(_list(entry, "areas", path))),
        windows=tuple(_window(w, f"{path}.times[{i}]") for i, w in enumerate(_list(entry, "times", path))),
        kind=_whole(entry, "type", path),
        first=max(0, _whole(entry, first_key, path, default=0)),
        every=max(1, _whole(entry, "alert_frame_skip_nums", path, default=1)),
        direction_xy=_direction(entry.get("direction"), f"{path}.direction"),
        interval=max(1, _whole(entry, "trajectory_interval", path, default=5)),
        crossing=_choice(entry, "mode", MODES, path) == "cross",
        by_foot=_choice(entry, "anchor", ANCHORS, path) == "foot",
        max_lost=max(1, _whole(entry, "max_lost", path, default=100)),
    )
    if spec.crossing:
        _check_crossing(spec, path)
    return spec


def _check_crossing(spec: FilterSpec, path: str) -> None:
    if spec.kind != BY_TRACK:
        raise SpecError(f"{path}.type", f"mode 'cross' follows tracks, got type {spec.kind}", cure="write type 1")
    for i, points in enumerate(spec.areas):
        if len(points) != 2 or np.array_equal(points[0], points[1]):
            raise SpecError(
                f"{path}.areas[{i}]",
                f"mode 'cross' needs a line of two different points, got {points.tolist()}",
                cure="draw a line, or use mode 'touch' for areas",
            )


def _area(value: Any, path: str) -> AreaPoints:
    if not isinstance(value, list):
        raise SpecError(path, f"expected a list of points, got {value!r}")
    points = [_object(point, f"{path}[{i}]") for i, point in enumerate(value)]
    rows = [[_real(p.get(key), f"{path}[{i}].{key}") for key in ("left", "top")] for i, p in enumerate(points)]
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _window(value: Any, path: str) -> DailyWindow:
    entry = _object(value, path)
    ends = []
    for key in ("time_start", "time_end"):
        try:
            ends.append(parse_time_of_day(str(entry.get(key))))
        except ValueError as e:
            raise SpecError(f"{path}.{key}", str(e)) from e
    return DailyWindow(*ends)


def _direction(value: Any, path: str) -> PointXy:
    if value is None:
        return 0.0, 0.0
    if not isinstance(value, list) or len(value) != 2:
        raise SpecError(path, f"expected two numbers [dx, dy], got {value!r}")
    return _real(value[0], f"{path}[0]"), _real(value[1], f"{path}[1]")


def _choice(entry: Mapping[str, Any], key: str, allowed: tuple[str, ...], path: str) -> str:
    value = entry.get(key, allowed[0])
    if value not in allowed:
        raise SpecError(f"{path}.{key}", f"expected one of {', '.join(allowed)}, got {value!r}")
    return str(value)


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(path, f"expected an object, got {value!r}")
    return value


def _list(entry: Mapping[str, Any], key: str, path: str) -> list[Any]:
    value = entry.get(key)
    if not isinstance(value, list):
        problem = "is missing" if key not in entry else f"expected a list, got {value!r}"
        raise SpecError(path if path.endswith(key) else f"{path}.{key}", problem)
    return value


def _whole(entry: Mapping[str, Any], key: str, path: str, *, default: int | None = None) -> int:
    if key not in entry:
        if default is None:
            raise SpecError(f"{path}.{key}", "is missing")
        return default
    return _number(entry[key], f"{path}.{key}")


def _number(value: Any, path: str) -> int:
    number = _real(value, path)
    if number != int(number):
        raise SpecError(path, f"expected a whole number, got {value!r}")
    return int(number)


def _real(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise SpecError(path, f"expected a number, got {value!r}")
    return float(value)
