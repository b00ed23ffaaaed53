"""From a task to the rules that watch for what it asks for (docs/architecture.md, "Rules and events")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from streamserver.plugin_support.filters import Point, area_filters, drawn_areas, drawn_lines, sophon_filter
from streamserver.plugin_support.overrides import GraphOverrides
from streamserver.plugin_support.task import bad_extend, channel, classes_of, count_of, extend_of, tracking

if TYPE_CHECKING:  # the client process, which makes no graphs, does without pydantic
    from streamserver.core.rule_options import RuleOptions

RuleDefault = Literal["cross", "area", "flow"]
"""What an algorithm watches for: crossings, where a line is drawn, else areas; areas; people who come and go."""

_MARGIN = 0.25
"""Around areas, as a share of the longer side of what is drawn; around lines, which are seen from both sides, twice."""
_LEAST_MARGIN_PX = 64


@dataclass(frozen=True, slots=True)
class _Path:
    """A line that is drawn: its points, and its arrow as a vector, (0, 0) for none."""

    points: tuple[Point, ...]
    arrow: Point


def rule_graph(
    data: Mapping[str, Any], i: int, classes: Iterable[int], *, default: RuleDefault = "area"
) -> GraphOverrides:
    """The whole answer of a ``build_config`` whose graph is detector, bytetrack, filter and http_push.

    Args:
        data: the accepted request.
        i: the algorithm's position.
        classes: who counts unless ``Extend.Classes`` says otherwise.
        default: what is watched for.

    Raises:
        BadRequestError: the task asks for what cannot be.
    """
    algorithm = data["Algorithm"][i]
    wanted = classes_of(algorithm, classes)
    filters = rule_filters(algorithm, wanted, default=default)
    elements = with_roi(algorithm, tracking(algorithm, wanted), lines=_watches_lines(algorithm, default))
    return GraphOverrides(channel=channel(data, i), filters=filters, elements=elements)


def rule_filters(
    algorithm: Mapping[str, Any], classes: Sequence[int], *, default: RuleDefault = "area"
) -> list[dict[str, Any]]:
    """The entries of the filter that watch for what a task asks for.

    One for each line, those of ``DetectInfos`` first, then those of ``Extend.Lines``; or one for all areas. Beside the
    ``rule``, each has the keys that a sophon-stream program understands. ``Extend.Mode`` ``touch`` leaves the rule out.

    Args:
        algorithm: the entry of the task.
        classes: which classes count.
        default: what is watched for.

    Raises:
        BadRequestError: a key of ``Extend`` cannot be used, or two contradict each other.
    """
    from streamserver.core.rule_options import rule_options

    options = rule_options(algorithm)
    lines = _lines(algorithm, options) if _watches_lines(algorithm, default) else []
    _require_sense(algorithm, default, lines)
    counting = 1 if default == "cross" else 2  # whether a filter that knows no rules counts, or the sample
    if _mode(algorithm) == "touch":
        return _touching(algorithm, classes, lines, counting)
    if lines:
        kind = "flow" if default == "flow" else "cross"
        entries = [_line_entry(algorithm, classes, options, path, kind) for path in lines]
        for entry in entries[1:]:
            entry["rule"].pop("report_every_s", None)  # one of them tells how many there are
        return entries
    kind = "flow" if default == "flow" else "area"
    return [_area_entry(algorithm, classes, options, kind, counting)]


def with_roi(
    algorithm: Mapping[str, Any], elements: Mapping[str, Mapping[str, Any]], *, lines: bool = False
) -> dict[str, Mapping[str, Any]]:
    """``elements`` with the ``roi`` of every detector where ``Extend.DetectRoi`` asks for it.

    It is the rectangle around all areas or, with ``lines`` and where any are drawn, around the lines, with a margin.

    Raises:
        BadRequestError: nothing is drawn that it could be around.
    """
    from streamserver.core.rule_options import condition_options, rule_options

    if not condition_options(algorithm).detect_roi:
        return dict(elements)
    paths = _lines(algorithm, rule_options(algorithm)) if lines else []
    shapes = [path.points for path in paths] or drawn_areas(algorithm)
    points = [point for shape in shapes for point in shape]
    if not points:
        raise bad_extend("DetectRoi", "there is no area or line to look around", cure="draw one, or leave it out")
    roi = _rectangle_around(points, share=_MARGIN * (2 if paths else 1))
    return {**elements, "*detector": {**elements.get("*detector", {}), "roi": roi}}


def _mode(algorithm: Mapping[str, Any]) -> str:
    """What the task says, not what holds where it says nothing."""
    return str(extend_of(algorithm).get("Mode") or "")


def _watches_lines(algorithm: Mapping[str, Any], default: RuleDefault) -> bool:
    return default != "area" or _mode(algorithm) == "cross"


def _lines(algorithm: Mapping[str, Any], options: RuleOptions) -> list[_Path]:
    drawn = [_Path((start, end), arrow) for start, end, arrow in drawn_lines(algorithm)]
    return drawn + [_Path(tuple(line.path_xy), line.arrow_xy) for line in options.lines]


def _require_sense(algorithm: Mapping[str, Any], default: RuleDefault, lines: Sequence[_Path]) -> None:
    """Refuses what would be asked for in vain."""
    given = {key for key, value in extend_of(algorithm).items() if value is not None}
    mode = _mode(algorithm)
    if mode == "cross" and not lines:
        raise bad_extend("Mode", "got 'cross', but there is no line", cure="draw one, or leave it out")
    if mode == "touch" and default == "flow":
        raise bad_extend("Mode", "got 'touch', which counts nobody", cure="leave it out")
    if not _watches_lines(algorithm, default) and "Lines" in given:
        raise bad_extend("Lines", "this algorithm watches areas", cure='add "Mode": "cross", or draw a HotArea')
    touch, flow = mode == "touch", default == "flow"
    meanings = (
        ("for areas by rules", ("Events", "DwellTime", "OccupancyAbove"), not (lines or touch or flow)),
        ("for areas by rules", ("Anchor",), not (lines or touch)),
        ("for tripwires by rules", ("Direction",), lines and not (touch or flow)),
        ("without Mode touch", ("Cooldown", "RearmTime", "Picture"), not touch),
        ("for passenger flow", ("ReportInterval", "ReportEvents"), flow),
    )
    for where, keys, watched in meanings:
        for key in keys:
            if key in given and not watched:
                raise bad_extend(key, f"has a meaning {where} only", cure="leave it out")


def _touching(
    algorithm: Mapping[str, Any], classes: Sequence[int], lines: Sequence[_Path], counting: int
) -> list[dict[str, Any]]:
    """sophon-stream's meaning: a box on a line counts as it does in an area, where all its corners have to be."""
    if not lines:
        return area_filters(algorithm, classes, type=counting, anchor="box")
    filters = []
    for path in lines:
        entry = sophon_filter(algorithm, classes, 1, _segments(path)) | {"mode": "touch"}
        filters.append(entry | ({"direction": list(path.arrow)} if path.arrow != (0, 0) else {}))
    return filters


