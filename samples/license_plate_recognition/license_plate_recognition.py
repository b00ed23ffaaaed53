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
from streamserver.plugin_api import GraphOverrides, PlateBook, plate_graph, plate_report, plates_due


def license_plate_recognition_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Plates anywhere or, where areas are drawn, in one of them."""
    return plate_graph(data, i, license_plate_recognition_classes)


def license_plate_recognition_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: PlateBook | None = None
) -> None:
    """Reports each plate once it was read alike often enough."""
    up_list.extend(plates_due(json_data, license_plate_recognition_infos if state is None else state))


def license_plate_recognition_trans_json(
    json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]
) -> dict[str, Any]:
    """One event a plate of ``up_list``, with the plate's own picture."""
    return plate_report(json_data, task_id, Type, up_list)
