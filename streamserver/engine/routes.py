"""Where frames go in a graph: worked out once from its edges, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamserver.engine.element import Element, JoiningElement, SplittingElement
from streamserver.graph.model import Graph


class Routes:
    """The ways through one graph, which has no circles.

    Args:
        graph: a normalised graph.
        elements: the elements of its nodes, by id.
    """

    def __init__(self, graph: Graph, elements: Mapping[int, Element]) -> None:
        self._edges = graph.edges
        self._elements = elements
        self._leading = {(edge.src, edge.src_port): edge for edge in graph.edges}

    def ends(self, source_id: int) -> dict[int, int]:
        """Over how many connections the end of a channel comes that enters at ``source_id``, by node it comes to."""
        reached = self._closure([source_id], forward=True)
        counts = dict.fromkeys(reached, 0)
        counts[source_id] = 1
        for edge in self._edges:
            if edge.src in reached:
                counts[edge.dst] += 1
        return counts

    def require_frames_stay(self, source_id: int) -> None:
        """Raises ``GraphError`` when the frames of a source, not parts of them, come to a converger as if they were."""
        taken_in, _ = self._follow(source_id, self._through(source_id))
        if taken_in is not None:
            joining = self._elements[taken_in]
            assert isinstance(joining, JoiningElement)
            raise joining.context.error(
                "default_port",
                f"whole frames do not come over port {joining.default_port} but over another, where parts belong",
                cure="let default_port be the one to which the distributor's default_port leads",
            )

    def returns(self, node_id: int) -> dict[int, int]:
        """See ``SplittingElement.returns``."""
        _, passed = self._follow(node_id, self._through(node_id))
        taken_in = {
            port: self._follow(node_id, port)[0]
            for src, port in self._leading
            if src == node_id and port != self._through(node_id)
        }
        return {port: joining for port, joining in taken_in.items() if joining in passed}

    def may_hold(self, node_id: int) -> bool:
        """True if whole frames may wait before a converger without keeping its parts from coming.

        That is so when the ways of frames and parts part at a distributor and stay apart from there, and no element on
        the parts' way waits for later ones.
        """
        joining = self._elements[node_id]
        assert isinstance(joining, JoiningElement)
        arriving = [edge for edge in self._edges if edge.dst == node_id]
        way = [edge.src for edge in arriving if edge.dst_port == joining.default_port]
        branches = [edge.src for edge in arriving if edge.dst_port != joining.default_port]
        before_frames, before_parts = self._closure(way, forward=False), self._closure(branches, forward=False)
        common = before_frames & before_parts
        forks = common - {edge.src for edge in self._edges if edge.dst in common}
        return all(isinstance(self._elements[i], SplittingElement) for i in forks) and not any(
            self._elements[i].keeps_frames and not isinstance(self._elements[i], JoiningElement)
            for i in before_parts - common
        )

    def first_on_the_way(self, source_id: int, name: str) -> int:
        """The first element called ``name`` that whole frames of a source come to; without one, the last of all."""
        node_id = source_id
        for _ in self._edges:
            through = self._through(node_id)
            edge = None if through is None else self._leading.get((node_id, through))
            if edge is None or self._elements[node_id].context.name == name:
                break
            node_id = edge.dst
        return node_id

    def _through(self, node_id: int) -> int | None:
        port = self._elements[node_id].through_port
        return port if port is not None else min((port for src, port in self._leading if src == node_id), default=None)

    def _follow(self, node_id: int, port: int | None) -> tuple[int | None, set[int]]:
        """Where what leaves a port is taken in as a part (``None``: nowhere), and the convergers it passes before."""
        passed: set[int] = set()
        edge = None if port is None else self._leading.get((node_id, port))
        for _ in self._edges:
            if edge is None:
                break
            element = self._elements[edge.dst]
            if isinstance(element, JoiningElement):
                if edge.dst_port != element.default_port:
                    return edge.dst, passed
                passed.add(edge.dst)
            through = self._through(edge.dst)
            edge = None if through is None else self._leading.get((edge.dst, through))
        return None, passed

    def _closure(self, start: Iterable[int], *, forward: bool) -> set[int]:
        """``start`` and all nodes after them, or all before."""
        reached: set[int] = set()
        waiting = list(start)
        while waiting:
            node_id = waiting.pop()
            if node_id not in reached:
                reached.add(node_id)
                waiting += [
                    edge.dst if forward else edge.src
                    for edge in self._edges
                    if (edge.src if forward else edge.dst) == node_id
                ]
        return reached
