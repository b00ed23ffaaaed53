"""Entries of the filter element's ``filters`` as sophon-stream has them, with ``conditions`` of ours beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streamserver.plugin_support.task import class_thresholds, count_of

if TYPE_CHECKING:
    from streamserver.core.rule_options import ConditionOptions

Point = tuple[int, int]
"""Pixels from the left and from the top."""

ALL_DAY = ({"time_start": "00 00 00", "time_end": "23 59 59"},)
"""The ``times`` of a filter that always looks."""


def line_filters(algorithm: Mapping[str, Any], classes: Iterable[int]) -> list[dict[str, Any]]:
    """One filter for each line of ``DetectInfos``: passes objects that cross it, in its direction if it has one.

    The direction is that of the arrow ``DirectStart`` to ``DirectEnd``; without an arrow, both ways count. Empty when
    no line is drawn.

    Raises:
        BadRequestError: a key of ``Extend`` that says who counts, and when, cannot be used.
    """
    filters = []
    for start, end, arrow in drawn_lines(algorithm):
        line = sophon_filter(algorithm, classes, 1, [[start, end]]) | {"mode": "cross"}
        filters.append(line | ({"direction": list(arrow)} if arrow != (0, 0) else {}))
    return filters


def area_filters(
    algorithm: Mapping[str, Any], classes: Iterable[int], *, type: int, anchor: str = "foot"
) -> list[dict[str, Any]]:
    """One filter with the polygons of all ``DetectInfos``; the whole picture when none is drawn.

    Args:
        algorithm: the entry of the task.
        classes: which classes pass.
        type: 0 counts plate texts, 1 tracks (passes each after ``TrackInterval`` frames and then every
            ``AlarmInterval``), 2 passes every frame.
        anchor: what must lie inside: ``foot``, the middle of the box's lower edge, or ``box``, all its corners.

    Raises:
        BadRequestError: a key of ``Extend`` that says who counts, and when, cannot be used.
    """
    return [sophon_filter(algorithm, classes, type, drawn_areas(algorithm) or [[]]) | {"anchor": anchor}]


def sophon_filter(
    algorithm: Mapping[str, Any], classes: Iterable[int], type: int, areas: Sequence[Sequence[Point]]
) -> dict[str, Any]:
    """An entry with these areas, and the ``conditions`` of the task where it has any.

    Raises:
        BadRequestError: a key of ``Extend`` that says who counts, and when, cannot be used.
    """
    from streamserver.core.rule_options import condition_options

    numbers = list(classes)
    entry = {
        "type": type,
        "areas": [[{"left": x, "top": y} for x, y in area] for area in areas],
        "classes": numbers,
        "times": [dict(window) for window in ALL_DAY],
        "alert_first_frame": count_of(algorithm, "TrackInterval", least=0),
        "alert_frame_skip_nums": count_of(algorithm, "AlarmInterval"),
    }
    conditions = _conditions(algorithm, numbers, condition_options(algorithm))
    return entry | {"conditions": conditions} if conditions else entry


def drawn_lines(algorithm: Mapping[str, Any]) -> list[tuple[Point, Point, Point]]:
    """The lines of ``DetectInfos``: start, end, and the arrow as a vector, (0, 0) for none."""
    lines = []
    for info in algorithm.get("DetectInfos") or []:
        wire = info.get("TripWire") or {}
        start, end = _point(wire.get("LineStart")), _point(wire.get("LineEnd"))
        tail, tip = _point(wire.get("DirectStart")), _point(wire.get("DirectEnd"))
        if start != end:
            lines.append((start, end, (tip[0] - tail[0], tip[1] - tail[1])))
    return lines


def drawn_areas(algorithm: Mapping[str, Any]) -> list[list[Point]]:
    """The polygons of ``DetectInfos``."""
    areas = [[_point(p) for p in info.get("HotArea") or []] for info in algorithm.get("DetectInfos") or []]
    return [area for area in areas if len(area) >= 3]


def _conditions(algorithm: Mapping[str, Any], classes: Sequence[int], options: ConditionOptions) -> dict[str, Any]:
    """What the task asks for; a tracker has applied a threshold that is the same for all."""
    size = algorithm.get("TargetSize") or {}
    thresholds = class_thresholds(algorithm, classes, options)
    conditions = {
        "thresholds": {str(number): least for number, least in thresholds.items()} if options.thresholds else {},
        "min_px": int(size.get("MinDetect") or 0),
        "max_px": int(size.get("MaxDetect") or 0),
        "schedule": options.schedule.to_filter() if options.schedule else None,
        "exclude": [[[point.x, point.y] for point in area] for area in options.exclude],
    }
    return {key: value for key, value in conditions.items() if value}


def _point(point: Mapping[str, Any] | None) -> Point:
    """A missing point is the origin, as application-web draws it."""
    return int((point or {}).get("X") or 0), int((point or {}).get("Y") or 0)
