"""Type 3: an object of any COCO class enters, stays in or leaves an area.

The filter's rules decide who is reported, and when. Where an engine knows no rules (a sophon-stream program), who has
stayed for ``TrackInterval`` processed frames in a row is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.yolov5.config_logic import yolov5_classes, yolov5_infos
from streamserver.plugin_api import GraphOverrides, Presence, RuleEvent, WireObject, rule_graph, rule_names, rule_report


def yolov5_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Objects in one of the areas, or anywhere when none is drawn."""
    return rule_graph(data, i, yolov5_classes)


def yolov5_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: Presence[str] | None = None
) -> None:
    """Reports all that the rules have seen or, with an engine that knows none, who has stayed long enough."""
    up_list.extend(rule_names(json_data, yolov5_infos if state is None else state))


def yolov5_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event an entry of ``up_list``."""
    return rule_report(json_data, task_id, Type, up_list, extend=old_keys)


def old_keys(found: RuleEvent | WireObject) -> dict[str, Any]:
    """Class and confidence, under the old server's keys; nothing where no single object is meant."""
    return {"类别": found.class_id, "置信度": f"{found.score:.2%}"} if found.class_id >= 0 else {}
