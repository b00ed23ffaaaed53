"""A graph in words: one block a node, with its ports, threads and model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamserver.graph.model import Graph, Node


def describe(graph: Graph, *, models: Mapping[int, str] | None = None) -> str:
    """The graph as lines of text.

    Args:
        graph: also one that ``normalise.sketch`` gave.
        models: what runs in the place of a node's ``model_path``, by the node's id.
    """
    name = f" '{graph.name}'" if graph.name else ""
    lines = [f"graph {graph.graph_id}{name}: {len(graph.nodes)} nodes, {len(graph.edges)} connections"]
    for node in graph.nodes:
        lines += [f"  {line}" for line in _describe_node(graph, node, (models or {}).get(node.node_id, ""))]
    return "\n".join(lines)


def _describe_node(graph: Graph, node: Node, model: str) -> Iterator[str]:
    threads = "1 thread" if node.thread_number == 1 else f"{node.thread_number} threads"
    members = f", made of {', '.join(map(str, node.members))}" if len(node.members) > 1 else ""
    yield f"{node.node_id} {node.name or '(unreadable)'}: {threads}{members}"
    model_path = node.configure.get("model_path")
    if isinstance(model_path, str):
        yield f"    model {model_path}" + (f" -> {model}" if model else "")
    if node.is_source:
        yield f"    in {node.source_port} <- channels"
    names = {other.node_id: other.name or "(unreadable)" for other in graph.nodes}
    for edge in graph.edges:
        if edge.dst == node.node_id:
            yield f"    in {edge.dst_port} <- {edge.src} {names[edge.src]}, out {edge.src_port}"
    for edge in graph.edges:
        if edge.src == node.node_id:
            yield f"    out {edge.src_port} -> {edge.dst} {names[edge.dst]}, in {edge.dst_port}"
    if node.is_sink:
        yield "    out -> results leave the graph"
