"""Type 2: a vehicle stays in an area, and its plate is read.

The detector finds plates, each is tracked, cut out and read, and votes over a track's frames settle its text. The
filter element passes every frame with a plate in the area; which plate has been there for long enough is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.license_area_intrusion.config_logic import license_area_intrusion_classes, license_area_intrusion_infos
from streamserver.plugin_api import GraphOverrides, PlateBook, plate_graph, plate_report, plates_due


def license_area_intrusion_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Plates in one of the areas, or anywhere when none is drawn."""
    return plate_graph(data, i, license_area_intrusion_classes)


def license_area_intrusion_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: PlateBook | None = None
) -> None:
    """Reports each plate once it has stayed long enough."""
    up_list.extend(plates_due(json_data, license_area_intrusion_infos if state is None else state))


def license_area_intrusion_trans_json(
    json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]
) -> dict[str, Any]:
    """One event a plate of ``up_list``, with the plate's own picture."""
    return plate_report(json_data, task_id, Type, up_list)
