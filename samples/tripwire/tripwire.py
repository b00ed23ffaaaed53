"""Type 1: somebody crosses a line.

The filter element decides who is reported: it knows each track's way and passes an object at the moment it crosses. So
everything that arrives here is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.tripwire.config_logic import tripwire_classes
from streamserver.plugin_api import (
    GraphOverrides,
    area_filters,
    channel,
    classes_of,
    event,
    line_filters,
    make_report,
    objects_of,
    tracking,
)


def tripwire_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """One filter a line; without a line, each person in the area (or in the picture) once."""
    algorithm = data["Algorithm"][i]
    classes = classes_of(algorithm, tripwire_classes)
    filters = line_filters(algorithm, classes) or area_filters(algorithm, classes, type=1)
    return GraphOverrides(channel=channel(data, i), filters=filters, elements=tracking(algorithm, classes))


def tripwire_logic(json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str]) -> None:
    """Reports every tracked object of the frame by its track's number."""
    up_list.extend(str(found.track_id) for found in objects_of(json_data) if found.track_id is not None)


def tripwire_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event a track of ``up_list``."""
    due = [found for found in objects_of(json_data) if str(found.track_id) in up_list]
    return make_report(json_data, task_id, [event(json_data, found, Type) for found in due])
