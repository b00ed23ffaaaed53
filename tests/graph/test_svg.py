"""Drawings of graphs: valid XML, every node and connection in it, nothing on top of anything else."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import pytest

from streamserver.graph.model import Edge, Graph, Node
from streamserver.graph.normalise import sketch
from streamserver.graph.read import read_sample
from streamserver.graph.svg import Box, Plan, draw
from tests.assets import graphs_dir
from tests.graph.test_real_graphs import GRAPH_FILES

SVG = "{http://www.w3.org/2000/svg}"


def graph_of(*edges: tuple[int, int], name: str = "blank") -> Graph:
    ids = sorted({i for edge in edges for i in edge})
    nodes = tuple(Node(node_id=i, name=name, configure={}) for i in ids)
    return Graph(graph_id=0, nodes=nodes, edges=tuple(Edge(src, 0, dst, 0) for src, dst in edges))


def apart(one: Box, other: Box) -> bool:
    beside = one.left + one.width < other.left or other.left + other.width < one.left
    return beside or one.top + one.height < other.top or other.top + other.height < one.top


def expect_readable(graph: Graph) -> None:
    plan = Plan.for_graph(graph)
    for one, other in itertools.combinations(plan.boxes.values(), 2):
        assert apart(one, other), f"{one.node.node_id} touches {other.node.node_id}"
    for edge, way in zip(graph.edges, plan.ways, strict=True):
        for (x0, y0), (x1, y1) in zip(way[1:-1:2], way[2:-1:2], strict=True):
            assert y0 == y1
            for box in plan.boxes.values():
                inside = box.top <= y0 <= box.top + box.height
                assert not inside or max(x0, x1) < box.left or min(x0, x1) > box.left + box.width, (edge, box.node)
    width, height = plan.size_wh
    assert all(box.left > 0 and box.top > 0 for box in plan.boxes.values())
    assert all(box.left + box.width < width and box.top + box.height < height for box in plan.boxes.values())
    root = ET.fromstring(draw(graph))
    assert len(root.findall(f"{SVG}g")) == len(graph.nodes)
    assert len(root.findall(f"{SVG}path")) == len(graph.edges)


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_real_graph_is_drawn_without_overlaps(name: str) -> None:
    sample, file = name.split("/")
    for raw in read_sample(graphs_dir() / sample / "config", f"{file}.json"):
        expect_readable(sketch(raw))


@pytest.mark.parametrize(
    "edges",
    [
        [(1, 2), (2, 3), (1, 3)],
        [(1, 2), (2, 3), (3, 1)],
        [(1, 2), (2, 1), (2, 3)],
        [(1, 5), (2, 5), (3, 5), (4, 5), (5, 6), (1, 6)],
        [(1, i) for i in range(2, 12)] + [(i, 12) for i in range(2, 12)] + [(1, 12)],
        [(i, i + 1) for i in range(1, 400)],
    ],
)
def test_branches_circles_and_long_chains_are_drawn_too(edges: list[tuple[int, int]]) -> None:
    expect_readable(graph_of(*edges))


def test_sources_stand_left_of_what_they_feed() -> None:
    boxes = Plan.for_graph(graph_of((7, 3), (3, 9), (7, 9))).boxes
    assert boxes[7].left < boxes[3].left < boxes[9].left


def test_an_empty_graph_is_an_empty_picture() -> None:
    assert ET.fromstring(draw(Graph(graph_id=3, nodes=(), edges=()))).findtext(f"{SVG}title") == "graph 3"


def test_names_are_text_and_nothing_else() -> None:
    nasty = '<script>alert("1")</script> & \x00\ud800 ' + "long " * 40
    root = ET.fromstring(draw(graph_of((1, 2), name=nasty)))
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert not list(root.iter(f"{SVG}script"))
    assert any(text.startswith('1 <script>alert("1")') for text in texts)
    assert max(map(len, texts)) <= 40
