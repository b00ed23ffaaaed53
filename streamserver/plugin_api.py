"""Everything a sample under samples/ may import, on one page.

An algorithm ``<name>`` is the folder ``samples/<name>/`` with ``<name>.py``, ``config_logic.py`` and ``config/*.json``
(a demo file, a graph and its elements, as sophon-stream reads them), and an entry in ``config_algorithm.map_type``.
``<name>.py`` defines three functions:

``<name>_build_config(algorithm_name, stream_path, data, port, i)``
    Task to graph: ``data`` is the accepted request, ``i`` the position in ``data["Algorithm"]``. Returns
    ``GraphOverrides`` (pure), or, as in the old server, edits the copies under
    ``<stream_path>/samples/<algorithm_name>/config/`` and returns the path of the demo file.

``<name>_logic(json_data, up_list, rm_list)``
    One frame to names: appends to ``up_list`` the names of the objects to report, to ``rm_list`` those forgotten.
    May take a fourth parameter ``state``: what ``config_logic.new_state(algorithm)`` returned, one for each algorithm
    of each task, renewed whenever the source starts over. Without it, module variables serve, as in the old server:
    each algorithm of each task has its own copy of the modules.

``<name>_trans_json(json_data, task_id, Type, up_list)``
    One frame and the names to report to the report of CONTRACT 6.3, without ``SrcID``. Called only when ``up_list``
    is not empty; ``json_data["mFrame"]["mSpData"]`` then holds the picture.

``json_data`` is the posted frame (``objects_of`` and ``WireFrame.from_wire`` read it); ``mFrame.mSequence`` is always
there and numbers the processed frames. An algorithm's entry of the task is called ``algorithm`` below:
``data["Algorithm"][i]``, with ``threshold`` in percent.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from streamserver.core.arrays import ImageBgr
from streamserver.core.errors import BadRequestError
from streamserver.core.plates import Plate, PlateBook, PlateRule, plates_of
from streamserver.core.presence import Presence
from streamserver.core.results import BoxXyxy, WireFrame, WireObject, objects_of
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.urls import source_type

__all__ = [
    "ALL_DAY",
    "COCO_CLASSES",
    "BoxXyxy",
    "GraphOverrides",
    "Plate",
    "PlateBook",
    "Presence",
    "WireFrame",
    "WireObject",
    "area_filters",
    "channel",
    "choice_of",
    "classes_of",
    "event",
    "line_filters",
    "make_report",
    "objects_of",
    "plate_graph",
    "plate_report",
    "plate_rule",
    "plates_due",
    "plates_of",
    "threshold",
    "track_buffer",
    "tracking",
]

ALL_DAY = ({"time_start": "00 00 00", "time_end": "23 59 59"},)
"""The ``times`` of a filter that always looks."""

COCO_CLASSES = tuple(range(80))
"""Every class of the detectors that come with the server (configs/labels/coco.txt)."""

_REMEMBER_LOST_FRAMES = 50
_LOW_SCORE = 0.1
_START_MARGIN = 0.1
_HIGH_SCORE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOverrides:
    """What a task changes in a sample's graph; everything else stays as in ``samples/<name>/config``.

    Attributes:
        graph: the graph file in the sample's config folder.
        channel: keys of the channel in the demo file that the task sets (address, sampling, looping).
        filters: the ``filters`` list of the filter element's rule for this channel; empty for no filter element.
        elements: changes to the ``configure`` object of elements by element name, ``_group`` left out, e.g.
            ``{"yolox": {"threshold_conf": 0.4}}``; a key ``"*detector"`` reaches every detector of the graph.
    """

    graph: str = "engine_group.json"
    channel: Mapping[str, Any] = field(default_factory=dict)
    filters: Sequence[Mapping[str, Any]] = ()
    elements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.graph, str) or "/" in self.graph:
            raise ValueError(f"graph: expected the name of a file in the config folder, got {self.graph!r}")
        parts = {"channel": self.channel, "filters": list(self.filters), "elements": self.elements}
        for name, part in parts.items():
            try:
                json.dumps(part)
            except (TypeError, ValueError) as e:
                raise ValueError(f"{name}: cannot be written as JSON: {e}") from e


def channel(data: Mapping[str, Any], i: int) -> dict[str, Any]:
    """The channel of a demo file for algorithm ``i`` of a task.

    Every ``DetectInterval``-th frame is processed. A file is played ``Extend.Loop`` times (1 unless given, 0 for ever)
    at its own pace, or as fast as it goes (``Extend.Fps`` -1).
    """
    algorithm = data["Algorithm"][i]
    extend = _extend(algorithm)
    address = str(data["InputSrc"]["StreamSrc"]["Address"])
    return {
        "url": address,
        "source_type": source_type(address),
        "sample_interval": _count(algorithm, "DetectInterval"),
        "loop_num": int(extend.get("Loop", 1)),
        "fps": extend.get("Fps", 25),
    }


def threshold(algorithm: Mapping[str, Any]) -> float:
    """The task's ``threshold`` as a fraction; numbers below 1 are taken for one already, and 0.5 is the default."""
    value = float(algorithm.get("threshold") or 50)
    return min(value if value < 1 else value / 100, 1.0)


