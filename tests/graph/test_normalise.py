"""Groups and triples become the same node."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.model import Edge, Graph
from streamserver.graph.normalise import normalise
from tests.graph.builders import Element, build, chain, connection, decode, element, staged

TRACKER = element(9, "bytetrack", sink=True)


def normal(folder: Path, elements: list[Element], connections: list[dict[str, int]]) -> Graph:
    return normalise(build(folder, elements, connections))


@pytest.mark.parametrize(
    ("elements", "members"),
    [
        ([element(2, "yolox_group", inner=[20, 21, 22], configure={"model_path": "m"})], (2, 20, 21, 22)),
        ([staged(2, "pre"), staged(3, "infer", model_path="m"), staged(4, "post")], (2, 3, 4)),
        ([staged(2, "infer", "pre", model_path="m"), staged(3, "post")], (2, 3)),
        ([staged(2, "pre"), staged(3, "post", "infer", model_path="m")], (2, 3)),
        ([staged(2, "post", "pre", "infer", model_path="m")], (2,)),
        ([element(2, "yolox", configure={"model_path": "m"})], (2,)),
    ],
)
def test_every_form_of_a_detector_becomes_one_node(
    tmp_path: Path, elements: list[Element], members: tuple[int, ...]
) -> None:
    ids = [entry["element_id"] for entry, _ in elements]
    graph = normal(tmp_path, [decode(1), *elements, TRACKER], chain(1, *ids, 9))
    assert [(node.node_id, node.name) for node in graph.nodes] == [(1, "decode"), (2, "yolox"), (9, "bytetrack")]
    assert graph.edges == (Edge(1, 0, 2, 0), Edge(2, 0, 9, 0))
    assert graph.node(2).configure == {"model_path": "m"}
    assert graph.node(2).members == members
    assert [node.is_source for node in graph.nodes] == [True, False, False]
    assert [node.is_sink for node in graph.nodes] == [False, False, True]


def test_each_stage_decides_about_the_keys_that_it_uses(tmp_path: Path) -> None:
    pre = staged(2, "pre", mean=[1], std=[1], model_path="pre", threshold_conf=0.1, only_pre=1)
    infer = staged(3, "infer", mean=[2], std=[2], model_path="infer", threshold_conf=0.2)
    post = staged(4, "post", mean=[3], model_path="post", threshold_conf=0.3, roi={"left": 1}, sink=True)
    graph = normal(tmp_path, [decode(1), pre, infer, post], chain(1, 2, 3, 4))
    assert graph.node(2).configure == {
        "mean": [1],
        "std": [1],
        "model_path": "infer",
        "threshold_conf": 0.3,
        "only_pre": 1,
        "roi": {"left": 1},
    }
    assert graph.node(2).is_sink
    assert graph.node(2).config_file == ", ".join(str(tmp_path / f"e{i}.json") for i in (1, 2, 3))


def test_the_widest_stage_gives_the_threads(tmp_path: Path) -> None:
    pre = element(2, "yolox", threads=2, configure={"stage": ["pre"]})
    rest = element(3, "yolox", threads=4, sink=True, configure={"stage": ["infer", "post"]})
    assert normal(tmp_path, [decode(1), pre, rest], chain(1, 2, 3)).node(2).thread_number == 4


def test_two_connections_between_two_stages_vanish_together(tmp_path: Path) -> None:
    stages = [staged(3, "pre", name="stereo"), staged(4, "infer", "post", name="stereo", sink=True)]
    links = [connection(1, 3), connection(2, 3, dst_port=1), connection(3, 4), connection(3, 4, src_port=1, dst_port=1)]
    graph = normal(tmp_path, [decode(1), decode(2), *stages], links)
    assert graph.edges == (Edge(1, 0, 3, 0), Edge(2, 0, 3, 1))


def test_two_triples_of_one_name_stay_two_nodes(tmp_path: Path) -> None:
    first = [staged(2, "pre"), staged(3, "infer"), staged(4, "post")]
    second = [staged(5, "pre"), staged(6, "infer"), staged(7, "post", sink=True)]
    graph = normal(tmp_path, [decode(1), *first, *second], chain(1, 2, 3, 4, 5, 6, 7))
    assert [node.members for node in graph.nodes] == [(1,), (2, 3, 4), (5, 6, 7)]


@pytest.mark.parametrize(
    ("elements", "parts"),
    [
        ([staged(2, "pre", sink=True)], ["element 2 'yolox'", "infer and post must follow", "nothing"]),
        ([staged(2, "pre"), staged(3, "infer", sink=True)], ["element 3 'yolox'", "post must follow"]),
        ([staged(2, "infer"), staged(3, "post", sink=True)], ["element 2", "infer does not follow", "element 3"]),
        (
            [staged(2, "pre"), element(3, "osd"), staged(4, "infer", "post", sink=True)],
            ["element 2", "what follows is 3 'osd'", "element 4", "infer and post does not follow"],
        ),
        (
            [staged(2, "pre"), staged(3, "infer", "post", name="yolov5", sink=True)],
            ["element 2 'yolox'", "what follows is 3 'yolov5'"],
        ),
        ([staged(2, "pre", "infer"), staged(3, "infer", "post", sink=True)], ["element 2", "post must follow"]),
        ([staged(2, "xxx", sink=True)], ["element 2", 'stage: ["xxx"]', "yolox_group"]),
        ([staged(2, "pre", "post"), staged(3, "infer", sink=True)], ["element 2", '["pre", "post"]']),
        ([staged(2, sink=True)], ["element 2", "stage: []"]),
        ([element(2, "yolox", sink=True, configure={"stage": "pre"})], ["element 2", 'stage: "pre"']),
        ([element(2, "yolox", sink=True, configure={"stage": [["pre"]]})], ["element 2", 'stage: [["pre"]]']),
    ],
)
def test_stages_that_do_not_add_up_are_named(tmp_path: Path, elements: list[Element], parts: list[str]) -> None:
    ids = [entry["element_id"] for entry, _ in elements]
    with pytest.raises(GraphError) as caught:
        normal(tmp_path, [decode(1), *elements], chain(1, *ids))
    assert [part for part in [str(tmp_path), *parts] if part not in str(caught.value)] == []


def test_a_stage_that_a_stranger_feeds_too_is_no_part_of_a_triple(tmp_path: Path) -> None:
    elements = [decode(1), decode(5), staged(2, "pre"), staged(3, "infer", "post", sink=True)]
    with pytest.raises(GraphError, match="fed by nothing else"):
        normal(tmp_path, elements, [*chain(1, 2, 3), *chain(5, 3)])


def test_a_broken_graph_is_refused_before_it_is_looked_into(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no sink"):
        normal(tmp_path, [decode(1)], [])


def test_a_channel_finds_its_source(tmp_path: Path) -> None:
    one = normal(tmp_path, [decode(1), TRACKER], chain(1, 9))
    assert one.source(-1).node_id == one.source(1).node_id == 1
    two = normal(tmp_path, [decode(1), decode(2), TRACKER], [*chain(1, 9), *chain(2, 9)])
    assert two.source(2).node_id == 2
    for graph, decode_id in ((two, -1), (two, 9), (one, 9)):
        with pytest.raises(GraphError, match=f"decode_id {decode_id}"):
            graph.source(decode_id)
    with pytest.raises(KeyError):
        one.node(7)
