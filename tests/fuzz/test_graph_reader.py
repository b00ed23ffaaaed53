"""Spoilt graph files: read, checked and normalised, or refused by an error of ours that says where."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streamserver.core.errors import GraphError
from streamserver.graph.check import check
from streamserver.graph.model import RawGraph
from streamserver.graph.normalise import normalise
from streamserver.graph.read import read_graphs, survey_graphs
from streamserver.graph.rewrite import write_graphs
from tests.assets import graphs_dir
from tests.fuzz.changes import changed
from tests.searching import examples


@functools.cache
def _graph_files() -> list[Path]:
    return sorted(graphs_dir().glob("*/config/engine*.json"))


def _find(config: Path, text: str) -> Path:
    """The element's file of the sample, wherever its path leads from."""
    parts = Path(text).parts
    return config.parents[1].joinpath(*parts[-3:]) if len(parts) >= 3 else config / text


@given(data=st.data())
@settings(max_examples=examples(60))
def test_a_spoilt_graph_is_read_or_refused_with_its_place(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(_graph_files()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.json"
        path.write_text(json.dumps(data.draw(changed(json.loads(original.read_bytes())))))
        graphs, errors = survey_graphs(path, functools.partial(_find, original.parent))
        for error in errors:
            assert (isinstance(error, GraphError) and "engine.json" in str(error)) or ".json" in str(error), error
        for graph, whole in graphs:
            if whole and not check(graph):
                _normalise(graph, path)


def _normalise(graph: Any, path: Path) -> None:
    try:
        normalise(graph)
    except GraphError as e:
        assert path.name in str(e) or "element" in str(e), e


@given(data=st.data())
@settings(max_examples=examples(60))
def test_a_spoilt_element_file_is_read_or_refused_with_its_place(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(_graph_files()))
    with tempfile.TemporaryDirectory() as folder:
        spoilt = Path(folder) / "element.json"
        graphs, _ = survey_graphs(original, functools.partial(_find, original.parent))
        names = [element.file for graph, _ in graphs for element in graph.elements if element.name]
        if not names:
            return
        spoilt.write_text(
            json.dumps(data.draw(changed(json.loads(Path(data.draw(st.sampled_from(names))).read_bytes()))))
        )
        graphs, errors = survey_graphs(original, lambda text: spoilt)
        assert all("element.json" in str(error) for error in errors)
        for graph, whole in graphs:
            if whole and not check(graph):
                _normalise(graph, original)


def test_every_graph_that_is_written_reads_as_itself(tmp_path: Path) -> None:
    count = 0
    for original in _graph_files():
        graphs, errors = survey_graphs(original, functools.partial(_find, original.parent))
        if errors or not graphs:
            continue
        first = _written([graph for graph, _ in graphs], tmp_path / str(count))
        again = _written(first, tmp_path / f"{count} again")
        assert [_content(graph) for graph in again] == [_content(graph) for graph in first]
        count += 1
    assert count > 20


def _content(graph: Any) -> Any:
    return graph.graph_id, [(element.element_id, element.name, element.configure) for element in graph.elements]


def _written(graphs: Sequence[RawGraph], folder: Path) -> list[RawGraph]:
    return read_graphs(write_graphs(graphs, folder), folder)
