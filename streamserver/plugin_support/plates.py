"""What the two algorithms that read number plates share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamserver.core.plates import Plate, PlateBook, PlateRule, plates_of
from streamserver.core.results import WireFrame
from streamserver.plugin_support.filters import area_filters
from streamserver.plugin_support.overrides import GraphOverrides
from streamserver.plugin_support.reports import event, make_report
from streamserver.plugin_support.rules import with_roi
from streamserver.plugin_support.task import bad_extend, channel, choice_of, classes_of, extend_of, tracking

_CLASS = "license_plate"


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
        elements=with_roi(algorithm, tracking(algorithm, classes)) | {"vote": {"plates": rule}} | letters,
    )


def plates_due(json_data: Mapping[str, Any], book: PlateBook) -> list[str]:
    """The texts of the plates to report now."""
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    return book.update(step, [plate.sighting for plate in plates_of(json_data)])


def plate_report(json_data: Mapping[str, Any], task_id: str, type: int, texts: Sequence[str]) -> dict[str, Any]:
    """The report of the plates with one of ``texts``, each with its own picture."""
    events = [
        event(json_data, plate.found, type, extend=_extend(plate), picture_base64=plate.picture_base64)
        for plate in plates_of(json_data)
        if plate.text in texts
    ]
    return make_report(json_data, task_id, events)


def _extend(plate: Plate) -> dict[str, Any]:
    track = {} if plate.found.track_id is None else {"TrackId": plate.found.track_id}
    seen = {"Class": _CLASS, "Confidence": round(plate.found.score, 4)}
    return {"VehicleLicense": plate.text} | track | seen


def _require_plates(algorithm: Mapping[str, Any], classes: Sequence[int], reader: str, rule: PlateRule) -> None:
    if reader == "lprnet" and rule != "cn":
        cure = "leave it out, or Extend.Plates"
        raise bad_extend("PlateReader", "lprnet reads Chinese plates only", cure=cure)
    if extend_of(algorithm).get("Detector") == "motion":
        problem = "got 'motion', which finds what moves, and no number plates"
        raise bad_extend("Detector", problem, cure="leave it out here; another algorithm of the task may have it")
    for key in sorted(_vain_keys() & {key for key, value in extend_of(algorithm).items() if value is not None}):
        raise bad_extend(key, "means nothing to number plates", cure="leave it out")
    unknown = [number for number in classes_of(algorithm, classes) if number not in classes]
    if unknown:
        problem = f"the detector of number plates knows no class {unknown[0]}, only {', '.join(map(str, classes))}"
        raise bad_extend("Classes", problem, cure="leave it out")


def _vain_keys() -> set[str]:
    """Keys of ``Extend`` that are for rules, where plates are for a ``PlateBook``."""
    from streamserver.core.rule_options import CONDITION_KEYS, RULE_KEYS

    return {*RULE_KEYS} - {*CONDITION_KEYS, "Anchor"}
