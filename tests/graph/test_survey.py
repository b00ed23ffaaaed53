"""Reading for people who look for errors: everything that is wrong is said at once, and the rest is still read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.check import check
from streamserver.graph.demo import survey_demo
from streamserver.graph.model import RawGraph
from streamserver.graph.normalise import sketch
from streamserver.graph.read import read_graphs, resolve, survey_graphs
from tests.graph.builders import build, chain, connection, decode, element, staged, write

GOOD = [decode(1), element(2, "osd"), element(3, "encode", sink=True)]


def survey(path: Path) -> tuple[list[tuple[RawGraph, bool]], list[str]]:
    graphs, errors = survey_graphs(path, lambda text: resolve(path.parent, text))
    return graphs, [str(error) for error in errors]


def test_a_good_file_is_read_as_the_engine_reads_it(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, chain(1, 2, 3))
    assert survey(path) == ([(read_graphs(path, tmp_path)[0], True)], [])


def test_every_element_and_connection_at_fault_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, chain(1, 2, 3))
    content = json.loads(path.read_text())
    content[0]["elements"] += [{"element_config": "e0.json"}, {"element_id": 5, "element_config": "no.json"}]
    content[0]["connections"] += [{"src_element_id": 1}, "x", connection(1, 2, src_port=-1)]
    path.write_text(json.dumps(content))
    (tmp_path / "e1.json").write_text('{"name": "osd", "thread_number": 0}')
    (tmp_path / "e2.json").write_text('{"configure": 1')
    ((graph, whole),), errors = survey(path)
    expected = [
        "e1.json: element 2 'osd': thread_number: 0 is too small",
        "elements[2]: element 3: element_config:",
        "elements[3]: element_id: is missing",
        "elements[4]: element 5: element_config:",
        "connections[2]: src_port: is missing",
        "connections[3]: expected an object",
        "connections[4]: src_port: -1 is too small",
    ]
    assert len(errors) == len(expected)
    assert all(part in error for part, error in zip(expected, errors, strict=True)), errors
    assert not whole
    assert [(e.element_id, e.readable) for e in graph.elements] == [(1, True), (2, False), (3, False), (5, False)]
    with pytest.raises(GraphError, match="thread_number"):
        read_graphs(path, tmp_path)


def test_an_unreadable_element_file_does_not_hide_how_the_graph_hangs_together(tmp_path: Path) -> None:
    path = write(tmp_path, [*GOOD, element(4, "blank")], chain(1, 2, 3))
    (tmp_path / "e1.json").write_text("{}")
    ((graph, whole),), errors = survey(path)
    assert whole
    assert len(errors) == 1
    problems = check(graph, available={"decode", "encode", "blank"})
    assert [problem.split(":")[0] for problem in problems] == ["element 4 'blank'", "element 4 'blank'"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '"x"', "[1", "[NaN]", '{"elements": []}'])
def test_a_file_that_is_no_graph_is_one_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(content)
    graphs, errors = survey(path)
    assert graphs == []
    assert len(errors) == 1
    assert errors[0].startswith(str(path))


def test_of_two_graphs_with_one_id_the_first_counts(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, chain(1, 2, 3))
    path.write_text(json.dumps(json.loads(path.read_text()) * 2))
    graphs, errors = survey(path)
    assert len(graphs) == 1
    assert "graph_id is there twice" in errors[0]


def test_a_sketch_shows_what_there_is_of_a_broken_graph(tmp_path: Path) -> None:
    elements = [decode(1), staged(2, "pre"), staged(3, "post"), element(3, "osd"), element(4, "blank")]
    graph = sketch(build(tmp_path, elements, [*chain(1, 2, 3), *chain(4, 4), *chain(3, 9)]))
    assert [(node.node_id, node.name) for node in graph.nodes] == [
        (1, "decode"),
        (2, "yolox"),
        (3, "yolox"),
        (4, "blank"),
    ]
    assert [(edge.src, edge.dst) for edge in graph.edges] == [(1, 2), (2, 3)]


def demo(path: Path, channels: Any, **others: Any) -> Path:
    path.write_text(json.dumps({"channels": channels, "engine_config_path": "engine.json", **others}))
    return path


def test_every_channel_at_fault_is_named(tmp_path: Path) -> None:
    good = {"url": "a.mp4", "source_type": "VIDEO"}
    path = demo(tmp_path / "demo.json", [good, {}, {**good, "fps": 0}, {**good, "channel_id": 7}], detector="x")
    found, engine_path, errors = survey_demo(path)
    assert found is None
    assert engine_path == "engine.json"
    keys = ["channels[1]: url", "channels[2]: fps", "detector"]
    assert [key in str(error) for key, error in zip(keys, errors, strict=True)] == [True] * 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"channels": 1}'])
def test_a_file_that_is_no_demo_is_one_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    found, engine_path, errors = survey_demo(tmp_path / "demo.json")
    assert (found, engine_path, len(errors)) == (None, "", 1)
