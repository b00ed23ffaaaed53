"""Type 7: how many people come in and go out, through areas, across lines, or past the camera where nothing is drawn.

The filter's rule decides who came and who went; here they are added up. Where an engine knows no rules (a sophon-stream
program), each person who passes its filter for ``TrackInterval`` processed frames in a row has come in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samples.passenger_flow.config_logic import FlowTotals, passenger_flow_classes, passenger_flow_infos
from streamserver.plugin_api import GraphOverrides, rule_graph, rule_report

_TOTALS = "mTotals"
"""Where ``logic`` notes in the frame what ``trans_json`` reports."""


def passenger_flow_build_config(
    algorithm_name: str, stream_path: str, data: Mapping[str, Any], port: int, i: int
) -> GraphOverrides:
    """One rule for all areas, or one for each line."""
    return rule_graph(data, i, passenger_flow_classes, default="flow")


def passenger_flow_logic(
    json_data: dict[str, Any], up_list: list[str], rm_list: list[str], state: FlowTotals | None = None
) -> None:
    """Adds up who came and who went; reports them, and the count when it is time."""
    totals = passenger_flow_infos if state is None else state
    up_list.extend(totals.update(json_data))
    json_data[_TOTALS] = totals.memory()


def passenger_flow_trans_json(
    json_data: Mapping[str, Any], task_id: str, Type: int, up_list: list[str]
) -> dict[str, Any]:
    """One event an entry of ``up_list``, each with the totals of the frame; a count shows the whole picture."""
    totals = dict(json_data.get(_TOTALS) or passenger_flow_infos.memory())
    more = {**totals, "ObjectCount": totals["In"]}
    return rule_report(json_data, task_id, Type, up_list, extend=lambda _: more)