def classes_of(algorithm: Mapping[str, Any], default: Iterable[int]) -> list[int]:
    """The class numbers to look for: the task's ``Extend.Classes``, e.g. ``[2, "truck"]``, else ``default``.

    Raises:
        BadRequestError: ``Extend.Classes`` is no list of class numbers and names of COCO classes.
    """
    given = _extend(algorithm).get("Classes")
    if given is None:
        return list(default)
    if not isinstance(given, list) or not given:
        raise _bad_classes(f"expected a list of class numbers or names, got {given!r}")
    return list(dict.fromkeys(_class_number(wanted) for wanted in given))


def choice_of(algorithm: Mapping[str, Any], key: str, choices: Sequence[str]) -> str:
    """``Extend.<key>``, one of ``choices``; the first of them unless given.

    Raises:
        BadRequestError: it is none of them.
    """
    value = _extend(algorithm).get(key)
    if value is None:
        return choices[0]
    if value not in choices:
        raise _bad_extend(key, f"got {value!r}", cure=f"use one of {', '.join(choices)}")
    return str(value)


def tracking(algorithm: Mapping[str, Any], classes: Sequence[int]) -> dict[str, dict[str, Any]]:
    """``GraphOverrides.elements`` for a detector followed by bytetrack.

    A track starts with a detection a little above the task's threshold and may go on with much weaker ones, as it
    does when somebody leaves the picture; so the detector must let those through. A track keeps the class of its first
    detection, so where only one class counts, no other may start its track.
    """
    wanted = threshold(algorithm)
    return {
        "*detector": {"threshold_conf": min(wanted, _LOW_SCORE)},
        "bytetrack": {
            "track_thresh": wanted,
            "high_thresh": round(max(wanted, min(wanted + _START_MARGIN, _HIGH_SCORE)), 4),
            "agnostic": len(classes) != 1,
            "frame_rate": 30,
            "track_buffer": track_buffer(algorithm),
        },
    }


def track_buffer(algorithm: Mapping[str, Any]) -> int:
    """How many processed frames a lost track is kept: 50 source frames, 2 seconds at 25 frames a second, at least 2."""
    return max(2, round(_REMEMBER_LOST_FRAMES / _count(algorithm, "DetectInterval")))


