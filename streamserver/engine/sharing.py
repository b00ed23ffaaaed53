"""One run of what several graphs begin with: the chain works in the first channel's graph, the others branch off.

A *chain* is the source and the elements behind it, in one line. Where two channels read one source in the same way, and
their graphs begin with equal chains, only the first one's runs; each of its frames goes on into the other's graph as a
copy with that channel's numbers. The other's own elements of the chain stay idle: they are not opened, until an update
makes the chains differ, from where each runs its own.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamserver.engine.element import Element, SourceElement
from streamserver.engine.flow import Flow
from streamserver.engine.frame import Frame
from streamserver.engine.node import Node
from streamserver.graph.demo import Channel
from streamserver.graph.model import Graph
from streamserver.graph.model import Node as GraphNode

logger = logging.getLogger(__name__)

_WORTH_SHARING = 2
"""A source alone is read once anyway."""

_LOOK_S = 0.1

NodeKey = tuple[int, int]
"""Graph and node."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a channel has in common with an earlier one.

    Attributes:
        follower: the channel that is given copies.
        pairs: the nodes of the two chains, source first: each that runs with the follower's that is equal.
    """

    follower: Channel
    pairs: tuple[tuple[NodeKey, NodeKey], ...]


def plan_shares(
    graphs: Mapping[int, Graph], channels: Sequence[Channel], elements: Mapping[NodeKey, Element]
) -> list[Share]:
    """Who follows whom: each channel at most one that comes before it and does not follow itself.

    Graphs of several channels keep to themselves.

    Args:
        graphs: normalised graphs by id.
        channels: what runs through them.
        elements: what the graphs' nodes run.
    """
    leaders: list[tuple[int, object, list[GraphNode]]] = []
    shares: list[Share] = []
    for channel in channels:
        if sum(other.graph_id == channel.graph_id for other in channels) > 1:
            continue
        chain = _chain(graphs[channel.graph_id], channel, elements)
        source = elements[channel.graph_id, chain[0].node_id]
        assert isinstance(source, SourceElement)
        reading = (source.source_key(channel), channel.sample_interval, channel.sample_strategy)
        for leader_graph, way, first in leaders:
            pairs = _equal_pairs(first, chain) if way == reading else []
            if len(pairs) >= _WORTH_SHARING:  # so much in common no two leaders have: this is the only one
                keys = (((leader_graph, one.node_id), (channel.graph_id, other.node_id)) for one, other in pairs)
                shares.append(Share(channel, tuple(keys)))
                break
        else:
            leaders.append((channel.graph_id, reading, chain))
    return shares


def _chain(graph: Graph, channel: Channel, elements: Mapping[NodeKey, Element]) -> list[GraphNode]:
    """The channel's source and, as far as they can be shared, the elements after it; never the last of the graph."""
    node = graph.source(channel.decode_id)
    chain = [node]
    while True:
        leaving = [edge for edge in graph.edges if edge.src == node.node_id]
        if len(leaving) != 1:
            return chain[: max(1, len(chain) - 1)]
        node = graph.node(leaving[0].dst)
        arriving = [edge for edge in graph.edges if edge.dst == node.node_id]
        if len(arriving) != 1 or not elements[graph.graph_id, node.node_id].may_be_shared:
            return chain
        chain.append(node)


def _equal_pairs(one: Sequence[GraphNode], other: Sequence[GraphNode]) -> list[tuple[GraphNode, GraphNode]]:
    """The nodes of two chains side by side, from the start to the first that differ."""
    pairs = zip(one, other, strict=False)
    return list(itertools.takewhile(lambda pair: _work(pair[0]) == _work(pair[1]), pairs))


def _work(node: GraphNode) -> tuple[str, Mapping[str, Any]]:
    return node.name, node.configure


class Branch:
    """Where copies of the frames leave a chain for a follower's graph.

    Args:
        follower: whose numbers the copies get.
        chain: the nodes that run, source first.
        own: the follower's nodes in their places, idle.
        flow: shared by all nodes of the engine.
    """

    def __init__(self, follower: Channel, chain: Sequence[Node], own: Sequence[Node], flow: Flow) -> None:
        self.follower = follower
        self.chain = list(chain)
        self.own = list(own)
        self._flow = flow
        self._places = {node: place for place, node in enumerate(chain)}
        self._lock = threading.Lock()
        self._leaves_at = self._wanted = len(self.chain) - 1
        self._first: Frame | None = None
        self._passed = threading.Event()

    @property
    def idle(self) -> Sequence[Node]:
        """The follower's nodes whose work the chain does."""
        return self.own[: self._wanted + 1]

    def part(self, place: int) -> None:
        """Lets the follower do its own work behind this place of the chain, from the next frame that comes by there."""
        with self._lock:
            woken, self._wanted = self.own[place + 1 : self._wanted + 1], min(place, self._wanted)
        for node in woken:
            logger.info("%s: works for itself from now on", node.label)
            node.start()

    def copy_for(self, node: Node, frame: Frame) -> Frame | None:
        """The follower's copy of a frame that leaves ``node``; ``None`` if it leaves elsewhere."""
        place = self._places[node]
        with self._lock:
            if place == self._leaves_at:
                moved = self._first is not None and (frame is self._first or frame.end_of_stream)
                if moved:
                    self._passed.set()
                    return None
            elif place == self._wanted and self._first is None:
                self._first = frame
            else:
                return None
        return replace(
            frame,
            channel_id=self.follower.channel_id,
            graph_id=self.follower.graph_id,
            sub_frames=list(frame.sub_frames),
        )

    def send(self, node: Node, copy: Frame) -> None:
        """Sends on what ``copy_for`` gave, after the frame itself; waits for room.

        The first one that leaves at a new place waits until all before it have left at the old one.
        """
        place = self._places[node]
        if place != self._leaves_at:
            while not self._passed.wait(_LOOK_S):
                if self._flow.stopping.is_set():
                    return
            with self._lock:
                self._leaves_at, self._first = place, None
                self._passed.clear()
        (output,) = self.own[place].outputs.values()
        copy.port = output.port
        output.node.put(copy)
