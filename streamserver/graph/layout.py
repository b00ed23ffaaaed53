"""Where the boxes of a drawn graph go: columns from the sources to the sinks, neighbours near each other.

The usual way for layered drawings (after Sugiyama): a node's column is the longest way to it; a connection over several
columns gets a place to pass through in each of them; then columns are sorted by their neighbours' places, to and fro.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from streamserver.graph.model import Edge, Graph

Place = int | tuple[int, int]
"""A node's id, or number and column of a connection that only passes."""

_SWEEPS = 8


def columns_of(graph: Graph) -> dict[int, int]:
    """The column of each node, 0 at the left; where connections lead in a circle, the last of it counts nothing."""
    following: dict[int, list[int]] = {node.node_id: [] for node in graph.nodes}
    for edge in graph.edges:
        following[edge.src].append(edge.dst)
    order = _topological(following)
    position = {node_id: i for i, node_id in enumerate(order)}
    columns = dict.fromkeys(order, 0)
    for node_id in order:
        for after in following[node_id]:
            if position[after] > position[node_id]:
                columns[after] = max(columns[after], columns[node_id] + 1)
    return columns


def heights_of(graph: Graph, columns: Mapping[int, int]) -> dict[Place, float]:
    """How far down each node and each passing connection lies, in rows from 0; in one column at least 1 apart."""
    levels = _levels(graph, columns)
    before, after = _neighbours(graph, columns)
    heights: dict[Place, float] = {}
    for level in levels:
        heights.update((place, float(row)) for row, place in enumerate(level))
    for _ in range(_SWEEPS):
        for level in levels[1:]:
            heights.update(_settled(level, heights, before))
        for level in reversed(levels[:-1]):
            heights.update(_settled(level, heights, after))
    top = min(heights.values(), default=0.0)
    return {place: height - top for place, height in heights.items()}


def way_of(number: int, edge: Edge, columns: Mapping[int, int]) -> list[tuple[int, int]]:
    """The places that connection ``number`` passes through between its two nodes, from left to right."""
    left, right = sorted((columns[edge.src], columns[edge.dst]))
    return [(number, column) for column in range(left + 1, right)]


def _topological(following: Mapping[int, Sequence[int]]) -> list[int]:
    """The nodes so that connections lead forward, but for those that close a circle; without recursion."""
    done: list[int] = []
    seen: set[int] = set()
    for start in following:
        stack = [(start, iter(following[start]))] if start not in seen else []
        seen.add(start)
        while stack:
            node_id, rest = stack[-1]
            step = next((after for after in rest if after not in seen), None)
            if step is None:
                done.append(node_id)
                stack.pop()
            else:
                seen.add(step)
                stack.append((step, iter(following[step])))
    return done[::-1]


def _levels(graph: Graph, columns: Mapping[int, int]) -> list[list[Place]]:
    levels: list[list[Place]] = [[] for _ in range(1 + max(columns.values(), default=0))]
    for node_id, column in columns.items():
        levels[column].append(node_id)
    for number, edge in enumerate(graph.edges):
        for place in way_of(number, edge, columns):
            levels[place[1]].append(place)
    return levels


def _neighbours(graph: Graph, columns: Mapping[int, int]) -> tuple[dict[Place, list[Place]], dict[Place, list[Place]]]:
    """What each place is joined to in the column before it, and in the one after it."""
    before: dict[Place, list[Place]] = {}
    after: dict[Place, list[Place]] = {}
    for number, edge in enumerate(graph.edges):
        ends = sorted((edge.src, edge.dst), key=lambda node_id: columns[node_id])
        steps: list[Place] = [ends[0], *way_of(number, edge, columns), ends[1]]
        for left, right in itertools.pairwise(steps):
            after.setdefault(left, []).append(right)
            before.setdefault(right, []).append(left)
    return before, after


def _settled(
    level: Sequence[Place], heights: Mapping[Place, float], neighbours: Mapping[Place, Sequence[Place]]
) -> Iterable[tuple[Place, float]]:
    """New heights for one column: each place at the middle of its neighbours, then pushed 1 apart around that."""
    wished = {
        place: _mean([heights[other] for other in neighbours.get(place, ())] or [heights[place]]) for place in level
    }
    blocks: list[list[Place]] = []
    for place in sorted(level, key=lambda one: (wished[one], heights[one])):
        blocks.append([place])
        while len(blocks) > 1 and _top(blocks[-1], wished) < _top(blocks[-2], wished) + len(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    for block in blocks:
        top = _top(block, wished)
        yield from ((place, top + row) for row, place in enumerate(block))


def _top(block: Sequence[Place], wished: Mapping[Place, float]) -> float:
    """Where a block of places, 1 apart, has to begin to be as near as it can to what its places wish."""
    return _mean([wished[place] - row for row, place in enumerate(block)])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
