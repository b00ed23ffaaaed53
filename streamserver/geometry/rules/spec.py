"""An entry of ``filters`` as sophon-stream knows it (CONTRACT 3.5), with keys of ours, checked once.

Ours are ``mode``, ``anchor``, ``max_lost`` and ``conditions`` (``rule_json``); what each means is at ``FilterSpec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamserver.geometry.lines import PointXy
from streamserver.geometry.rules.reading import (
    SpecError,
    read_choice,
    read_direction,
    read_list,
    read_object,
    read_whole,
    real_number,
    whole_number,
)
from streamserver.geometry.rules.rule import Conditions
from streamserver.geometry.rules.rule_json import parse_conditions
from streamserver.geometry.rules.schedule import DailyWindow, parse_time_of_day

BY_PLATE = 0
BY_TRACK = 1
EVERY_FRAME = 2

MODES = ("touch", "cross")
ANCHORS = ("box", "foot")

AreaPoints = npt.NDArray[np.float64]


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
        conditions: ``conditions``: what has to hold besides.
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
    conditions: Conditions = field(default_factory=Conditions)

    @property
    def needs_tracks(self) -> bool:
        """True if the filter means nothing without a tracker before it."""
        return self.kind == BY_TRACK

    @property
    def lacks(self) -> str:
        """The key whose empty list keeps everything out, or an empty string."""
        lists = {"classes": self.classes, "areas": self.areas, "times": self.windows}
        return next((key for key, values in lists.items() if not values), "")


def parse_filter(entry: Mapping[str, Any], path: str) -> FilterSpec:
    """One of sophon-stream's filters.

    Args:
        entry: a member of ``filters``.
        path: its JSON path below ``configure``, for errors.

    Raises:
        SpecError: a key is missing or has a value that cannot be used.
    """
    first_key = "alert_first_frame" if "alert_first_frame" in entry else "alert_first_frames"
    spec = FilterSpec(
        classes=tuple(whole_number(n, f"{path}.classes[{i}]") for i, n in enumerate(read_list(entry, "classes", path))),
        areas=tuple(_area(a, f"{path}.areas[{i}]") for i, a in enumerate(read_list(entry, "areas", path))),
        windows=tuple(_window(w, f"{path}.times[{i}]") for i, w in enumerate(read_list(entry, "times", path))),
        kind=read_whole(entry, "type", path),
        first=max(0, read_whole(entry, first_key, path, default=0)),
        every=max(1, read_whole(entry, "alert_frame_skip_nums", path, default=1)),
        direction_xy=read_direction(entry.get("direction"), f"{path}.direction"),
        interval=max(1, read_whole(entry, "trajectory_interval", path, default=5)),
        crossing=read_choice(entry, "mode", MODES, path) == "cross",
        by_foot=read_choice(entry, "anchor", ANCHORS, path) == "foot",
        max_lost=max(1, read_whole(entry, "max_lost", path, default=100)),
        conditions=parse_conditions(entry, path),
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
    points = [read_object(point, f"{path}[{i}]") for i, point in enumerate(value)]
    rows = [[real_number(p.get(key), f"{path}[{i}].{key}") for key in ("left", "top")] for i, p in enumerate(points)]
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _window(value: Any, path: str) -> DailyWindow:
    entry = read_object(value, path)
    ends = []
    for key in ("time_start", "time_end"):
        try:
            ends.append(parse_time_of_day(str(entry.get(key))))
        except ValueError as e:
            raise SpecError(f"{path}.{key}", str(e)) from e
    return DailyWindow(*ends)
