"""Graph files: everything that makes sophon-stream crash or exit gets a message instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.read import read_graphs, read_sample, resolve, sample_base_dir, sample_file
from tests.graph.builders import chain, decode, element, write

ENTRY = {"element_id": 1, "element_config": "e.json"}
LINK = {"src_element_id": 1, "src_port": 0, "dst_element_id": 2, "dst_port": 0}


def graph(**keys: Any) -> dict[str, Any]:
    return {"graph_id": 0, "device_id": 0, "elements": [ENTRY], "connections": [], **keys}


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


def read(folder: Path, content: Any, config: Any = None) -> Any:
    (folder / "engine.json").write_text(json.dumps(content))
    (folder / "e.json").write_text(json.dumps({"name": "decode", "configure": {}} if config is None else config))
    return read_graphs(folder / "engine.json", folder)


def test_nothing_is_lost(tmp_path: Path) -> None:
    entry = {**ENTRY, "note": "ours", "ports": {"input": [{"port_id": 0, "is_src": True}], "output": []}}
    config = {"name": "x", "configure": {"a": [1, {"b": None}]}, "side": "sophgo", "device_id": 4, "id": 9}
    content = graph(graph_name="g", colour="red", elements=[entry], connections=[{**LINK, "weight": 2}])
    (raw,) = read(tmp_path, [content], config)
    assert {**raw.data, "elements": [raw.elements[0].entry], "connections": list(raw.connections)} == content
    assert raw.elements[0].config == config


def test_a_missing_device_id_is_filled_in_because_sophon_stream_needs_one(tmp_path: Path) -> None:
    (raw,) = read(tmp_path, [without(graph(), "device_id")])
    assert raw.data["device_id"] == 0


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({}, ["expected an array"]),
        ([], ["at least one graph"]),
        (["x"], ["[0]", "expected an object"]),
        ([without(graph(), "graph_id")], ["[0]", "graph_id", "is missing"]),
        ([graph(graph_id="1")], ["graph_id", "expected a number", '"1"']),
        ([graph(device_id=[])], ["device_id", "expected a number"]),
        ([without(graph(), "elements")], ["graph 0", "elements", "is missing"]),
        ([without(graph(), "connections")], ["graph 0", "connections", "is missing"]),
        ([graph(), graph()], ["graph 0", "graph_id is there twice"]),
        ([graph(elements=[5])], ["elements[0]", "expected an object"]),
        ([graph(elements=[without(ENTRY, "element_id")])], ["elements[0]", "element_id", "is missing"]),
        ([graph(elements=[without(ENTRY, "element_config")])], ["element 1", "element_config", "is missing"]),
        ([graph(elements=[{**ENTRY, "element_config": "no.json"}])], ["element 1", "element_config", "no.json"]),
        ([graph(elements=[{**ENTRY, "element_config": "x" * 5000}])], ["element 1", "element_config"]),
        ([graph(elements=[{**ENTRY, "element_config": "\0"}])], ["element 1", "element_config"]),
        ([graph(elements=[{**ENTRY, "ports": []}])], ["element 1", "ports", "expected an object"]),
        ([graph(elements=[{**ENTRY, "ports": {"input": [{}]}}])], ["ports.input[0]", "is_src", "is missing"]),
        (
            [graph(elements=[{**ENTRY, "ports": {"output": [{"is_sink": 1}]}}])],
            ["element 1", "ports.output[0]", "is_sink", "true or false"],
        ),
        (
            [graph(elements=[{**ENTRY, "ports": {"output": [{"is_sink": True}]}}])],
            ["ports.output[0]", "port_id", "is missing"],
        ),
        ([graph(connections=[without(LINK, "dst_port")])], ["connections[0]", "dst_port", "is missing"]),
        ([graph(connections=[{**LINK, "src_port": True}])], ["connections[0]", "src_port", "true"]),
    ],
)
def test_a_wrong_graph_file_is_refused_by_place(tmp_path: Path, content: Any, parts: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        read(tmp_path, content)
    assert [part for part in ["engine.json", *parts] if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ([], ["expected an object"]),
        ({"configure": {}}, ["name", "is missing"]),
        ({"name": 7}, ["name", "expected a text", "7"]),
        ({"name": "x", "configure": []}, ["'x'", "configure", "expected an object"]),
        ({"name": "x", "thread_number": 0}, ["'x'", "thread_number", "1 or more"]),
        ({"name": "x", "thread_number": "4"}, ["'x'", "thread_number", '"4"']),
    ],
)
def test_a_wrong_element_file_is_refused_by_key(tmp_path: Path, config: Any, parts: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        read(tmp_path, [graph()], config)
    assert [part for part in [f"{tmp_path / 'e.json'}: element 1", *parts] if part not in str(caught.value)] == []


def test_an_element_file_that_is_not_json_names_both_files(tmp_path: Path) -> None:
    path = write(tmp_path, [decode()], [])
    (tmp_path / "e0.json").write_text("{,}")
    with pytest.raises(GraphError) as caught:
        read_graphs(path, tmp_path)
    assert all(part in str(caught.value) for part in [str(path), "element 1", str(tmp_path / "e0.json"), "not JSON"])


def sample(folder: Path, name: str, *, called: str = "") -> Path:
    """A sample's config folder whose files say that they lie in ``samples/<called>``."""
    config_dir = folder / "samples" / name / "config"
    config_dir.mkdir(parents=True)
    path = write(config_dir, [decode(), element(2, "yolox_group", sink=True, inner=[3, 4, 5])], chain(1, 2))
    content = json.loads(path.read_text())
    for entry in content[0]["elements"]:
        entry["element_config"] = f"../{called or name}/config/{entry['element_config']}"
    (config_dir / "engine_group.json").write_text(json.dumps(content))
    return config_dir


def test_a_sample_is_read_though_its_build_folder_is_not_there(tmp_path: Path) -> None:
    config_dir = sample(tmp_path, "tripwire")
    by_folder = read_sample(config_dir)
    by_base = read_graphs(config_dir / "engine_group.json", tmp_path / "samples" / "build")
    assert by_folder == by_base
    assert [Path(item.file).parent for item in by_folder[0].elements] == [config_dir, config_dir]


def test_a_renamed_copy_of_a_sample_finds_its_own_files(tmp_path: Path) -> None:
    config_dir = sample(tmp_path, "mine", called="tripwire")
    assert [Path(item.file).parent for item in read_sample(config_dir)[0].elements] == [config_dir, config_dir]


def test_a_sample_may_use_the_files_of_its_neighbour(tmp_path: Path) -> None:
    neighbour = sample(tmp_path, "tripwire")
    config_dir = sample(tmp_path, "mine", called="tripwire")
    assert sample_file(config_dir, "../tripwire/config/e0.json") == neighbour / "e0.json"


def test_a_relative_config_folder_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_dir = sample(tmp_path, "tripwire")
    monkeypatch.chdir(config_dir)
    assert sample_base_dir(Path(".")) == tmp_path / "samples" / "build"
    assert read_sample(Path("."))[0].graph_id == 0


def test_a_link_in_the_way_is_followed_before_going_up(tmp_path: Path) -> None:
    (tmp_path / "real" / "build").mkdir(parents=True)
    (tmp_path / "build").symlink_to(tmp_path / "real" / "build")
    assert resolve(tmp_path / "build", "../a.json") == tmp_path / "real" / "a.json"
