"""Type 1: somebody crosses a line.

The filter's rules decide: they know each track's way and tell a crossing as it happens. So everything that arrives here
is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.tripwire.config_logic import tripwire_classes
from streamserver.plugin_api import GraphOverrides, rule_graph, rule_names, rule_report


def tripwire_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """A rule for each line; without a line, one for the areas (or the picture)."""
    return rule_graph(data, i, tripwire_classes, default="cross")


def tripwire_logic(json_data: Mapping[str, Any], up_list: list[str], rm_list: list[str]) -> None:
    """Reports all that the rules have seen or, with an engine that knows none, every tracked object of the frame."""
    up_list.extend(rule_names(json_data))


def tripwire_trans_json(json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]) -> dict[str, Any]:
    """One event an entry of ``up_list``."""
    return rule_report(json_data, task_id, Type, up_list)
