"""What is wrong with a graph is said in words, all at once and without false alarms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.check import SOPHGO_ONLY, check, check_channels, require_channels_ok, require_ok
from streamserver.graph.demo import Channel
from tests.graph.builders import Element, build, chain, connection, decode, element, staged

GOOD = [decode(1), element(2, "osd"), element(3, "encode", sink=True)]


def group(element_id: int, inner: list[Any] | None, *, sink: bool = False) -> Element:
    return element(element_id, "yolox_group", inner=inner, sink=sink)


def test_a_good_graph_has_no_problems(tmp_path: Path) -> None:
    assert check(build(tmp_path, GOOD, chain(1, 2, 3)), available={"decode", "osd", "encode"}) == []


def test_several_elements_may_feed_one_port(tmp_path: Path) -> None:
    elements = [decode(1), decode(2), element(3, "blank"), element(4, "http_push", sink=True)]
    assert check(build(tmp_path, elements, [*chain(1, 3, 4), *chain(2, 4)])) == []


def wrong_sink_port() -> Element:
    entry, config = element(2, "encode")
    return {**entry, "ports": {"output": [{"port_id": 1, "is_sink": True}]}}, config


@pytest.mark.parametrize(
    ("elements", "connections", "problems"),
    [
        ([], [], [["no source", "is_src"], ["no sink", "is_sink"]]),
        ([decode(1)], [], [["no sink", "is_sink"]]),
        ([element(1, "encode", sink=True)], [], [["no source", "decode"]]),
        ([*GOOD, element(3, "osd", sink=True)], chain(1, 2, 3), [["element_id 3", "2 times"]]),
        ([decode(1), group(2, None, sink=True)], chain(1, 2), [["element 2 'yolox'", "inner_elements_id", "three"]]),
        ([decode(1), group(2, [7, 8], sink=True)], chain(1, 2), [["element 2", "inner_elements_id"]]),
        ([decode(1), group(2, [7, 8, "9"], sink=True)], chain(1, 2), [["element 2", "inner_elements_id"]]),
        ([decode(1), group(2, [1, 8, 9], sink=True)], chain(1, 2), [["element_id 1", "2 times", "inner"]]),
        (GOOD, [*chain(1, 2, 3), connection(1, 9, src_port=1)], [["connection 1 to 9", "no element 9"]]),
        (
            [decode(1), group(2, [7, 8, 9]), element(3, "encode", sink=True)],
            [*chain(1, 2), *chain(9, 3)],
            [["no element 9", "inside group 2"], ["element 2", "leads nowhere"], ["element 3", "no source leads"]],
        ),
        (
            [*GOOD, element(4, "encode", sink=True)],
            [*chain(1, 2, 3), connection(2, 4)],
            [["element 2", "output port 0", "2 connections"]],
        ),
        ([*GOOD, element(4, "blank")], chain(1, 2, 3, 4), [["element 3 'encode'", "is a sink and"], ["element 4"]]),
        ([*GOOD, element(4, "blank")], [*chain(1, 2, 3), connection(1, 4, src_port=1)], [["4 'blank'", "nowhere"]]),
        ([decode(1), wrong_sink_port()], chain(1, 2), [["element 2 'encode'", "port_id 0, not 1"]]),
        ([*GOOD, element(4, "encode", sink=True)], chain(1, 2, 3), [["element 4 'encode'", "no source leads to it"]]),
        (
            [*GOOD, element(4, "blank")],
            [*chain(1, 2, 3), connection(2, 4, src_port=1), *chain(4, 2)],
            [["elements 2, 4 lead in a circle"]],
        ),
        ([*GOOD, element(4, "blank")], [*chain(1, 2, 3), *chain(4, 4)], [["4", "no source"], ["elements 4", "circle"]]),
    ],
)
def test_a_problem_is_named(
    tmp_path: Path, elements: list[Element], connections: list[dict[str, int]], problems: list[list[str]]
) -> None:
    graph = build(tmp_path, elements, connections)
    found = check(graph)
    assert len(found) == len(problems), found
    for sentence, parts in zip(found, problems, strict=True):
        assert [part for part in parts if part not in sentence] == [], sentence
    with pytest.raises(GraphError) as caught:
        require_ok(graph)
    assert str(caught.value).startswith(f"{tmp_path / 'engine.json'}: graph 0: ")
    assert all(sentence in str(caught.value) for sentence in found)


@pytest.mark.parametrize("name", sorted(SOPHGO_ONLY))
def test_sophgo_hardware_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    graph = build(tmp_path, [decode(1), element(2, name), element(3, "encode", sink=True)], chain(1, 2, 3))
    assert check(graph) == []
    (problem,) = check(graph, available={"decode", "encode"})
    assert problem == f"element 2: name: '{name}' {SOPHGO_ONLY[name]}"


def test_an_unknown_element_is_named_once_with_what_there_is(tmp_path: Path) -> None:
    elements = [decode(1), group(2, [7, 8, 9]), group(3, [10, 11, 12]), element(4, "encode", sink=True)]
    (problem,) = check(build(tmp_path, elements, chain(1, 2, 3, 4)), available={"decode", "encode"})
    assert problem == "element 2, 3: name: 'yolox' is unknown to this engine, which has decode, encode"


def test_missing_stages_count_only_for_our_engine(tmp_path: Path) -> None:
    graph = build(tmp_path, [decode(1), staged(2, "pre", sink=True)], chain(1, 2))
    assert check(graph) == []
    (problem,) = check(graph, available={"decode", "yolox"})
    assert "element 2 'yolox': stage: infer and post must follow" in problem


def channel(graph_id: int = 0, decode_id: int = -1) -> Channel:
    return Channel(channel_id=3, url="a.mp4", source_type="VIDEO", graph_id=graph_id, decode_id=decode_id)


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        (channel(decode_id=1), []),
        (channel(decode_id=4), []),
        (channel(), ["channel 3", "decode_id: -1", "use 1 or 4"]),
        (channel(decode_id=2), ["channel 3", "decode_id: 2 is no source of graph 0"]),
        (channel(graph_id=5), ["channel 3", "graph_id: no graph 5, only 0"]),
    ],
)
def test_a_channel_that_would_never_start_is_named(tmp_path: Path, chosen: Channel, parts: list[str]) -> None:
    graph = build(tmp_path, [*GOOD, decode(4)], [*chain(1, 2, 3), *chain(4, 2)])
    found = check_channels([chosen], [graph])
    assert len(found) == bool(parts)
    assert all(part in found[0] for part in parts)
    if parts:
        with pytest.raises(GraphError, match=r"^demo\.json: channel 3"):
            require_channels_ok([chosen], [graph], file="demo.json")
    else:
        require_channels_ok([chosen], [graph], file="demo.json")


def test_one_source_needs_no_decode_id(tmp_path: Path) -> None:
    assert check_channels([channel()], [build(tmp_path, GOOD, chain(1, 2, 3))]) == []


def test_a_misspelt_group_is_recognised(tmp_path: Path) -> None:
    graph = build(tmp_path, [decode(1), element(2, "lprnet_gruop", sink=True)], chain(1, 2))
    (problem,) = check(graph, available=frozenset({"decode", "lprnet", "yolox"}))
    assert problem == "element 2: name: 'lprnet_gruop' is unknown to this engine; did you mean 'lprnet_group'?"


def test_a_graph_without_a_source_is_not_blamed_on_its_channels(tmp_path: Path) -> None:
    graph = build(tmp_path, [element(1, "decode"), element(2, "http_push", sink=True)], chain(1, 2))
    assert check_channels([channel()], [graph]) == []
    assert any("no source" in problem for problem in check(graph, available=frozenset({"decode", "http_push"})))


@pytest.mark.parametrize(
    ("model_path", "problems"),
    [
        ("oip+grpc://gpu:8001/yolox", []),
        ("../models/yolox.onnx", []),
        (7, []),
        ("oip+grpc://eve:s3cr3t@gpu/a", ["element 2 'yolox'", "configure.model_path", "***@gpu", "port is missing"]),
        (
            "oip+http://gpu:8000/yolox",
            ["configure.model_path", "the scheme 'oip+http'", "write oip+grpc://host:port/model"],
        ),
    ],
    ids=["address", "path", "number", "port", "scheme"],
)
def test_addresses_of_models_are_looked_at_and_not_tried(tmp_path: Path, model_path: Any, problems: list[str]) -> None:
    entry, config = element(2, "yolox", sink=True)
    graph = build(tmp_path, [decode(1), (entry, {**config, "configure": {"model_path": model_path}})], chain(1, 2))
    found = check(graph)
    assert len(found) == bool(problems)
    assert all(word in found[0] for word in problems)
    assert not any("s3cr3t" in said for said in found)
