"""Everything a sample under samples/ may import, on one page.

An algorithm ``<name>`` is the folder ``samples/<name>/`` with ``<name>.py``, ``config_logic.py`` and ``config/*.json``
(a demo file, a graph and its elements, as sophon-stream reads them), and an entry in ``config_algorithm.map_type``.
``<name>.py`` defines three functions:

``<name>_build_config(algorithm_name, stream_path, data, port, i)``
    Task to graph: ``data`` is the accepted request, ``i`` the position in ``data["Algorithm"]``. Returns
    ``GraphOverrides`` (pure), or, as in the old server, edits the copies under
    ``<stream_path>/samples/<algorithm_name>/config/`` and returns the path of the demo file.

``<name>_logic(json_data, up_list, rm_list)``
    One frame to names: appends to ``up_list`` the names of the objects to report, to ``rm_list`` those forgotten.
    May take a fourth parameter ``state``: what ``config_logic.new_state(algorithm)`` returned, one for each algorithm
    of each task, renewed whenever the source starts over. Without it, module variables serve, as in the old server.

``<name>_trans_json(json_data, task_id, Type, up_list)``
    One frame and the names to report to the report of CONTRACT 6.3, without ``SrcID``. Called only when ``up_list``
    is not empty; ``json_data["mFrame"]["mSpData"]`` then holds the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamserver.core.presence import Presence
from streamserver.core.results import BoxXyxy, WireFrame, WireObject, objects_of

__all__ = [
    "BoxXyxy",
    "GraphOverrides",
    "Presence",
    "WireFrame",
    "WireObject",
    "area_filter",
    "channel",
    "event",
    "line_filter",
    "make_report",
    "objects_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOverrides:
    """What a task changes in a sample's graph; everything else stays as in ``samples/<name>/config``.

    Attributes:
        graph: the graph file in the sample's config folder.
        channel: keys of the channel in the demo file that the task sets (address, sampling, looping).
        filters: the ``filters`` list of the filter element's rule for this channel; empty for no filter element.
        elements: changes to the ``configure`` object of elements by element name, ``_group`` left out, e.g.
            ``{"yolox": {"threshold_conf": 0.4}}``; a key ``"*detector"`` reaches every detector of the graph.
    """

    graph: str = "engine_group.json"
    channel: Mapping[str, Any] = field(default_factory=dict)
    filters: Sequence[Mapping[str, Any]] = ()
    elements: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