def _line_entry(
    algorithm: Mapping[str, Any], classes: Sequence[int], options: RuleOptions, path: _Path, kind: str
) -> dict[str, Any]:
    entry = sophon_filter(algorithm, classes, 1, _segments(path)) | {"mode": "cross"}
    if path.arrow != (0, 0):
        entry["direction"] = list(path.arrow)
    rule = {
        "kind": kind,
        "lines": [[list(point) for point in path.points]],
        "direction": list(path.arrow),
        "both_ways": options.direction == "both" or kind == "flow",
    }
    return entry | {"rule": rule | _pace(algorithm, options, kind)}


def _area_entry(
    algorithm: Mapping[str, Any], classes: Sequence[int], options: RuleOptions, kind: str, counting: int
) -> dict[str, Any]:
    (entry,) = area_filters(algorithm, classes, type=counting, anchor="box" if options.anchor == "box" else "foot")
    share = options.anchor if isinstance(options.anchor, float) else None
    rule: dict[str, Any] = {
        "kind": kind,
        "include": [[list(point) for point in area] for area in drawn_areas(algorithm)],
        "anchor": "share" if share else options.anchor,
    }
    rule |= {"share": share} if share else {}
    if kind == "area":
        events = {"events": options.wanted_events, "dwell_s": options.dwell_s}
        rule |= events | {"occupancy_above": options.occupancy_above}
    return entry | {"rule": rule | _pace(algorithm, options, kind)}


def _pace(algorithm: Mapping[str, Any], options: RuleOptions, kind: str) -> dict[str, Any]:
    """How soon and how often the same is told."""
    pace = {
        "first": count_of(algorithm, "TrackInterval", least=0),
        "every": count_of(algorithm, "AlarmInterval", least=0),
        "cooldown_s": options.cooldown_s,
        "rearm_s": options.rearm_s,
        "best_picture": options.picture == "best",
    }
    return pace | ({"report_every_s": options.report_every_s} if kind == "flow" else {})


def _segments(path: _Path) -> list[tuple[Point, Point]]:
    """A polyline as sophon-stream knows lines: two points each."""
    return list(zip(path.points, path.points[1:], strict=False))


def _rectangle_around(points: Sequence[Point], *, share: float) -> dict[str, int]:
    """A rectangle in pixels with a margin around all points; the picture's right and bottom edge are not known here."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    margin = max(_LEAST_MARGIN_PX, round(share * max(max(xs) - min(xs), max(ys) - min(ys))))
    left, top = max(0, min(xs) - margin), max(0, min(ys) - margin)
    width, height = max(1, max(xs) + margin - left), max(1, max(ys) + margin - top)
    return {"left": left, "top": top, "width": width, "height": height}
