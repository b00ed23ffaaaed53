"""A graph as a drawing: one self-contained SVG, from the sources at the left to the sinks at the right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from xml.sax.saxutils import escape

from streamserver.graph.layout import Place, columns_of, heights_of, way_of
from streamserver.graph.model import Edge, Graph, Node

Point = tuple[float, float]

_FONT_PX = 13
_LETTER_PX = 7.9
_PADDING_PX, _LINE_PX = 10, 18
_GAP_X_PX, _GAP_Y_PX, _MARGIN_PX = 64, 26, 24
_LONGEST = 40
_COLOURS = {"source": ("#e7f4e8", "#2f7d32"), "sink": ("#fdecea", "#b23b2e"), "": ("#eef3fb", "#3a5f9a")}
_HEADING, _DETAIL = ' font-weight="bold"', ' fill="#555"'
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Box:
    """The rectangle of a node, in pixels of the drawing."""

    node: Node
    left: float
    top: float
    width: float
    height: float
    lines: tuple[str, ...]

    @property
    def middle_y(self) -> float:
        """Where connections arrive and leave."""
        return self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything goes.

    Attributes:
        boxes: of each node; no two touch each other.
        ways: of each connection, the points from the right side of one box to the left side of another.
    """

    boxes: Mapping[int, Box]
    ways: Sequence[Sequence[Point]]

    @classmethod
    def for_graph(cls, graph: Graph) -> Plan:
        """Places the boxes of a graph and leads its connections between them."""
        columns = columns_of(graph)
        middles = _middles(graph, heights_of(graph, columns))
        spans = _spans(graph, columns)
        boxes = {}
        for node in graph.nodes:
            lines = _lines(node)
            left, width, height = spans[columns[node.node_id]][0], _width(lines), _height(graph, node)
            boxes[node.node_id] = Box(node, left, middles[node.node_id] - height / 2, width, height, lines)
        passing = []
        for number, edge in enumerate(graph.edges):
            places, forward = way_of(number, edge, columns), columns[edge.src] < columns[edge.dst]
            points = [(x, middles[place]) for place in places for x in spans[place[1]]]
            passing.append(points if forward else points[::-1])
        return cls(boxes, _joined(graph, boxes, passing))

    @property
    def size_wh(self) -> tuple[float, float]:
        """Of the whole drawing, with a margin."""
        right = max((box.left + box.width for box in self.boxes.values()), default=0.0)
        lowest = [box.top + box.height for box in self.boxes.values()] + [y for way in self.ways for _, y in way]
        return right + _MARGIN_PX, max(lowest, default=0.0) + _MARGIN_PX


