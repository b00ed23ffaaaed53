"""Graphs in two forms: raw, just as the files say, for rewriting; normalised, one node an algorithm, for running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streamserver.core.errors import GraphError

DETECTORS = frozenset({"yolov5", "yolov7", "yolov8", "yolox", "retinaface", "motion"})
"""Elements that find objects in a whole frame: what the override key ``*detector`` reaches."""

_GROUP = "_group"


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection from an output port to an input port."""

    src: int
    src_port: int
    dst: int
    dst_port: int


@dataclass(frozen=True, slots=True)
class RawElement:
    """An element as its files say, unknown keys included.

    Attributes:
        entry: its object in the graph file's ``elements``.
        config: the content of its own file.
        file: the path of that file, for messages; does not take part in comparisons.
    """

    entry: Mapping[str, Any]
    config: Mapping[str, Any]
    file: str = field(default="", compare=False)

    @property
    def element_id(self) -> int:
        """Its (outer) id, by which connections name it."""
        return int(self.entry["element_id"])

    @property
    def name(self) -> str:
        """Its name without ``_group``."""
        return str(self.config["name"]).removesuffix(_GROUP)

    @property
    def readable(self) -> bool:
        """False for an element whose own file cannot be used; only ``read.survey_graphs`` gives such ones."""
        return bool(self.config["name"])

    @property
    def is_group(self) -> bool:
        """True for the form in which one element holds pre-processing, inference and post-processing."""
        return str(self.config["name"]).endswith(_GROUP)

    @property
    def configure(self) -> Mapping[str, Any]:
        """The ``configure`` object; empty when the file has none."""
        value: Mapping[str, Any] = self.config.get("configure", {})
        return value

    @property
    def thread_number(self) -> int:
        """How many threads it asks for."""
        return int(self.config.get("thread_number", 1))

    @property
    def inner_ids(self) -> tuple[int, ...]:
        """The three ids inside a group; empty where they are missing or wrong, and for elements that are no group."""
        ids = self.entry.get("inner_elements_id") if self.is_group else None
        usable = isinstance(ids, list) and len(ids) == 3 and all(type(value) is int for value in ids)
        return tuple(ids) if ids and usable else ()

    @property
    def source_ports(self) -> tuple[int, ...]:
        """Input ports where channels enter the graph."""
        return self._ports("input", "is_src")

    @property
    def sink_ports(self) -> tuple[int, ...]:
        """Output ports where results leave the graph."""
        return self._ports("output", "is_sink")

    def _ports(self, side: str, flag: str) -> tuple[int, ...]:
        return tuple(int(port["port_id"]) for port in self.entry.get("ports", {}).get(side, ()) if port[flag])


@dataclass(frozen=True, slots=True)
class RawGraph:
    """A graph as its files say.

    Attributes:
        data: the keys of the graph's object but ``elements`` and ``connections``.
        elements: in the file's order.
        connections: in the file's order, as written; ``edges`` is the same without unknown keys.
        file: the path of the graph file, for messages; does not take part in comparisons.
    """

    data: Mapping[str, Any]
    elements: tuple[RawElement, ...]
    connections: tuple[Mapping[str, Any], ...]
    file: str = field(default="", compare=False)

    @property
    def graph_id(self) -> int:
        """The id by which channels choose it."""
        return int(self.data["graph_id"])

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The connections."""
        return tuple(
            Edge(int(c["src_element_id"]), int(c["src_port"]), int(c["dst_element_id"]), int(c["dst_port"]))
            for c in self.connections
        )

    @property
    def sources(self) -> tuple[RawElement, ...]:
        """The elements where channels enter."""
        return tuple(element for element in self.elements if element.source_ports)

    @property
    def sinks(self) -> tuple[RawElement, ...]:
        """The elements where results leave."""
        return tuple(element for element in self.elements if element.sink_ports)

    def error(self, problem: str, *, cure: str = "") -> GraphError:
        """An error that names file and graph, for the caller to raise."""
        return GraphError(f"{self.file}: graph {self.graph_id}: {problem}", cure=cure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One logical element of a normalised graph.

    Attributes:
        node_id: the element's id; of a triple, the id of its first element.
        name: without ``_group``.
        configure: what the element reads; of a triple, the three merged.
        config_file: the element's file, for messages; of a triple, the three separated by commas.
        thread_number: how many threads it asks for; of a triple, the largest of the three.
        is_source: channels enter here, at ``source_port``.
        is_sink: results leave the graph here; the node has no outgoing edge.
        members: the ids in the graph file that became this node, a group's inner ones included.
    """

    node_id: int
    name: str
    configure: Mapping[str, Any]
    config_file: str = ""
    thread_number: int = 1
    is_source: bool = False
    is_sink: bool = False
    source_port: int = 0
    members: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A normalised graph: groups and triples are one node each, and every edge joins two different nodes."""

    graph_id: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    name: str = ""

    def node(self, node_id: int) -> Node:
        """The node of this id; ``KeyError`` when there is none."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise KeyError(node_id)

    def source(self, decode_id: int) -> Node:
        """The node where a channel with this ``decode_id`` enters; -1 means the only one.

        Raises:
            GraphError: there is none, or -1 could mean several.
        """
        sources = [node for node in self.nodes if node.is_source]
        fitting = [node for node in sources if decode_id in (-1, *node.members)]
        if len(fitting) == 1:
            return fitting[0]
        raise GraphError(
            f"graph {self.graph_id}: decode_id {decode_id} names {len(fitting)} of its sources",
            cure=f"use one of {', '.join(str(node.node_id) for node in sources)}",
        )
