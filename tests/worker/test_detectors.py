from __future__ import annotations

from collections.abc import Callable

import pytest

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.graph.model import Graph, Node
from streamserver.worker.detectors import REPLACEABLE, choose_detectors


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
