"""``download_image`` of a demo file: an element behind every sink that keeps each result as a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from streamserver.graph.demo import Demo
from streamserver.graph.model import Edge, Graph, Node

_ELEMENT = "download_image"
_KEYS = ("car_attributes", "person_attributes", "heatmap_loss")
"""Keys of the demo file that only the drawing needs, and nobody else reads."""


def with_results(graphs: Iterable[Graph], demo: Demo, *, file: str) -> tuple[Graph, ...]:
    """The graphs, each sink followed by an element that keeps pictures if the demo file asks for them.

    Args:
        graphs: normalised graphs.
        demo: says whether, and how they are drawn.
        file: the demo file, for messages.
    """
    if not demo.download_image:
        return tuple(graphs)
    configure = {"draw_func_name": demo.draw_func_name, "class_names": demo.class_names}
    configure |= {key: demo.extra[key] for key in _KEYS if key in demo.extra}
    return tuple(
        _with_keepers(graph, Node(node_id=0, name=_ELEMENT, configure=configure, config_file=file)) for graph in graphs
    )


def _with_keepers(graph: Graph, keeper: Node) -> Graph:
    senders = {edge.src for edge in graph.edges}
    sinks = [node for node in graph.nodes if node.node_id not in senders]
    first_id = 1 + max((i for node in graph.nodes for i in (node.node_id, *node.members)), default=0)
    keepers = tuple(
        dataclasses.replace(keeper, node_id=first_id + i, thread_number=sink.thread_number, is_sink=True)
        for i, sink in enumerate(sinks)
    )
    ends = tuple(Edge(sink.node_id, 0, one.node_id, 0) for sink, one in zip(sinks, keepers, strict=True))
    inner = tuple(dataclasses.replace(node, is_sink=node.is_sink and node.node_id in senders) for node in graph.nodes)
    return dataclasses.replace(graph, nodes=(*inner, *keepers), edges=(*graph.edges, *ends))
