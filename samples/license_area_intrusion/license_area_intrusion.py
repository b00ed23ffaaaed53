"""Type 2: a vehicle stays in an area, and its plate is read.

The detector finds plates, each is tracked, cut out and read, and votes over a track's frames settle its text. The
filter element passes every frame with a plate in the area; which plate has been there for long enough is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from samples.license_area_intrusion.config_logic import license_area_intrusion_classes, license_area_intrusion_infos
from streamserver.plugin_api import (
    GraphOverrides,
    PlateBook,
    WireFrame,
    area_filters,
    channel,
    choice_of,
    classes_of,
    event,
    make_report,
    plate_reading,
    plates_of,
)


def license_area_intrusion_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Plates in one of the areas, or anywhere when none is drawn."""
    algorithm = data["Algorithm"][i]
    classes = classes_of(algorithm, license_area_intrusion_classes)
    everything = dict(algorithm, TrackInterval=0, AlarmInterval=1)  # the filter passes each; the counting is ours
    anchor: Literal["foot", "box"] = "foot" if choice_of(algorithm, "Anchor", ("foot", "box")) == "foot" else "box"
    graph, elements = plate_reading(algorithm, classes)
    return GraphOverrides(
        graph=graph,
        channel=channel(data, i),
        filters=area_filters(everything, classes, type=0, anchor=anchor),
        elements=elements,
    )


def license_area_intrusion_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: PlateBook | None = None
) -> None:
    """Reports each plate once it has stayed long enough."""
    book = license_area_intrusion_infos if state is None else state
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    up_list.extend(book.update(step, (plate.sighting for plate in plates_of(json_data))))


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
