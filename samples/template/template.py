"""Somebody enters, stays in or leaves an area.

The filter's rules decide who is reported, and when. Where an engine knows no rules (a sophon-stream program), who has
stayed for ``TrackInterval`` processed frames in a row is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.template.config_logic import template_classes, template_infos
from streamserver.plugin_api import GraphOverrides, Presence, rule_graph, rule_names, rule_report


def template_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """Persons in one of the areas, or anywhere when none is drawn."""
    return rule_graph(data, i, template_classes)


def template_logic(
    json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str], state: Presence[str] | None = None
) -> None:
    """Reports all that the rules have seen or, with an engine that knows none, who has stayed long enough."""
    up_list.extend(rule_names(json_data, template_infos if state is None else state))


def template_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event an entry of ``up_list``."""
    return rule_report(json_data, task_id, Type, up_list)
