"""Which detector really runs: the graph's own, or, where its weights are missing, motion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.graph.model import Graph, Node

REPLACEABLE = frozenset({"yolov5", "yolov7", "yolov8", "yolox"})
"""Detectors whose place ``motion`` can take."""

MOTION = "motion"


@dataclass(frozen=True, slots=True)
class Choice:
    """What will run.

    Attributes:
        graphs: with some detectors replaced.
        replaced: the names of those that were.
        warnings: why, one sentence each, with the cure; empty if it was asked for.
    """

    graphs: tuple[Graph, ...]
    replaced: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


def choose_detectors(
    graphs: Sequence[Graph], mode: str, *, available: Set[str], find_weights: Callable[[str], object]
) -> Choice:
    """Puts ``motion`` where a detector is not wanted or cannot run.

    Args:
        graphs: normalised graphs.
        mode: ``motion`` replaces every detector, ``auto`` those that cannot run, ``model`` (or nothing) none.
        available: the elements that this engine has.
        find_weights: finds the file for a ``model_path``, fetching it if need be; raises ``ModelNotFoundError`` or
            ``ModelError``.
    """
    replaced: set[str] = set()
    warnings: list[str] = []

    def choose(node: Node) -> Node:
        if node.name not in REPLACEABLE or mode not in ("auto", "motion"):
            return node
        if mode == "auto":
            problem = _problem(node, available, find_weights)
            if not problem:
                return node
            warnings.append(f"element {node.node_id} '{node.name}': motion detection takes its place: {problem}")
        replaced.add(node.name)
        return dataclasses.replace(node, name=MOTION)

    chosen = tuple(dataclasses.replace(graph, nodes=tuple(map(choose, graph.nodes))) for graph in graphs)
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