def line_filters(algorithm: Mapping[str, Any], classes: Iterable[int]) -> list[dict[str, Any]]:
    """One filter for each line of ``DetectInfos``: passes objects that cross it, in its direction if it has one.

    The direction is that of the arrow ``DirectStart`` to ``DirectEnd``; without an arrow, both ways count. Empty when
    no line is drawn.
    """
    filters = []
    for info in algorithm.get("DetectInfos") or []:
        wire = info.get("TripWire") or {}
        start, end = _point(wire.get("LineStart")), _point(wire.get("LineEnd"))
        if start == end:
            continue
        line = _filter(algorithm, classes, 1, [[start, end]]) | {"mode": "cross"}
        tail, tip = _point(wire.get("DirectStart")), _point(wire.get("DirectEnd"))
        if tail != tip:
            line["direction"] = [tip["left"] - tail["left"], tip["top"] - tail["top"]]
        filters.append(line)
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
    """
    areas = [[_point(p) for p in info.get("HotArea") or []] for info in algorithm.get("DetectInfos") or []]
    drawn = [area for area in areas if len(area) >= 3]
    return [_filter(algorithm, classes, type, drawn or [[]]) | {"anchor": anchor}]


def plate_rule(algorithm: Mapping[str, Any]) -> PlateRule:
    """Which texts are plates, ``Extend.Plates``: ``cn`` (Chinese ones, unless given) or ``any``.

    Raises:
        BadRequestError: it is something else.
    """
    return "cn" if choice_of(algorithm, "Plates", ("cn", "any")) == "cn" else "any"


def plate_graph(data: Mapping[str, Any], i: int, classes: Sequence[int]) -> GraphOverrides:
    """Plates in one of the areas, or anywhere: found, tracked, cut out, read, and voted on over a track's frames.

    ``Extend.PlateReader`` is ``ppocr`` (engine_group.json), unless given, or ``lprnet`` (engine_lprnet.json), and
    ``Extend.Anchor`` the ``anchor`` of ``area_filters``. Every frame with a plate passes the filter: when one is
    reported is for a ``PlateBook`` to say.

    Raises:
        BadRequestError: the task's ``Extend`` asks for what no plate can be found or read by.
    """
    algorithm = data["Algorithm"][i]
    reader, rule = choice_of(algorithm, "PlateReader", ("ppocr", "lprnet")), plate_rule(algorithm)
    _require_plates(algorithm, classes, reader, rule)
    every_frame = dict(algorithm, TrackInterval=0, AlarmInterval=1)
    anchor = choice_of(algorithm, "Anchor", ("foot", "box"))
    letters = {"ppocr_rec": {"alphabet": "plate", "aspect": None}} if rule == "any" else {}
    return GraphOverrides(
        graph="engine_lprnet.json" if reader == "lprnet" else "engine_group.json",
        channel=channel(data, i),
        filters=area_filters(every_frame, classes, type=0, anchor=anchor),
        elements=tracking(algorithm, classes) | {"vote": {"plates": rule}} | letters,
    )


def plates_due(json_data: Mapping[str, Any], book: PlateBook) -> list[str]:
    """The texts of the plates to report now."""
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    return book.update(step, [plate.sighting for plate in plates_of(json_data)])


def plate_report(json_data: Mapping[str, Any], task_id: str, type: int, texts: Sequence[str]) -> dict[str, Any]:
    """The report of the plates with one of ``texts``, each with its own picture and ``VehicleLicense``."""
    events = [
        event(json_data, plate.found, type, extend={"VehicleLicense": plate.text}, picture_base64=plate.picture_base64)
        for plate in plates_of(json_data)
        if plate.text in texts
    ]
    return make_report(json_data, task_id, events)


def make_report(json_data: Mapping[str, Any], task_id: str, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of one frame (CONTRACT 6.3), without ``SrcID``."""
    frame = WireFrame.from_wire(json_data)
    return {
        "TaskID": str(task_id),
        "SceneImageBase64": frame.picture_base64,
        "FrameIndex": frame.frame_id,
        "AnalyzeEvents": list(events),
    }


def event(
    json_data: Mapping[str, Any],
    detected: WireObject,
    type: int,
    *,
    extend: Any = None,
    picture_base64: str = "",
) -> dict[str, Any]:
    """One element of ``AnalyzeEvents``.

    Args:
        json_data: the posted frame.
        detected: the object.
        type: the algorithm's number.
        extend: ``Extend``; left out when ``None``.
        picture_base64: the object's picture; unless given, the engine's crop, else one cut from the frame's picture.
    """
    left, top, right, bottom = detected.box_xyxy
    result: dict[str, Any] = {
        "ImageBase64": picture_base64 or _crop_base64(json_data, detected),
        "Type": type,
        "Box": {"LeftTopY": top, "RightBtmY": bottom, "LeftTopX": left, "RightBtmX": right},
    }
    return result if extend is None else result | {"Extend": extend}


