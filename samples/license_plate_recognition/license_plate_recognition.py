"""Type 16: plates are read, each is reported once.

The detector finds plates, each is tracked, cut out and read, and votes over a track's frames settle its text. Which
plate has been read often enough, and which was reported already, is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.license_plate_recognition.config_logic import (
    license_plate_recognition_classes,
    license_plate_recognition_infos,
)
from streamserver.plugin_api import (
    GraphOverrides,
    PlateBook,
    WireFrame,
    area_filters,
    channel,
    classes_of,
    event,
    make_report,
    plate_reading,
    plates_of,
)


def license_plate_recognition_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Plates anywhere or, where areas are drawn, with their lower edge in one of them."""
    algorithm = data["Algorithm"][i]
    classes = classes_of(algorithm, license_plate_recognition_classes)
    everything = dict(algorithm, TrackInterval=0, AlarmInterval=1)  # the filter passes each; the counting is ours
    graph, elements = plate_reading(algorithm, classes)
    return GraphOverrides(
        graph=graph,
        channel=channel(data, i),
        filters=area_filters(everything, classes, type=0),
        elements=elements,
    )


def license_plate_recognition_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: PlateBook | None = None
) -> None:
    """Reports each plate once it was read alike often enough."""
    book = license_plate_recognition_infos if state is None else state
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    up_list.extend(book.update(step, (plate.sighting for plate in plates_of(json_data))))


def license_plate_recognition_trans_json(
    json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]
) -> dict[str, Any]:
    """One event a plate of ``up_list``, with the plate's own picture."""
    events = [
        event(json_data, plate.found, Type, extend={"VehicleLicense": plate.text}, picture_base64=plate.picture_base64)
        for plate in plates_of(json_data)
        if plate.text in up_list
    ]
    return make_report(json_data, task_id, events)
