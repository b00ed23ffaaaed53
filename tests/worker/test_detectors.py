from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.graph.model import Edge, Graph, Node
from streamserver.worker.detectors import CONTENT_WITH_BOXES, REPLACEABLE, choose_detectors


def graph_of(*names: str) -> Graph:
    nodes = tuple(
        Node(node_id=i, name=name, configure={"model_path": f"{name}.onnx"}, members=(i,))
        for i, name in enumerate(names)
    )
    return Graph(graph_id=0, nodes=nodes, edges=())


def found(name: str) -> str:
    return name


def missing(name: str) -> str:
    raise ModelNotFoundError(f"model '{name}' is nowhere", cure="run fetch")


def broken(name: str) -> str:
    raise ModelError(f"model '{name}' has another checksum")


def forbidden(name: str) -> str:
    raise AssertionError("nobody should look for weights")


ALL = REPLACEABLE | {"decode", "bytetrack", "motion"}


@pytest.mark.parametrize(
    ("mode", "available", "find", "name", "warning"),
    [
        ("auto", ALL, found, "yolox", ""),
        ("auto", ALL, missing, "motion", "model 'yolox.onnx' is nowhere; run fetch"),
        ("auto", ALL, broken, "motion", "has another checksum"),
        ("auto", ALL - {"yolox"}, forbidden, "motion", "has no element 'yolox'"),
        ("motion", ALL, forbidden, "motion", ""),
        ("model", ALL, forbidden, "yolox", ""),
        ("", ALL, forbidden, "yolox", ""),
    ],
)
def test_which_detector_runs(
    mode: str, available: frozenset[str], find: Callable[[str], object], name: str, warning: str
) -> None:
    graph = graph_of("decode", "yolox", "bytetrack")
    choice = choose_detectors([graph], mode, available=available, find_weights=find)
    assert [node.name for node in choice.graphs[0].nodes] == ["decode", name, "bytetrack"]
    assert [node.node_id for node in choice.graphs[0].nodes] == [0, 1, 2]
    assert len(choice.warnings) == bool(warning)
    assert all(warning in text for text in choice.warnings)
    assert choice.replaced == (frozenset({"yolox"}) if name == "motion" else frozenset())


def test_every_detector_family_can_be_replaced() -> None:
    graph = graph_of("decode", *sorted(REPLACEABLE))
    choice = choose_detectors([graph, graph], "motion", available=ALL, find_weights=forbidden)
    for chosen in choice.graphs:
        assert [node.name for node in chosen.nodes] == ["decode", *["motion"] * 4]
    assert choice.replaced == REPLACEABLE


def test_a_detector_without_model_path_is_left_to_complain_itself() -> None:
    node = Node(node_id=1, name="yolox", configure={}, members=(1,))
    graph = Graph(graph_id=0, nodes=(node,), edges=())
    assert choose_detectors([graph], "auto", available=ALL, find_weights=forbidden).graphs == (graph,)


def line_of(*nodes: Node) -> Graph:
    edges = tuple(Edge(one.node_id, 0, next_.node_id, 0) for one, next_ in itertools.pairwise(nodes))
    return Graph(graph_id=0, nodes=nodes, edges=edges)


def node(node_id: int, name: str, **configure: str) -> Node:
    return Node(node_id=node_id, name=name, configure={"model_path": "m.onnx", **configure}, members=(node_id,))


@pytest.mark.parametrize("reader", ["distributor", "lprnet", "fastpose", "resnet"])
@pytest.mark.parametrize("mode", ["auto", "motion"])
def test_motion_takes_no_place_before_an_element_that_looks_into_the_boxes(reader: str, mode: str) -> None:
    graph = line_of(node(1, "decode"), node(2, "yolov5"), node(3, "bytetrack"), node(4, reader), node(5, "http_push"))
    choice = choose_detectors([graph], mode, available=ALL | {"yolov5"}, find_weights=missing)
    assert choice.graphs == (graph,)
    assert choice.replaced == frozenset()
    assert choice.warnings == (
        f"element 2 'yolov5': motion detection cannot take its place: element 4 '{reader}' looks at what was found, "
        "not only where",
    )


def test_a_reader_on_another_branch_keeps_nobody_from_being_replaced() -> None:
    nodes = [node(1, "distributor"), node(2, "yolov8"), node(3, "lprnet"), node(4, "converger"), node(5, "encode")]
    edges = (Edge(1, 0, 4, 0), Edge(1, 1, 2, 0), Edge(1, 2, 3, 0), Edge(2, 0, 4, 1), Edge(3, 0, 4, 2), Edge(4, 0, 5, 0))
    graph = Graph(graph_id=0, nodes=tuple(nodes), edges=edges)
    choice = choose_detectors([graph], "auto", available=ALL, find_weights=missing)
    assert [node.name for node in choice.graphs[0].nodes] == ["distributor", "motion", "lprnet", "converger", "encode"]


def test_a_pose_or_a_class_is_nothing_that_motion_could_find() -> None:
    graph = line_of(node(1, "decode"), node(2, "yolov8", task_type="Pose"), node(3, "http_push"))
    choice = choose_detectors([graph], "auto", available=ALL, find_weights=missing)
    assert choice.graphs == (graph,)
    assert "its task is Pose" in choice.warnings[0]


def test_graphs_of_users_who_look_at_boxes_only_are_content_with_motion() -> None:
    assert choose_detectors(
        [line_of(node(1, "yolox"), *(node(i, name) for i, name in enumerate(sorted(CONTENT_WITH_BOXES), 2)))],
        "motion", available=ALL, find_weights=forbidden,
    ).warnings == ()  # fmt: skip
