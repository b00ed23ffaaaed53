"""A task's own graph: sinks, overrides, ids and paths, whatever shape the sample's graph has."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.check import check
from streamserver.graph.model import RawGraph
from streamserver.graph.read import read_graphs
from streamserver.graph.rewrite import (
    PushTarget,
    absolutise,
    add_sinks,
    apply_overrides,
    overrides_that_fit,
    renumber,
    write_graphs,
)
from tests.graph.builders import build, chain, connection, decode, edges, element, ids, named, staged

PUSH = PushTarget(ip="127.0.0.1", port=10001, path="/flask_test/0", extra={"pictures": "on_demand"})
FILTERS = [{"type": 1, "areas": [[{"left": 1, "top": 2}]]}]
PUSH_KEYS = {"ip": "127.0.0.1", "port": 10001, "path": "/flask_test/0", "pictures": "on_demand"}
RULE = {"channel_id": 4, "filters": FILTERS}


def rewrite(graph: RawGraph, *, filters: Any = FILTERS) -> RawGraph:
    """``add_sinks``, and what must hold for every graph: it stays sound, and the input stays as it was."""
    before = copy.deepcopy(graph)
    result = add_sinks(graph, filters=filters, channel_id=4, push=PUSH)
    assert graph == before
    assert check(result) == []
    return result


def test_a_filter_and_a_push_follow_the_former_sink(tmp_path: Path) -> None:
    graph = rewrite(build(tmp_path, [decode(1), element(2, "yolox_group", inner=[3, 4, 5], sink=True)], chain(1, 2)))
    (push,), (filter_,) = named(graph, "http_push"), named(graph, "filter")
    assert edges(graph) == {(1, 2), (2, filter_.element_id), (filter_.element_id, push.element_id)}
    assert {push.element_id, filter_.element_id}.isdisjoint({1, 2, 3, 4, 5})
    assert graph.sinks == (push,)
    assert push.configure == PUSH_KEYS
    assert filter_.configure == {"rules": [RULE]}
    assert [item.element_id for item in graph.sources] == [1]
    assert "ports" not in graph.elements[1].entry


def test_without_filters_only_the_push_is_added(tmp_path: Path) -> None:
    graph = rewrite(build(tmp_path, [decode(1), element(2, "resnet", sink=True)], chain(1, 2)), filters=[])
    assert [item.name for item in graph.elements] == ["decode", "resnet", "http_push"]


def test_a_lone_decode_keeps_its_source_port(tmp_path: Path) -> None:
    entry, config = decode(1)
    ports = {**entry["ports"], "output": [{"port_id": 0, "is_sink": True}]}
    graph = rewrite(build(tmp_path, [({**entry, "ports": ports}, config)], []))
    assert graph.elements[0].entry["ports"] == entry["ports"]


def test_output_ports_that_are_no_sinks_stay(tmp_path: Path) -> None:
    entry, config = element(2, "osd")
    ports = {"output": [{"port_id": 0, "is_sink": True}, {"port_id": 1, "is_sink": False}], "note": 1}
    graph = rewrite(build(tmp_path, [decode(1), ({**entry, "ports": ports}, config)], chain(1, 2)))
    assert graph.elements[1].entry["ports"] == {"output": [{"port_id": 1, "is_sink": False}], "note": 1}


def test_every_sink_of_a_branched_graph_feeds_the_filter(tmp_path: Path) -> None:
    elements = [decode(1), decode(2), element(3, "encode", sink=True), element(4, "encode", sink=True)]
    graph = rewrite(build(tmp_path, elements, [*chain(1, 3), *chain(2, 4)]))
    (push,), (filter_,) = named(graph, "http_push"), named(graph, "filter")
    assert {(3, filter_.element_id), (4, filter_.element_id), (filter_.element_id, push.element_id)} <= edges(graph)
    assert graph.sinks == (push,)


def test_a_filter_that_is_there_gets_the_rule_and_a_push_follows_at_the_end(tmp_path: Path) -> None:
    old = {"rules": [{"channel_id": 4, "filters": [1]}, {"channel_id": 7, "filters": [2]}], "kept": True}
    elements = [decode(1), element(2, "filter", configure=old), element(3, "osd", sink=True)]
    graph = rewrite(build(tmp_path, elements, chain(1, 2, 3)))
    assert edges(graph) == {(1, 2), (2, 3), (3, 4)}
    (filter_,) = named(graph, "filter")
    assert filter_.configure == {"rules": [{"channel_id": 7, "filters": [2]}, RULE], "kept": True}


def test_a_filter_that_is_there_keeps_its_rules_when_the_task_has_none(tmp_path: Path) -> None:
    old = {"rules": [{"channel_id": 4, "filters": [1]}]}
    elements = [decode(1), element(2, "filter", configure=old, sink=True)]
    (filter_,) = named(rewrite(build(tmp_path, elements, chain(1, 2)), filters=[]), "filter")
    assert filter_.configure == old


def test_a_push_that_is_there_is_pointed_elsewhere_and_a_filter_put_in_front(tmp_path: Path) -> None:
    old = {"ip": "10.0.0.1", "port": 1, "path": "/", "scheme": "https", "verify": True, "queue": 9}
    elements = [decode(1), decode(2), element(3, "osd"), element(5, "http_push", configure=old, sink=True)]
    graph = rewrite(build(tmp_path, elements, [*chain(1, 3, 5), *chain(2, 5)]))
    assert ids(graph) == [1, 2, 3, 6, 5]
    assert edges(graph) == {(1, 3), (3, 6), (2, 6), (6, 5)}
    (push,) = named(graph, "http_push")
    assert push.configure == {**PUSH_KEYS, "queue": 9}


def test_a_push_in_the_middle_stays_there(tmp_path: Path) -> None:
    elements = [decode(1), element(2, "http_push"), element(3, "encode", sink=True)]
    graph = rewrite(build(tmp_path, elements, chain(1, 2, 3)))
    assert edges(graph) == {(1, 4), (4, 2), (2, 3)}
    assert [item.element_id for item in graph.sinks] == [3]


def test_a_filter_behind_the_push_does_not_count(tmp_path: Path) -> None:
    elements = [decode(1), element(2, "http_push"), element(3, "filter", configure={"rules": []}, sink=True)]
    graph = rewrite(build(tmp_path, elements, chain(1, 2, 3)))
    assert edges(graph) == {(1, 4), (4, 2), (2, 3)}
    assert [item.configure["rules"] for item in named(graph, "filter")] == [[RULE], []]


def test_of_two_filters_in_a_row_the_nearer_one_gets_the_rule(tmp_path: Path) -> None:
    filters = [element(i, "filter", configure={"rules": []}) for i in (2, 3)]
    graph = rewrite(build(tmp_path, [decode(1), *filters, element(4, "osd", sink=True)], chain(1, 2, 3, 4)))
    assert [item.configure["rules"] for item in named(graph, "filter")] == [[], [RULE]]


def test_new_ids_pass_over_inner_ones(tmp_path: Path) -> None:
    elements = [decode(1), element(2, "yolox_group", inner=[3, 4, 6], sink=True)]
    assert sorted(ids(rewrite(build(tmp_path, elements, chain(1, 2))))) == [1, 2, 5, 7]


def test_new_ids_fit_into_an_int(tmp_path: Path) -> None:
    elements = [decode(1), element(2**31 - 1, "osd", sink=True)]
    assert sorted(ids(rewrite(build(tmp_path, elements, chain(1, 2**31 - 1))))) == [1, 2, 3, 2**31 - 1]


def test_a_distributor_forwards_by_its_default_port(tmp_path: Path) -> None:
    elements = [decode(1), element(2, "distributor", configure={"default_port": 3}, sink=True)]
    graph = rewrite(build(tmp_path, elements, chain(1, 2)), filters=[])
    assert dict(graph.connections[-1]) == connection(2, 3, src_port=3)


def test_what_is_added_lies_where_the_other_libraries_lie(tmp_path: Path) -> None:
    entry, config = element(2, "osd", sink=True)
    elements = [decode(1), (entry, {**config, "shared_object": "/opt/lib/libosd.so"})]
    graph = rewrite(build(tmp_path, elements, chain(1, 2)))
    assert named(graph, "http_push")[0].config["shared_object"] == "/opt/lib/libhttp_push.so"


def test_later_changes_of_the_arguments_do_not_reach_the_graph(tmp_path: Path) -> None:
    filters = [MappingProxyType({"classes": [0]})]
    graph = rewrite(build(tmp_path, [decode(1), element(2, "osd", sink=True)], chain(1, 2)), filters=filters)
    filters[0]["classes"].append(1)
    assert named(graph, "filter")[0].configure["rules"][0]["filters"] == [{"classes": [0]}]
    write_graphs([graph], tmp_path)


@pytest.mark.parametrize("rules", [5, {"channel_id": 0}, ["x"]])
def test_a_filter_with_unusable_rules_is_named(tmp_path: Path, rules: Any) -> None:
    elements = [decode(1), element(2, "filter", configure={"rules": rules}, sink=True)]
    with pytest.raises(GraphError, match=r"e1\.json: element 2 'filter': rules: expected an array of objects"):
        rewrite(build(tmp_path, elements, chain(1, 2)))


def test_a_broken_graph_is_not_rewritten(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="leads nowhere"):
        rewrite(build(tmp_path, [decode(1), decode(2), element(3, "osd", sink=True)], chain(1, 3)))


def detectors(folder: Path) -> RawGraph:
    triple = [staged(2, "pre"), staged(3, "infer"), staged(4, "post")]
    faces = element(5, "retinaface_group", inner=[50, 51, 52], configure={"score_threshold": 0.3})
    return build(folder, [decode(1), *triple, faces, element(6, "bytetrack", sink=True)], chain(1, 2, 3, 4, 5, 6))


def test_an_override_reaches_groups_and_every_part_of_a_triple(tmp_path: Path) -> None:
    graph = detectors(tmp_path)
    changed = apply_overrides(graph, {"yolox": {"threshold_conf": 0.4}, "retinaface": {"score_threshold": 0.5}})
    assert [item.configure.get("threshold_conf") for item in changed.elements] == [None, 0.4, 0.4, 0.4, None, None]
    assert changed.elements[4].configure == {"score_threshold": 0.5}
    assert changed.elements[1].configure["stage"] == ["pre"]
    assert graph == detectors(tmp_path)


def test_the_detector_override_reaches_all_detectors_and_a_name_wins_over_it(tmp_path: Path) -> None:
    changed = apply_overrides(detectors(tmp_path), {"yolox": {"a": 2}, "*detector": {"a": 1, "b": 1}})
    assert [(item.configure.get("a"), item.configure.get("b")) for item in changed.elements] == [
        (None, None),
        (2, 1),
        (2, 1),
        (2, 1),
        (1, 1),
        (None, None),
    ]


def test_overrides_are_fitted_to_a_graph_without_the_tracker_that_would_hold_weak_detections_back(
    tmp_path: Path,
) -> None:
    wanted = {"*detector": {"threshold_conf": 0.1, "a": 1}, "bytetrack": {"track_thresh": 0.6}, "yolox": {"b": 2}}
    assert overrides_that_fit(detectors(tmp_path), wanted) == wanted
    bare = build(tmp_path, [decode(1), element(2, "yolov5_group", inner=[20, 21, 22], sink=True)], chain(1, 2))
    fitting = overrides_that_fit(bare, wanted)
    assert fitting == {"*detector": {"threshold_conf": 0.6, "a": 1}}
    assert apply_overrides(bare, fitting).elements[1].configure["threshold_conf"] == 0.6


def test_the_detector_override_may_find_none_but_a_name_must_exist(tmp_path: Path) -> None:
    graph = build(tmp_path, [decode(1), element(2, "resnet", sink=True)], chain(1, 2))
    assert apply_overrides(graph, {"*detector": {"a": 1}}) == graph
    with pytest.raises(GraphError, match=r"no element 'yolox' to change, .*; drop it .* or use one of decode, resnet"):
        apply_overrides(graph, {"yolox": {"a": 1}})


def test_texts_that_are_relative_paths_become_absolute(tmp_path: Path) -> None:
    configure = {
        "model_path": "../x/m.bmodel",
        "list": ["./a", "b", 1, {"deep": "../../c"}],
        "path": "/flask_test/",
        "note": "..and so on",
    }
    graph = build(tmp_path, [decode(1), element(2, "yolox", configure=configure, sink=True)], chain(1, 2))
    base = tmp_path / "samples" / "build"
    changed = absolutise(graph, base)
    assert changed.elements[1].configure == {
        "model_path": f"{tmp_path}/samples/x/m.bmodel",
        "list": [f"{base}/a", "b", 1, {"deep": f"{tmp_path}/c"}],
        "path": "/flask_test/",
        "note": "..and so on",
    }
    assert graph.elements[1].configure == configure


def test_graphs_of_several_samples_lie_in_one_folder(tmp_path: Path) -> None:
    first = build(tmp_path, [decode(1), element(2, "yolox_group", inner=[3, 4, 5], sink=True)], chain(1, 2))
    second = renumber(build(tmp_path, [decode(1), element(2, "../osd/x", sink=True)], chain(1, 2)), 1)
    path = write_graphs([first, second], tmp_path / "task")
    assert path == tmp_path / "task" / "engine.json"
    assert sorted(str(file.relative_to(tmp_path / "task")) for file in (tmp_path / "task").rglob("*.json")) == [
        "elements/0_1_decode.json",
        "elements/0_2_yolox_group.json",
        "elements/1_1_decode.json",
        "elements/1_2____osd_x.json",
        "engine.json",
    ]
    assert [graph.graph_id for graph in read_graphs(path, tmp_path / "task")] == [0, 1]


def test_writing_again_replaces_what_was_there(tmp_path: Path) -> None:
    graph = build(tmp_path, [decode(1), element(2, "osd", sink=True)], chain(1, 2))
    write_graphs([graph], tmp_path / "task")
    path = write_graphs([rewrite(graph)], tmp_path / "task")
    assert len(json.loads(path.read_text())[0]["elements"]) == 4


def test_two_graphs_of_one_id_are_not_written(tmp_path: Path) -> None:
    graph = build(tmp_path, [decode(1), element(2, "osd", sink=True)], chain(1, 2))
    with pytest.raises(GraphError, match="graph_id is there twice; renumber"):
        write_graphs([graph, graph], tmp_path / "task")
    assert not (tmp_path / "task").exists()