def _filter(
    algorithm: Mapping[str, Any], classes: Iterable[int], type_: int, areas: list[list[dict[str, int]]]
) -> dict[str, Any]:
    return {
        "type": type_,
        "areas": areas,
        "classes": list(classes),
        "times": [dict(window) for window in ALL_DAY],
        "alert_first_frame": _count(algorithm, "TrackInterval", least=0),
        "alert_frame_skip_nums": _count(algorithm, "AlarmInterval"),
    }


def _crop_base64(json_data: Mapping[str, Any], detected: WireObject) -> str:
    crops = json_data.get("mCrops") or []
    if detected.index < len(crops) and crops[detected.index]:
        return str(crops[detected.index])
    picture_base64 = WireFrame.from_wire(json_data).picture_base64
    if not picture_base64:
        return ""
    from streamserver.vision.codec import encode_jpeg
    from streamserver.vision.crop import crop_square

    crop_bgr = crop_square(_decode(picture_base64), detected.box_xyxy)
    return base64.b64encode(encode_jpeg(crop_bgr)).decode("ascii")


@lru_cache(maxsize=1)
def _decode(picture_base64: str) -> ImageBgr:
    """The pixels of the last picture that was asked for, kept for the other objects of the same frame."""
    from streamserver.vision.codec import decode_jpeg

    return decode_jpeg(base64.b64decode(picture_base64))


def _extend(algorithm: Mapping[str, Any]) -> Mapping[str, Any]:
    extend = algorithm.get("Extend")
    return extend if isinstance(extend, Mapping) else {}


def _class_number(wanted: Any) -> int:
    if isinstance(wanted, str):
        names = _coco_names()
        if wanted not in names:
            raise _bad_classes(f"'{wanted}' is no class")
        return names.index(wanted)
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise _bad_classes(f"{wanted!r} is no class")
    return wanted


def _bad_classes(problem: str) -> BadRequestError:
    cure = 'use numbers from 0 or the names in configs/labels/coco.txt, e.g. [0, "car"]'
    return _bad_extend("Classes", problem, cure=cure)


def _bad_extend(key: str, problem: str, *, cure: str) -> BadRequestError:
    """An error whose path lacks the algorithm's position, which ``plugins`` fills in."""
    return BadRequestError(problem, path=f"$.Algorithm[].Extend.{key}", cure=cure)


def _require_plates(algorithm: Mapping[str, Any], classes: Sequence[int], reader: str, rule: PlateRule) -> None:
    if reader == "lprnet" and rule != "cn":
        cure = "leave it out, or Extend.Plates"
        raise _bad_extend("PlateReader", "lprnet reads Chinese plates only", cure=cure)
    if _extend(algorithm).get("Detector") == "motion":
        problem = "got 'motion', which finds what moves, and no number plates"
        raise _bad_extend("Detector", problem, cure="leave it out here; another algorithm of the task may have it")
    unknown = [number for number in classes_of(algorithm, classes) if number not in classes]
    if unknown:
        problem = f"the detector of number plates knows no class {unknown[0]}, only {', '.join(map(str, classes))}"
        raise _bad_extend("Classes", problem, cure="leave it out")


@cache
def _coco_names() -> tuple[str, ...]:
    return tuple((PROJECT_DIR / "configs" / "labels" / "coco.txt").read_text("utf-8").splitlines())


def _count(algorithm: Mapping[str, Any], key: str, *, least: int = 1) -> int:
    return max(least, int(algorithm.get(key) or 0))


def _point(point: Mapping[str, Any] | None) -> dict[str, int]:
    """A task's point as a filter's; a missing one is the origin, as application-web draws it."""
    return {"left": int((point or {}).get("X") or 0), "top": int((point or {}).get("Y") or 0)}
