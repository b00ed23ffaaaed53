"""Type 3: an object of any COCO class stays in an area.

The filter element passes every frame with such an object; who has stayed for ``TrackInterval`` processed frames in a
row is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.yolov5.config_logic import yolov5_classes, yolov5_infos
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
    tracking,
)


def yolov5_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Objects that stand in one of the areas, or anywhere when none is drawn."""
    algorithm = data["Algorithm"][i]
    classes = classes_of(algorithm, yolov5_classes)
    filters = area_filters(algorithm, classes, type=2)
    return GraphOverrides(channel=channel(data, i), filters=filters, elements=tracking(algorithm, classes))


def yolov5_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: Presence[str] | None = None
) -> None:
    """Reports each object once it has stayed long enough."""
    presence = yolov5_infos if state is None else state
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    up_list.extend(presence.update(step, map(name_of, objects_of(json_data))))


def yolov5_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event an object of ``up_list``."""
    due = [found for found in objects_of(json_data) if name_of(found) in up_list]
    return make_report(json_data, task_id, [event(json_data, found, Type, extend=extend_of(found)) for found in due])


def name_of(found: WireObject) -> str:
    """What an object is counted by: its track's number or, in a graph without a tracker, its class."""
    return str(found.track_id) if found.track_id is not None else f"class {found.class_id}"


def extend_of(found: WireObject) -> dict[str, Any]:
    """Class and confidence, under the old server's keys."""
    return {"类别": found.class_id, "置信度": f"{found.score:.2%}"}
