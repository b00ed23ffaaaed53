"""From the files' form to the engine's: groups and triples become one node each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamserver.graph.check import require_ok
from streamserver.graph.model import Edge, Graph, Node, RawGraph
from streamserver.graph.stages import Chain, merge_configure, stage_chains


def normalise(raw: RawGraph) -> Graph:
    """The graph that an engine runs; ``shared_object``, ``side`` and ``device_id`` say nothing to it.

    A group is one node of its base name. Elements of one name whose ``stage`` lists together are pre, infer, post are
    one node too, with the id of the first (``stages.merge_configure`` says whose keys count). An element without
    ``stage`` is whole.

    Raises:
        GraphError: the graph fails ``check``, or stages are missing; names them.
    """
    require_ok(raw)
    problems = stage_chains(raw)[1]
    if problems:
        raise raw.error("; ".join(problems))
    return sketch(raw)


def sketch(raw: RawGraph) -> Graph:
    """The graph as far as it can be made out, to be shown and searched for errors: never raises.

    Stages that are part of no triple are nodes of their own, an element whose id is taken is left out, and so are
    connections to what is not there.
    """
    parts = _parts(raw, stage_chains(raw)[0])
    node_of = {member.element_id: part[0].element_id for part in parts for member in part}
    return Graph(
        graph_id=raw.graph_id,
        name=str(raw.data.get("graph_name", "")),
        nodes=tuple({part[0].element_id: _node(part) for part in reversed(parts)}.values())[::-1],
        edges=tuple(
            Edge(node_of[edge.src], edge.src_port, node_of[edge.dst], edge.dst_port)
            for edge in raw.edges
            if edge.src in node_of and edge.dst in node_of and node_of[edge.src] != node_of[edge.dst]
        ),
    )


def _parts(raw: RawGraph, chains: list[Chain]) -> list[Chain]:
    """What becomes one node each, a single element being a chain of one; in the order of their first elements."""
    chain_at = {chain[0].element_id: chain for chain in chains}
    later = {member.element_id for chain in chains for member in chain[1:]}
    return [chain_at.get(e.element_id, (e,)) for e in raw.elements if e.element_id not in later]


def _node(part: Chain) -> Node:
    first, last = part[0], part[-1]
    return Node(
        node_id=first.element_id,
        name=first.name,
        configure=merge_configure(part) if len(part) > 1 else _without_stage(first.configure),
        config_file=", ".join(dict.fromkeys(element.file for element in part)),
        thread_number=max(element.thread_number for element in part),
        is_source=bool(first.source_ports),
        is_sink=bool(last.sink_ports),
        source_port=first.source_ports[0] if first.source_ports else 0,
        members=tuple(i for element in part for i in (element.element_id, *element.inner_ids)),
    )


def _without_stage(configure: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in configure.items() if key != "stage"}
