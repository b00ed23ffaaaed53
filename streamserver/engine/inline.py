"""Which elements work in the thread of the one before them, because handing a frame over would cost more than it gains.

Two threads are worth their while where both have much to do. So a thread gets one element that has, and around it those
that have not (``Element.light``). Only in graphs with one channel: several channels' frames are worked on side by side,
and in batches.
"""

from __future__ import annotations

from collections.abc import Mapping

from streamserver.engine.element import Element, JoiningElement, SplittingElement
from streamserver.graph.model import Graph


def inline_nodes(graph: Graph, elements: Mapping[int, Element], *, channels: int) -> set[int]:
    """The nodes whose elements need no thread of their own.

    Args:
        graph: a normalised graph.
        elements: by node.
        channels: how many run through it.
    """
    if channels != 1 or any(isinstance(one, SplittingElement | JoiningElement) for one in elements.values()):
        return set()
    thread_of = {node.node_id: node.node_id for node in graph.nodes}
    busy = {node.node_id for node in graph.nodes if not elements[node.node_id].light}
    found: set[int] = set()
    ways_in = {node.node_id: [edge.src for edge in graph.edges if edge.dst == node.node_id] for node in graph.nodes}
    waiting = [node.node_id for node in graph.nodes if node.is_source]
    while waiting:
        before = waiting.pop(0)
        for node_id, sources in ways_in.items():
            if sources != [before]:
                continue
            waiting.append(node_id)
            thread = thread_of[before]
            if elements[node_id].light or thread not in busy:
                found.add(node_id)
                thread_of[node_id] = thread
                busy |= {thread} if not elements[node_id].light else set()
    return found
