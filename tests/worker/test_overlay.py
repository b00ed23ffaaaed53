"""What a preview knows of a channel, read from the graphs that the samples bring along."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.arrays import Detections
from streamserver.graph.demo import Channel
from streamserver.graph.model import Edge, Graph, Node
from streamserver.graph.normalise import normalise
from streamserver.graph.read import read_graphs
from streamserver.vision.draw.findings import Findings
from streamserver.worker.overlay import overlays_of
from tests.worker.tasks import PROJECT

SAMPLES = PROJECT / "samples"
NAMED = {"yolov5": {"model_path": "/models/yolox_nano.onnx"}}
LINE = [{"left": 10, "top": 0}, {"left": 10, "top": 200}]
ZONE = [{"left": 0, "top": 0}, {"left": 50, "top": 0}, {"left": 50, "top": 50}]


def channel(channel_id: int = 0, graph_id: int = 0) -> Channel:
    return Channel(channel_id=channel_id, url="/x.mp4", source_type="VIDEO", graph_id=graph_id)


def graph(*nodes: tuple[str, dict[str, Any]], graph_id: int = 0) -> Graph:
    made = tuple(Node(node_id=i, name=name, configure=configure) for i, (name, configure) in enumerate(nodes))
    return Graph(graph_id=graph_id, nodes=made, edges=tuple(Edge(i, 0, i + 1, 0) for i in range(len(made) - 1)))


def rule(channel_id: int, *areas: object, **values: Any) -> dict[str, Any]:
    times = [{"time_start": "00 00 00", "time_end": "23 59 59"}]
    return {
        "channel_id": channel_id,
        "filters": [{"areas": list(areas), "classes": [0], "times": times, "type": 1, **values}],
    }


def names_of(*nodes: tuple[str, dict[str, Any]], base_dir: Path = PROJECT) -> tuple[str, ...]:
    (overlay,) = overlays_of([graph(*nodes)], [channel()], base_dir)
    return tuple(overlay.style.class_names)


def test_a_shipped_sample_shows_its_line_and_the_names_of_its_classes() -> None:
    (raw,) = read_graphs(SAMPLES / "tripwire" / "config" / "engine_group.json", SAMPLES / "build")
    (overlay,) = overlays_of([normalise(raw)], [channel()], SAMPLES)
    assert [place.points_xy.tolist() for place in overlay.places] == [[[580, 0], [580, 431]]]
    assert overlay.style.class_names[:3] == ("person", "bicycle", "car")


def test_each_channel_shows_the_places_of_its_own_rules_with_their_directions() -> None:
    rules = [rule(0, LINE, mode="cross", direction=[5, 0]), rule(1, ZONE, []), rule(7, ZONE)]
    filtering = graph(("decode", {}), ("filter", {"rules": rules}), ("filter", {"rules": [rule(1, LINE)]}))
    line, zone = overlays_of([filtering], [channel(0), channel(1)], PROJECT)
    assert [(place.points_xy.tolist(), place.direction_xy) for place in line.places] == [
        ([[10, 0], [10, 200]], (5.0, 0.0))
    ]
    assert [len(place.points_xy) for place in zone.places] == [3, 2]


def test_rules_show_their_lines_with_corners_and_arrows_their_areas_and_what_they_leave_out() -> None:
    corners, zone = [[10, 0], [10, 90], [40, 200]], [[0, 0], [50, 0], [50, 50]]
    crossing = {"rule": {"kind": "cross", "lines": [corners], "direction": [5, 0]}}
    within = {"rule": {"kind": "area", "include": [zone]}, "conditions": {"exclude": [zone]}}
    rules = [{"channel_id": 0, "filters": [crossing, within]}]
    (overlay,) = overlays_of([graph(("decode", {}), ("filter", {"rules": rules}))], [channel()], PROJECT)
    assert [
        (place.points_xy.tolist(), place.direction_xy, place.is_line, place.is_excluded) for place in overlay.places
    ] == [(corners, (5, 0), True, False), (zone, (0, 0), False, False), (zone, (0, 0), False, True)]


def test_a_filter_that_cannot_be_read_shows_nothing() -> None:
    (overlay,) = overlays_of([graph(("filter", {"rules": 5}))], [channel()], PROJECT)
    assert overlay.places == []


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ([("motion", {"model_path": "yolox_nano.onnx"})], "person"),
        ([("yolov5", {"model_path": "/x/yolov5s_v6.1_3output_fp32_4b.bmodel"})], "person"),
        ([("yolox", {"model_path": "yolox_nano.onnx"}), ("resnet", {"model_path": "yolox_nano.onnx"})], "person"),
        ([("yolox", {"model_path": "yolox_nano.onnx"}), ("yolov5", {"model_path": "hyperlpr3_detect_640.onnx"})], None),
        ([("yolox", {"model_path": "my_own.onnx"})], ""),
        ([("decode", {})], ""),
    ],
)
def test_names_are_those_of_the_last_detector_that_has_some(
    nodes: list[tuple[str, dict[str, Any]]], first: str | None
) -> None:
    names = names_of(*nodes)
    expected = (PROJECT / "configs/labels/license_plate.txt").read_text().split()[0] if first is None else first
    assert (names[0] if names else "") == expected


def test_a_names_file_of_the_graph_goes_first(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    configure = {"model_path": "yolox_nano.onnx", "class_names_file": "names.txt"}
    assert names_of(("yolox", configure), base_dir=tmp_path) == ("cat", "dog")
    assert names_of(("yolox", json.loads(json.dumps(configure))))[0] == "person", "the file is not there"


def test_an_overlay_draws_what_was_found_at_the_pictures_scale() -> None:
    import numpy as np

    (overlay,) = overlays_of([graph(("filter", {"rules": [rule(0, ZONE)]}))], [channel()], PROJECT)
    image = np.zeros((120, 160, 3), np.uint8)
    overlay.draw(image, Findings(detections=Detections.from_arrays([(200, 100, 300, 200)], [0.9], [1])), 0.5)
    assert image[12, 12].any(), "the zone"
    assert image[75, 100].any(), "the box's left edge"
    assert not image[75, 60].any()
