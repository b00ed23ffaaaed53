"""sophon-stream's own graphs: each is read, rewritten, checked, written and read again; the odd ones are named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.check import SOPHGO_ONLY, check, check_channels
from streamserver.graph.demo import read_demo, write_demo
from streamserver.graph.fields import load_json
from streamserver.graph.model import DETECTORS, RawGraph
from streamserver.graph.normalise import normalise
from streamserver.graph.read import read_graphs, read_sample, sample_base_dir, sample_file
from streamserver.graph.rewrite import PushTarget, absolutise, add_sinks, apply_overrides, renumber, write_graphs
from tests.assets import graphs_dir
from tests.graph.builders import named

GRAPH_FILES = [
    "bird_dwa_blend_encode/engine",
    "bytetrack/engine",
    "dwa_blend_encode/engine",
    "dwa_dpu_encode/engine_dwa_dpu_ive_resize",
    "dwa_lightstereo_encode/engine",
    "gdwa_blend_encode/engine_dwa_blend_resize",
    "license_area_intrusion/engine_group",
    "license_plate_recognition/engine",
    "license_plate_recognition/engine_group",
    "line_crossing/engine_group",
    "multi_graph/engine",
    "openpose/engine",
    "openpose/engine_group",
    "ppocr/engine_group",
    "resnet/engine",
    "retinaface/engine",
    "retinaface/engine_group",
    "retinaface_distributor_resnet_faiss_converger/engine",
    "retinaface_distributor_resnet_faiss_converger/engine_group",
    "structured_recognition/engine_group",
    "trinocular_panorama_stitch/engine",
    "trinocular_panorama_stitch/engine_resize",
    "tripwire/engine_group",
    "yolov5/engine",
    "yolov5/engine_group",
    "yolov5_bytetrack_distributor_resnet_converger/engine",
    "yolov5_bytetrack_distributor_resnet_converger/engine_group",
    "yolov5_fastpose_posec3d/engine",
    "yolov5_fastpose_posec3d/engine_group",
    "yolov5_fastpose_posec3d/engine_group_alphapose",
    "yolov7/engine_group",
    "yolov8/engine_group",
    "yolov8_obb/engine_obb_group",
    "yolov8_obb/engine_obb_group_encode",
    "yolox/engine",
    "yolox/engine_group",
    "yolox_bytetrack_osd_encode/engine",
    "yolox_bytetrack_osd_encode/engine_group",
    "yolox_bytetrack_osd_qt/engine_group",
]

PUSH = PushTarget(ip="127.0.0.1", port=10001, path="/flask_test/0", extra={"pictures": "on_demand"})
FILTERS = [{"type": 2, "classes": [0], "areas": [], "times": []}]
HALF_A_TRIPLE = "yolov5_fastpose_posec3d/engine"


def folder_of(name: str) -> Path:
    return graphs_dir() / name.split("/")[0] / "config"


def graphs(name: str) -> list[RawGraph]:
    return read_sample(folder_of(name), f"{name.split('/')[1]}.json")


def fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def essence(graph: RawGraph) -> Any:
    """All of a graph but the names of its element files."""
    entries = [{**item.entry, "element_config": ""} for item in graph.elements]
    return graph.data, entries, [item.config for item in graph.elements], list(graph.connections)


def test_these_are_all_graphs() -> None:
    found = {
        f"{path.parents[1].name}/{path.stem}"
        for path in graphs_dir().glob("*/config/*.json")
        if isinstance(content := load_json(path), list) and "graph_id" in content[0]
    }
    assert found == set(GRAPH_FILES)
    assert sum(len(graphs(name)) for name in GRAPH_FILES) == 40


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_real_graph_survives_the_whole_way(tmp_path: Path, name: str) -> None:
    before = fingerprint(folder_of(name))
    originals = graphs(name)
    rewritten = []
    for index, original in enumerate(originals):
        assert check(original) == []
        graph = add_sinks(original, filters=FILTERS, channel_id=5, push=PUSH)
        rewritten.append(renumber(absolutise(graph, sample_base_dir(folder_of(name))), index + 3))
        expect_filtered_push(original, graph)
    again = read_graphs(write_graphs(rewritten, tmp_path), tmp_path)
    assert [essence(graph) for graph in again] == [essence(graph) for graph in rewritten]
    assert [problem for graph in again for problem in check(graph)] == []
    assert read_graphs(write_graphs(again, tmp_path), tmp_path) == again
    assert originals == graphs(name)
    assert fingerprint(folder_of(name)) == before


def expect_filtered_push(original: RawGraph, graph: RawGraph) -> None:
    """One push, which is the only sink, with one filter in front, and everything else as it was."""
    (push,), (filter_,) = named(graph, "http_push"), named(graph, "filter")
    assert [item.element_id for item in graph.sinks] == [push.element_id]
    assert {**push.configure, **PUSH.to_json()} == push.configure
    assert filter_.configure["rules"][-1] == {"channel_id": 5, "filters": FILTERS}
    ids = [i for item in graph.elements for i in (item.element_id, *item.inner_ids)]
    assert len(set(ids)) == len(ids)
    assert [item.element_id for item in graph.sources] == [item.element_id for item in original.sources]
    kept = {item.element_id: item for item in graph.elements}
    for item in original.elements:
        assert kept[item.element_id].entry.get("ports", {}).get("input") == item.entry.get("ports", {}).get("input")
        if item.name not in ("filter", "http_push"):
            assert kept[item.element_id].config == item.config
    former = {item.element_id for item in original.sinks} - {push.element_id}
    assert all(before_push(graph, sink) for sink in former)


def before_push(graph: RawGraph, element_id: int) -> bool:
    """True if frames of the element reach the push through nothing but the elements that were appended."""
    names = {item.element_id: item.name for item in graph.elements}
    (step,) = [edge.dst for edge in graph.edges if edge.src == element_id]
    return names[step] == "http_push" or (names[step] == "filter" and before_push(graph, step))


@pytest.mark.parametrize("name", [name for name in GRAPH_FILES if name != HALF_A_TRIPLE])
def test_a_real_graph_becomes_whole_nodes(name: str) -> None:
    for raw in graphs(name):
        graph = normalise(raw)
        members = [i for node in graph.nodes for i in node.members]
        assert sorted(members) == sorted(i for e in raw.elements for i in (e.element_id, *e.inner_ids))
        assert all("stage" not in node.configure and not node.name.endswith("_group") for node in graph.nodes)
        known = {node.node_id for node in graph.nodes}
        assert all(edge.src in known and edge.dst in known and edge.src != edge.dst for edge in graph.edges)
        sources = [node.node_id for node in graph.nodes if node.is_source]
        assert sources == [item.element_id for item in raw.sources]
        assert sum(node.is_sink for node in graph.nodes) == len(raw.sinks)


PAIRS = [name for name in GRAPH_FILES if f"{name}_group" in GRAPH_FILES and name != HALF_A_TRIPLE]


@pytest.mark.parametrize("name", PAIRS)
def test_the_triple_and_the_group_form_of_a_sample_are_the_same_graph(name: str) -> None:
    assert len(PAIRS) == 8
    (triple,), (group,) = (map(normalise, graphs(form)) for form in (name, f"{name}_group"))
    assert [(node.node_id, node.name) for node in triple.nodes] == [(node.node_id, node.name) for node in group.nodes]
    assert set(triple.edges) == set(group.edges)


def test_the_triple_and_the_group_of_yolox_prepare_the_picture_differently() -> None:
    (triple,), (group,) = (map(normalise, graphs(name)) for name in ("yolox/engine", "yolox/engine_group"))
    assert triple.node(5001).configure["std"] == [1, 1, 1]
    assert group.node(5001).configure["std"] == [0.0039216, 0.0039216, 0.0039216]


def test_where_the_stages_of_a_triple_disagree_the_one_concerned_wins() -> None:
    (graph,) = map(normalise, graphs("retinaface_distributor_resnet_faiss_converger/engine"))
    assert graph.node(5001).configure["max_face_count"] == 1
    (plates,) = map(normalise, graphs("license_plate_recognition/engine"))
    assert plates.node(5001).configure["class_names_file"] == "../license_plate_recognition/data/coco.names"


def test_a_triple_of_which_two_thirds_are_missing_is_named() -> None:
    (raw,) = graphs(HALF_A_TRIPLE)
    assert check(raw) == []
    with pytest.raises(GraphError, match="element 7001 'posec3d': stage: infer and post must follow"):
        normalise(raw)


def test_a_stage_that_is_none_is_named() -> None:
    (raw,) = graphs("yolox/engine")
    odd = load_json(folder_of("yolox/engine") / "yolox_classthresh_roi_example.json")
    with pytest.raises(GraphError, match=r'element 5001 .yolox.: stage: \["xxx"\] is none'):
        normalise(apply_overrides(raw, {"yolox": odd["configure"]}))


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_an_engine_without_sophgo_hardware_refuses_what_needs_it_and_nothing_else(name: str) -> None:
    portable = {item.name for file in GRAPH_FILES for g in graphs(file) for item in g.elements} - set(SOPHGO_ONLY)
    for raw in graphs(name):
        needs = {item.name for item in raw.elements} & set(SOPHGO_ONLY)
        problems = [p for p in check(raw, available=portable) if "stage:" not in p]
        assert len(problems) == len(needs)
        assert all(SOPHGO_ONLY[item] in " ".join(problems) for item in needs)


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_the_detector_override_reaches_every_detector_of_a_real_graph(name: str) -> None:
    for raw in graphs(name):
        changed = apply_overrides(raw, {"*detector": {"threshold_conf": 0.25}})
        for item, old in zip(changed.elements, raw.elements, strict=True):
            expected = {"threshold_conf": 0.25} if item.name in DETECTORS else {}
            assert item.configure == {**old.configure, **expected}


def demos() -> Iterator[Path]:
    for path in sorted(graphs_dir().glob("*/config/*.json")):
        content = load_json(path)
        if isinstance(content, dict) and "channels" in content:
            yield path


def test_every_demo_is_read_and_written_without_loss(tmp_path: Path) -> None:
    paths = list(demos())
    assert len(paths) == 32
    for path in paths:
        demo = read_demo(path)
        write_demo(demo, tmp_path / "demo.json")
        assert read_demo(tmp_path / "demo.json") == demo
        original, written = load_json(path), load_json(tmp_path / "demo.json")
        channels = zip(original.pop("channels"), written.pop("channels"), strict=True)
        assert original.items() <= {"download_image": False, **written}.items()
        assert all({**new, **old} == new for old, new in channels)


def test_every_demo_finds_its_graph_but_one() -> None:
    missing = []
    for path in demos():
        demo = read_demo(path)
        engine = sample_file(path.parent, demo.engine_config_path)
        try:
            found = read_graphs(engine, sample_base_dir(path.parent))
        except GraphError as e:
            missing.append(str(e))
            continue
        assert check_channels(demo.channels, found) == []
    (message,) = missing
    assert message.startswith(f"{graphs_dir().resolve()}/bird_dwa_blend_encode/config/engine_resize.json: not found")


def test_a_stitched_graph_needs_to_know_which_source() -> None:
    demo = read_demo(folder_of("dwa_blend_encode/engine") / "dwa_blend_encode_demo.json")
    channels = [replace(channel, decode_id=-1) for channel in demo.channels]
    problems = check_channels(channels, graphs("dwa_blend_encode/engine"))
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "decode_id: -1 is no source of graph 0, use 5000 or 5001"
    ] * 2


def test_the_old_servers_templates_stay_in_the_tripwire_graph() -> None:
    (raw,) = graphs("tripwire/engine_group")
    graph = add_sinks(raw, filters=FILTERS, channel_id=0, push=PUSH)
    assert graph.connections == raw.connections
    assert [item.entry for item in graph.elements] == [item.entry for item in raw.elements]
    (filter_,) = named(graph, "filter")
    assert filter_.configure == {"rules": [{"channel_id": 0, "filters": FILTERS}]}
    (push,) = named(graph, "http_push")
    assert push.configure == PUSH.to_json()


def test_a_misspelt_filter_key_is_kept_for_the_filter_to_judge() -> None:
    (raw,) = graphs("license_area_intrusion/engine_group")
    (filter_,) = named(add_sinks(raw, filters=[], channel_id=0, push=PUSH), "filter")
    assert filter_.configure["rules"][0]["filters"][0]["alert_first_frames"] == 0