def draw(graph: Graph) -> str:
    """The drawing as the text of an SVG file."""
    plan = Plan.for_graph(graph)
    width, height = plan.size_wh
    title = _text(f"graph {graph.graph_id}" + (f" '{graph.name}'" if graph.name else ""))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="{_FONT_PX}">',
        f"<title>{title}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
        *(_draw_edge(edge, way) for edge, way in zip(graph.edges, plan.ways, strict=True)),
        *map(_draw_box, plan.boxes.values()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _joined(graph: Graph, boxes: Mapping[int, Box], passing: Sequence[Sequence[Point]]) -> list[list[Point]]:
    """The connections with their ends, which share the side of a box evenly, in the order of where they lead."""
    starts: dict[int, list[tuple[float, int]]] = {}
    ends: dict[int, list[tuple[float, int]]] = {}
    for number, (edge, points) in enumerate(zip(graph.edges, passing, strict=True)):
        src, dst = boxes[edge.src], boxes[edge.dst]
        starts.setdefault(edge.src, []).append((points[0][1] if points else dst.middle_y, number))
        ends.setdefault(edge.dst, []).append((points[-1][1] if points else src.middle_y, number))
    start_y, end_y = _shared(starts, boxes), _shared(ends, boxes)
    return [
        [
            (boxes[edge.src].left + boxes[edge.src].width, start_y[number]),
            *passing[number],
            (boxes[edge.dst].left, end_y[number]),
        ]
        for number, edge in enumerate(graph.edges)
    ]


def _shared(ends: Mapping[int, list[tuple[float, int]]], boxes: Mapping[int, Box]) -> dict[int, float]:
    """The y of each connection's end."""
    return {
        number: boxes[node_id].top + boxes[node_id].height * (i + 1) / (len(own) + 1)
        for node_id, own in ends.items()
        for i, (_, number) in enumerate(sorted(own))
    }


def _middles(graph: Graph, heights: Mapping[Place, float]) -> dict[Place, float]:
    """The y of each place's middle."""
    row_px = max((_height(graph, node) for node in graph.nodes), default=0.0) + _GAP_Y_PX
    return {place: _MARGIN_PX + (height + 0.5) * row_px for place, height in heights.items()}


def _spans(graph: Graph, columns: Mapping[int, int]) -> list[tuple[float, float]]:
    """Where each column begins and ends."""
    spans, left = [], float(_MARGIN_PX)
    for column in range(1 + max(columns.values(), default=0)):
        widths = [_width(_lines(node)) for node in graph.nodes if columns[node.node_id] == column]
        spans.append((left, left + max(widths, default=0.0)))
        left = spans[-1][1] + _GAP_X_PX
    return spans


def _width(lines: Sequence[str]) -> float:
    return max(map(len, lines)) * _LETTER_PX + 2 * _PADDING_PX


def _height(graph: Graph, node: Node) -> float:
    """Enough for the text and for the ends of the connections."""
    leaving = sum(edge.src == node.node_id for edge in graph.edges)
    arriving = sum(edge.dst == node.node_id for edge in graph.edges)
    return max(len(_lines(node)) * _LINE_PX + 2.0 * _PADDING_PX, (max(leaving, arriving) + 1.0) * _LINE_PX)


def _lines(node: Node) -> tuple[str, ...]:
    """What stands in a box."""
    threads = "thread" if node.thread_number == 1 else "threads"
    model = node.configure.get("model_path")
    texts = [f"{node.node_id} {node.name or '?'}", f"{node.thread_number} {threads}"]
    texts += [PurePath(model).name] if isinstance(model, str) else []
    texts += [kind for kind, holds in (("source", node.is_source), ("sink", node.is_sink)) if holds]
    return tuple(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in texts)


def _draw_box(box: Box) -> str:
    fill, stroke = _COLOURS["source" if box.node.is_source else "sink" if box.node.is_sink else ""]
    texts = "".join(
        f'<text x="{box.left + _PADDING_PX:.1f}" y="{box.top + _PADDING_PX + (i + 0.75) * _LINE_PX:.1f}"'
        f"{_HEADING if i == 0 else _DETAIL}>{_text(line)}</text>"
        for i, line in enumerate(box.lines)
    )
    return (
        f'<g><title>{_text(box.node.config_file)}</title><rect x="{box.left:.1f}" y="{box.top:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="6" fill="{fill}" stroke="{stroke}"/>{texts}</g>'
    )


def _draw_edge(edge: Edge, points: Sequence[Point]) -> str:
    """A line through the points, bent between the columns, straight along them; its ports unless both are 0."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for i in range(1, len(points)):
        (x0, y0), (x1, y1) = points[i - 1], points[i]
        if i % 2:
            bend = max(24.0, abs(x1 - x0) / 2)
            path += f" C{x0 + bend:.1f} {y0:.1f} {x1 - bend:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
        else:
            path += f" L{x1:.1f} {y1:.1f}"
    line = f'<path d="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
    if edge.src_port == 0 == edge.dst_port:
        return line
    ends = ((points[0], edge.src_port, 4, "start"), (points[-1], edge.dst_port, -12, "end"))
    return line + "".join(
        f'<text x="{x + shift:.1f}" y="{y - 4:.1f}" font-size="11" fill="#8a4b00" text-anchor="{anchor}">{port}</text>'
        for (x, y), port, shift, anchor in ends
    )


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text))
