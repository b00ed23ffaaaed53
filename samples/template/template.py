"""Somebody stays in an area.

The filter element passes every frame with such an object; who has stayed for ``TrackInterval`` processed frames in a
row is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.template.config_logic import template_classes, template_infos
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


def template_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Persons with their feet in one of the areas, or anywhere when none is drawn."""
    algorithm = data["Algorithm"][i]
    classes = classes_of(algorithm, template_classes)
    filters = area_filters(algorithm, classes, type=2)
    return GraphOverrides(channel=channel(data, i), filters=filters, elements=tracking(algorithm, classes))


def template_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: Presence[str] | None = None
) -> None:
    """Reports each object once it has stayed long enough."""
    presence = template_infos if state is None else state
    frame = WireFrame.from_wire(json_data)
    step = frame.frame_id if frame.sequence is None else frame.sequence
    up_list.extend(presence.update(step, map(name_of, objects_of(json_data))))


def template_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event an object of ``up_list``."""
    due = [found for found in objects_of(json_data) if name_of(found) in up_list]
    return make_report(json_data, task_id, [event(json_data, found, Type) for found in due])


def name_of(found: WireObject) -> str:
    """What an object is counted by: its track's number or, in a graph without a tracker, its class."""
    return str(found.track_id) if found.track_id is not None else f"class {found.class_id}"
