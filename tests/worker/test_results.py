from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import exitcodes
from streamserver.graph.demo import Demo
from streamserver.graph.model import Edge, Graph, Node
from streamserver.worker.results import with_results
from tests.media.clips import write_clip
from tests.worker.tasks import DECODE, run_worker, write_task


def demo(**keys: Any) -> Demo:
    channels = [{"url": "a.mp4", "source_type": "VIDEO"}]
    return Demo.from_json({"channels": channels, "engine_config_path": "engine.json", **keys}, file="demo.json")


def chain() -> Graph:
    """Decode → distributor → two sinks."""
    nodes = (
        Node(node_id=1, name="decode", configure={}, is_source=True, members=(1,)),
        Node(node_id=2, name="distributor", configure={}, members=(2,)),
        Node(node_id=3, name="encode", configure={}, is_sink=True, thread_number=4, members=(3, 900)),
        Node(node_id=4, name="http_push", configure={}, is_sink=True, members=(4,)),
    )
    return Graph(graph_id=5, nodes=nodes, edges=(Edge(1, 0, 2, 0), Edge(2, 0, 3, 0), Edge(2, 1, 4, 0)))


def test_without_the_key_graphs_stay_as_they_are() -> None:
    assert with_results([chain()], demo(), file="demo.json") == (chain(),)


def test_every_sink_is_followed_by_an_element_that_knows_the_demo_files_keys() -> None:
    (graph,) = with_results(
        [chain()],
        demo(download_image=True, draw_func_name="draw_yolox_results", class_names="n", car_attributes="c", other=1),
        file="demo.json",
    )
    first, second = graph.nodes[4:]
    assert (first.node_id, second.node_id) == (901, 902)
    assert first.name == second.name == "download_image" and first.config_file == "demo.json"
    assert (first.thread_number, second.thread_number) == (4, 1)
    assert first.configure == {"draw_func_name": "draw_yolox_results", "class_names": "n", "car_attributes": "c"}
    assert graph.edges[3:] == (Edge(3, 0, 901, 0), Edge(4, 0, 902, 0))
    assert [node.node_id for node in graph.nodes if node.is_sink] == [901, 902]


def write_demo(folder: Path, elements: list[tuple[str, dict[str, Any]]], **keys: Any) -> None:
    clip = write_clip(folder / "a.mp4", frames=9)
    path = write_task(folder, clip, elements, sample_interval=3)
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_a_worker_keeps_pictures_of_its_results(tmp_path: Path) -> None:
    track = ("osd", {"osd_type": "TEXT", "texts": ["A"], "tops": [2], "lefts": [2], "r": 255})
    write_demo(tmp_path, [DECODE, track], download_image=True, draw_func_name="save_only")
    result = run_worker(tmp_path)
    assert result.returncode == exitcodes.FINISHED, result.stderr
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["0_0_0.jpg", "0_0_3.jpg", "0_0_6.jpg"]


def test_a_worker_refuses_a_drawing_that_does_not_exist(tmp_path: Path) -> None:
    write_demo(tmp_path, [DECODE, ("motion", {})], download_image=True, draw_func_name="draw_yolo")
    result = run_worker(tmp_path)
    assert result.returncode == exitcodes.BAD_GRAPH
    assert "demo.json: element" in result.stderr and "there is no drawing 'draw_yolo'" in result.stderr


@pytest.mark.parametrize(("enc_fmt", "name"), [("h264_bm", "0_0.avi"), ("h265_bm", "0_0.mp4")])
def test_a_worker_writes_the_video_that_a_graph_asks_for(tmp_path: Path, enc_fmt: str, name: str) -> None:
    encode = ("encode", {"encode_type": "VIDEO", "enc_fmt": enc_fmt, "pix_fmt": "I420", "fps": 25})
    write_demo(tmp_path, [DECODE, ("motion", {}), ("osd", {"osd_type": "TRACK"}), encode])
    result = run_worker(tmp_path)
    assert result.returncode == exitcodes.FINISHED, result.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == [name]
