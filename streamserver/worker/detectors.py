"""Which detector really runs: the graph's own, or, where its weights are missing, motion.

Motion says only that something moves somewhere. That is enough for elements that look at boxes; where a later element
looks at what is in the box (a reader of number plates, a classifier, a pose), motion in the detector's place would make
it speak of leaves and shadows. There the detector stays, and missing weights are an error that says how to get them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.graph.model import Graph, Node

REPLACEABLE = frozenset({"yolov5", "yolov7", "yolov8", "yolox"})
"""Detectors whose place ``motion`` can take."""

MOTION = "motion"

CONTENT_WITH_BOXES = REPLACEABLE | {
    MOTION,
    "blank",
    "bytetrack",
    "converger",
    "encode",
    "filter",
    "http_push",
    "osd",
    "resize",
}
"""Elements to which it is all one what a detector before them has found, as long as it has a box."""

_DETECT = "Detect"
"""The task of a yolov8 that finds boxes, the default."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What will run.

    Attributes:
        graphs: with some detectors replaced.
        replaced: the names of those that were.
        warnings: why, one sentence each, with the cure; and where motion was asked for or needed but cannot do.
    """

    graphs: tuple[Graph, ...]
    replaced: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def choose_detectors(
    graphs: Sequence[Graph], mode: str, *, available: Set[str], find_weights: Callable[[str], object]
) -> Choice:
    """Puts ``motion`` where a detector is not wanted or cannot run, and boxes are all that is wanted of it.

    Args:
        graphs: normalised graphs.
        mode: ``motion`` replaces every detector, ``auto`` those that cannot run, ``model`` (or nothing) none.
        available: the elements that this engine has.
        find_weights: finds the file for a ``model_path``, fetching it if need be; raises ``ModelNotFoundError`` or
            ``ModelError``.
    """
    replaced: set[str] = set()
    warnings: list[str] = []

    def choose(graph: Graph, node: Node) -> Node:
        if node.name not in REPLACEABLE or mode not in ("auto", "motion"):
            return node
        problem = _problem(node, available, find_weights) if mode == "auto" else ""
        if mode == "auto" and not problem:
            return node
        label = f"element {node.node_id} '{node.name}'"
        if obstacle := _obstacle(graph, node):
            warnings.append(f"{label}: motion detection cannot take its place: {obstacle}")
            return node
        if problem:
            warnings.append(f"{label}: motion detection takes its place: {problem}")
        replaced.add(node.name)
        return dataclasses.replace(node, name=MOTION)

    chosen = tuple(
        dataclasses.replace(graph, nodes=tuple(choose(graph, node) for node in graph.nodes)) for graph in graphs
    )
    return Choice(chosen, frozenset(replaced), tuple(dict.fromkeys(warnings)))


def _problem(node: Node, available: Set[str], find_weights: Callable[[str], object]) -> str:
    if node.name not in available:
        return f"this engine has no element '{node.name}'"
    model_path = node.configure.get("model_path")
    if not isinstance(model_path, str):
        return ""  # the element itself says what is wrong with its configuration
    try:
        find_weights(model_path)
    except (ModelNotFoundError, ModelError) as e:
        return str(e)
    return ""


def _obstacle(graph: Graph, node: Node) -> str:
    """Why boxes of what moves would not do; empty if they would."""
    task = node.configure.get("task_type", _DETECT)
    if task != _DETECT:
        return f"its task is {task}"
    after: set[int] = set()
    waiting = [node.node_id]
    while waiting:
        current = waiting.pop()
        fresh = {edge.dst for edge in graph.edges if edge.src == current} - after
        after |= fresh
        waiting += fresh
    needy = [later for later in graph.nodes if later.node_id in after and later.name not in CONTENT_WITH_BOXES]
    return f"element {needy[0].node_id} '{needy[0].name}' looks at what was found, not only where" if needy else ""
