"""Type 2: a vehicle's plate is read in an area.

The detector finds plates, the distributor cuts them out, lprnet reads them and the converger brings frame and texts
together again. The filter element passes every frame with a plate in the area; which plate has been read alike for
long enough is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samples.license_area_intrusion.config_logic import license_area_intrusion_classes, license_area_intrusion_infos
from streamserver.plugin_api import (
    GraphOverrides,
    Presence,
    WireFrame,
    WireObject,
    area_filters,
    channel,
    classes_of,
    event,
    make_report,
    objects_of,
    threshold,
)


@dataclass(frozen=True, slots=True)
class Plate:
    """A plate that was read: its text, where it is, and its picture (Base64, may be empty)."""

    text: str
    found: WireObject
    picture_base64: str


def license_area_intrusion_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Plates whose lower edge is in one of the areas, or anywhere when none is drawn."""
    algorithm = data["Algorithm"][i]
    everything = dict(algorithm, TrackInterval=0, AlarmInterval=1)  # the filter passes each; the counting is ours
    return GraphOverrides(
        channel=channel(data, i),
        filters=area_filters(everything, classes_of(algorithm, license_area_intrusion_classes), type=0),
        elements={"*detector": {"threshold_conf": threshold(algorithm)}},
    )


def license_area_intrusion_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: Presence[str] | None = None
) -> None:
    """Reports each plate once its text was read often enough."""
    presence = license_area_intrusion_infos if state is None else state
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    up_list.extend(presence.update(step, (plate.text for plate in plates_of(json_data))))


def license_area_intrusion_trans_json(
    json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]
) -> dict[str, Any]:
    """One event a plate of ``up_list``, with the plate's own picture."""
    events = [
        event(json_data, plate.found, Type, extend={"VehicleLicense": plate.text}, picture_base64=plate.picture_base64)
        for plate in plates_of(json_data)
        if plate.text in up_list
    ]
    return make_report(json_data, task_id, events)


def plates_of(json_data: Mapping[str, Any]) -> list[Plate]:
    """The plates of a frame that have a text.

    Where there are as many sub-objects as objects, they are parallel: a filter removes both together and leaves
    ``mSubId``, the object's number before the filter, as it was. Elsewhere ``mSubId`` says which object is meant.
    """
    objects = objects_of(json_data)
    subs = json_data.get("mSubObjectMetadatas") or []
    parallel = len(subs) == len(objects)
    plates = []
    for position, sub in enumerate(subs):
        index = position if parallel else int(sub.get("mSubId", -1))
        text = text_of(sub)
        if text and 0 <= index < len(objects):
            plates.append(Plate(text, objects[index], str((sub.get("mFrame") or {}).get("mSpData") or "")))
    return plates


def text_of(sub: Mapping[str, Any]) -> str:
    """What lprnet has read from one plate; empty when nothing."""
    recognised = sub.get("mRecognizedObjectMetadatas") or [{}]
    return str(recognised[0].get("mLabelName") or "")
