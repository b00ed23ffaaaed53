"""Other configurations for elements at work: all are tried before the first is taken over."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamserver.core.errors import GraphError, StreamServerError
from streamserver.engine.element import Element
from streamserver.engine.node import Node
from streamserver.engine.sharing import Branch
from streamserver.graph.changes import CHANGEABLE, changed_keys
from streamserver.graph.model import Graph

logger = logging.getLogger(__name__)


class Change:
    """Elements that are taking over their new configuration.

    Attributes:
        problem: what went wrong with one of them, in words; empty if nothing.
    """

    def __init__(self, count: int) -> None:
        self.problem = ""
        self._left = count
        self._lock = threading.Lock()

    @property
    def done(self) -> bool:
        """True once the last of them has done so."""
        return self._left == 0

    def take_over(self, label: str, element: Element, configure: Mapping[str, Any]) -> None:
        """Has one element do it, in its own thread; whatever it raises, the old configuration holds."""
        try:
            element.reconfigure(configure)
        except Exception as e:  # the engine's loop: an update must not end what runs
            known = isinstance(e, StreamServerError)
            logger.error("%s: keeps its configuration: %s", label, e, exc_info=None if known else e)
            self.problem = self.problem or (str(e) if known else f"{label}: {e!r}")
        finally:
            with self._lock:
                self._left -= 1


def begin_change(
    nodes: Mapping[tuple[int, int], Node], graphs: Iterable[Graph], branches: Sequence[Branch] = ()
) -> Change:
    """Gives each element its ``configure`` from ``graphs`` between two of its frames.

    Args:
        nodes: what runs, by graph and node.
        graphs: their new versions; what stands in for an element that cannot run here goes by that one's name.
        branches: what graphs share; they part where their new versions differ.

    Raises:
        GraphError: the graphs are others, or an element cannot use its configuration; then nothing is changed.
    """
    found = {(graph.graph_id, node.node_id): node for graph in graphs for node in graph.nodes}
    if found.keys() != nodes.keys():
        raise GraphError("the graphs have other elements than those that run", cure="restart the task")
    idle = {node for branch in branches for node in branch.idle}
    work: list[tuple[Node, Element, Mapping[str, Any]]] = []
    fresh: list[tuple[Node, Element]] = []
    for key, node in found.items():
        worker = nodes[key]
        element = worker.element
        assert element is not None
        keys = changed_keys(element.context.configure, node.configure)
        if not keys:
            continue
        for name in keys:
            if name not in CHANGEABLE.get(node.name, ()):
                raise element.context.error(name, "cannot be changed while the task runs", cure="restart the task")
        new = type(element)(replace(element.context, configure=node.configure))  # raises what it says of them
        if worker in idle:
            fresh.append((worker, new))
        else:
            work.append((worker, element, node.configure))
    for worker, new in fresh:
        worker.element = new
    _part(branches, {nodes[key]: node.configure for key, node in found.items()})
    change = Change(len(work))
    for worker, element, configure in work:
        worker.between_frames(functools.partial(change.take_over, worker.label, element, configure))
    return change


def _part(branches: Sequence[Branch], configures: Mapping[Node, Mapping[str, Any]]) -> None:
    """Lets followers do their own work from where the chains differ."""
    for branch in branches:
        pairs = zip(branch.chain, branch.own, strict=True)
        differing = (i for i, (first, own) in enumerate(pairs) if configures[first] != configures[own])
        branch.part(next(differing, len(branch.chain)) - 1)
