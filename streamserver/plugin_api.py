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
    of each task, renewed whenever the source starts over; what its ``memory()`` (JSON) returns is kept on the disk
    and given to the ``recall(memory)`` of the next, also after a restart. Without it, module variables serve, as in
    the old server: each algorithm of each task has its own copy of the modules.

``<name>_trans_json(json_data, task_id, Type, up_list)``
    One frame and the names to report to the report of CONTRACT 6.3, without ``SrcID``. Called only when ``up_list``
    is not empty; ``json_data["mFrame"]["mSpData"]`` then holds the picture.

``json_data`` is the posted frame (``objects_of`` and ``WireFrame.from_wire`` read it); ``mFrame.mSequence`` is always
there and numbers the processed frames. An algorithm's entry of the task is called ``algorithm`` below:
``data["Algorithm"][i]``, with ``threshold`` in percent.
"""

from __future__ import annotations

from streamserver.core.errors import BadRequestError
from streamserver.core.events import Kind, RuleEvent
from streamserver.core.plates import Plate, PlateBook, plates_of
from streamserver.core.presence import Presence
from streamserver.core.results import BoxXyxy, WireFrame, WireObject, objects_of
from streamserver.plugin_support.filters import ALL_DAY, area_filters, line_filters
from streamserver.plugin_support.overrides import GraphOverrides
from streamserver.plugin_support.plates import plate_graph, plate_report, plate_rule, plates_due
from streamserver.plugin_support.reports import (
    event,
    event_extend,
    event_name,
    make_report,
    object_extend,
    object_name,
    rule_events,
    rule_names,
    rule_report,
)
from streamserver.plugin_support.rules import rule_filters, rule_graph, with_roi
from streamserver.plugin_support.task import (
    COCO_CLASSES,
    channel,
    choice_of,
    classes_of,
    threshold,
    track_buffer,
    tracking,
)

__all__ = [
    "ALL_DAY",
    "COCO_CLASSES",
    "BadRequestError",
    "BoxXyxy",
    "GraphOverrides",
    "Kind",
    "Plate",
    "PlateBook",
    "Presence",
    "RuleEvent",
    "WireFrame",
    "WireObject",
    "area_filters",
    "channel",
    "choice_of",
    "classes_of",
    "event",
    "event_extend",
    "event_name",
    "line_filters",
    "make_report",
    "object_extend",
    "object_name",
    "objects_of",
    "plate_graph",
    "plate_report",
    "plate_rule",
    "plates_due",
    "plates_of",
    "rule_events",
    "rule_filters",
    "rule_graph",
    "rule_names",
    "rule_report",
    "threshold",
    "track_buffer",
    "tracking",
    "with_roi",
]
