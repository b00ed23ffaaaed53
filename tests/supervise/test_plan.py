from __future__ import annotations

import json
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from streamserver.business.config import load_config
from streamserver.core.errors import BadRequestError, GraphError, SampleError, UnknownAlgorithmError
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.core.states import TaskState
from streamserver.graph.demo import read_demo
from streamserver.graph.model import RawGraph
from streamserver.graph.read import read_graphs
from streamserver.store import Desired, TaskRecord
from streamserver.supervise.plan import our_elements, plan, push_host
from streamserver.supervise.prepare import dry_run, prepare
from tests.assets import graphs_dir
from tests.supervise.requests import request

OURS = Settings()
SAMPLE = PROJECT_DIR / "samples" / "tripwire" / "config"


def record_of(content: dict[str, Any]) -> TaskRecord:
    return TaskRecord(
        key="0123456789abcdef",
        task_id=content["TaskID"],
        src_id=content["InputSrc"]["SrcID"],
        request=content,
        spec_hash="",
        desired=Desired.RUNNING,
        created_at=0.0,
        state=TaskState.PENDING,
        reason="",
        since=0.0,
        restarts=0,
        port=0,
    )


def configure(graph: RawGraph, name: str) -> dict[str, Any]:
    return dict(next(element.configure for element in graph.elements if element.name == name))


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def set_model(file: Path, model_path: str) -> None:
    content = json.loads(file.read_text())
    content["configure"]["model_path"] = model_path
    file.write_text(json.dumps(content))


def stream_tree(root: Path, *, config_of: str = "") -> Settings:
    """A sophon-stream tree with a program, and with the configuration of one sample if named."""
    main = root / "samples" / "build" / "main"
    main.parent.mkdir(parents=True)
    main.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('stream_main.py').read_text()}")
    main.chmod(0o755)
    if config_of:
        copied = root / "samples" / config_of / "config"
        shutil.copytree(PROJECT_DIR / "samples" / config_of / "config", copied)
        set_model(copied / "yolox_group.json", f"../{config_of}/data/models/yolox.bmodel")
    return Settings(stream_path=str(root))


_RECORDING = "gb28181_playback://34020000002000000001:p@1.2.3.4:5060?deviceid=34020000001320000001"


@pytest.mark.parametrize(
    ("address", "kind", "finite", "replayable"),
    [
        ("/tmp/a.mp4", "VIDEO", True, True),
        (f"{_RECORDING}#begtime=20231024155207#endtime=20231024160810", "GB28181", True, False),
        (_RECORDING.replace("_playback", ""), "GB28181", False, False),
        ("udp://239.0.0.1:1234", "UDP", False, False),
        ("srt://cam:9000", "SRT", False, False),
        ("base64://127.0.0.1:18080/cam1", "BASE64", False, False),
        ("/dev/video0", "CAMERA", False, False),
    ],
)
def test_the_kind_of_a_source_and_its_end_follow_from_its_address(
    address: str, kind: str, finite: bool, replayable: bool
) -> None:
    planned = plan(request(1, 3, address=address), port=12345, settings=OURS)
    assert [(channel.url, channel.source_type) for channel in planned.demo.channels] == [(address, kind)] * 2
    assert (planned.finite, planned.replayable) == (finite, replayable)


@pytest.mark.parametrize(("asked", "becomes"), [({}, ""), ({"Transport": "auto"}, ""), ({"Transport": "udp"}, "udp")])
def test_the_transport_holds_for_all_channels(asked: dict[str, str], becomes: str) -> None:
    content = request(1, 3)
    content["Algorithm"][1]["Extend"] = asked
    assert {channel.transport for channel in plan(content, port=1, settings=OURS).demo.channels} == {becomes}


def test_each_algorithm_gets_its_own_channel_graph_path_and_filter_rule() -> None:
    planned = plan(request(1, 6, 3), port=12345, settings=OURS)
    assert [graph.graph_id for graph in planned.graphs] == [0, 1, 2]
    for i, (channel, graph) in enumerate(zip(planned.demo.channels, planned.graphs, strict=True)):
        assert (channel.channel_id, channel.graph_id) == (i, i)
        assert (channel.url, channel.source_type, channel.sample_interval) == ("rtsp://cam/1", "RTSP", 3)
        push = configure(graph, "http_push")
        assert (push["ip"], push["port"], push["path"]) == ("127.0.0.1", 12345, f"/flask_test/{i}")
        assert push["pictures"] == "on_demand"
        assert [rule["channel_id"] for rule in configure(graph, "filter")["rules"]] == [i]
    assert [entry.name for entry in planned.algorithms] == ["tripwire", "area_intrusion", "yolov5"]
    assert (planned.finite, planned.replayable) == (False, False)


def test_all_channels_read_the_source_alike_so_that_it_is_decoded_once() -> None:
    content = request(1, 6, address="/tmp/a.mp4")
    content["Algorithm"][1]["Extend"] = {"Loop": 3, "Fps": -1, "Detector": "motion"}
    planned = plan(content, port=1, settings=OURS)
    assert {(channel.loop_num, channel.fps) for channel in planned.demo.channels} == {(3, -1)}
    assert planned.demo.detector == "motion"
    assert (planned.finite, planned.replayable) == (True, True)


def test_a_file_is_played_once_at_its_own_pace_with_the_servers_detector_unless_told() -> None:
    planned = plan(request(1, address="/tmp/a.mp4"), port=1, settings=Settings(detector="model"))
    channel = planned.demo.channels[0]
    assert (channel.url, channel.source_type, channel.loop_num) == ("/tmp/a.mp4", "VIDEO", 1)
    assert channel.fps > 0
    assert planned.demo.detector == "model"


def test_a_folder_is_shown_as_pictures_and_ends_like_a_file(tmp_path: Path) -> None:
    planned = plan(request(1, 6, address=f"file://{tmp_path}"), port=1, settings=OURS)
    assert {(c.url, c.source_type, c.loops) for c in planned.demo.channels} == {(str(tmp_path), "IMG_DIR", 1)}
    assert (planned.finite, planned.replayable) == (True, True)


def test_extend_may_stand_at_the_top_of_the_request() -> None:
    planned = plan(request(1, address="/tmp/a.mp4", Extend={"Loop": 0}), port=1, settings=OURS)
    assert planned.demo.channels[0].loop_num == 0


@pytest.mark.parametrize(
    ("extend", "message"),
    [
        ({"Loop": -1}, r"\$\.Extend\.Loop: got -1; use a whole number"),
        ({"Loop": True}, r"\$\.Extend\.Loop: got True"),
        ({"Fps": 0}, r"\$\.Extend\.Fps: got 0"),
        ({"Transport": "rtp"}, r"\$\.Extend\.Transport: got 'rtp'; use tcp, udp or auto"),
        ({"Detector": "best"}, r"\$\.Extend\.Detector: got 'best'; use auto, model or motion"),
        ({"Gate": "sound"}, r"\$\.Extend\.Gate: got 'sound'; use motion or off"),
        ({"Gate": "motion", "GateHold": 0}, r"\$\.Extend\.GateHold: got 0; use seconds from 1 to 3600"),
    ],
)
def test_a_bad_extend_at_the_top_is_refused(extend: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        plan(request(1, Extend=extend), port=1, settings=OURS)


@pytest.mark.parametrize(
    ("address", "url", "kind"),
    [
        ("file:///tmp/a%20b.mp4", "/tmp/a b.mp4", "VIDEO"),
        ("http://host/live.m3u8", "http://host/live.m3u8", "HTTP"),
        ("rtmp://host/live", "rtmp://host/live", "RTMP"),
    ],
)
def test_the_address_becomes_what_decode_reads(address: str, url: str, kind: str) -> None:
    channel = plan(request(1, address=address), port=1, settings=OURS).demo.channels[0]
    assert (channel.url, channel.source_type) == (url, kind)


def test_paths_in_element_files_hold_from_any_working_directory() -> None:
    graph = plan(request(1), port=1, settings=OURS).graphs[0]
    assert {e.config["shared_object"] for e in graph.elements} >= {str(PROJECT_DIR / "build" / "lib" / "libdecode.so")}


def test_a_client_on_all_interfaces_is_reached_over_the_loopback() -> None:
    assert push_host(Settings(client_host="0.0.0.0")) == "127.0.0.1"
    assert push_host(Settings(client_host="192.0.2.7")) == "192.0.2.7"


def test_an_algorithm_that_is_gone_is_named() -> None:
    with pytest.raises(UnknownAlgorithmError, match=r"\$\.Algorithm\[1\]\.Type: no algorithm has the number 9; add it"):
        plan(request(1, 9), port=1, settings=OURS)


def test_elements_that_this_engine_lacks_are_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.supervise.plan.our_elements", lambda: our_elements() - {"bytetrack", "filter"})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(
        GraphError, match=r"\$\.Algorithm\[0\]\.Type: algorithm 1 'tripwire' needs the elements bytetrack, filter,.*str"
    ):
        dry_run(request(1), Settings(state_dir=str(tmp_path / "state")))
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = files_under(PROJECT_DIR / "samples")
    dry_run(request(1, 6, 3), Settings(state_dir=str(tmp_path / "state")))
    assert list(tmp_path.iterdir()) == []
    assert {name for name in before if "__pycache__" not in name} <= set(files_under(PROJECT_DIR / "samples"))


def test_what_is_written_reads_as_what_was_planned(tmp_path: Path) -> None:
    content = request(1, 6, address="/tmp/a.mp4")
    folder = tmp_path / "task"
    launch = prepare(record_of(content), folder, port=12345, settings=OURS)
    planned = plan(content, port=12345, settings=OURS)
    assert read_demo(folder / "demo.json") == planned.demo
    graphs = read_graphs(folder / "engine.json", folder)
    assert [[e.config for e in graph.elements] for graph in graphs] == [
        [e.config for e in graph.elements] for graph in planned.graphs
    ]
    assert json.loads((folder / "request.json").read_text()) == content
    assert stat.S_IMODE((folder / "client.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    client = load_config(folder / "client.json")
    assert (client.run, client.task_id, client.src_id, client.port) == ("0123456789abcdef", "t1", "cam1", 12345)
    assert client.replayable
    assert [(a.index, a.type, a.name) for a in client.algorithms] == [(0, 1, "tripwire"), (1, 6, "area_intrusion")]
    assert launch.engine.argv[1:] == (
        "-m",
        "streamserver.worker",
        "--demo_config_path=demo.json",
        "--task_dir=.",
        "--run=0123456789abcdef",
    )
    assert launch.client.argv[1:] == (str(PROJECT_DIR / "client.py"), "--config=client.json")
    assert (launch.engine.cwd, launch.engine.foreign, launch.finite) == (folder, False, True)


def test_a_second_start_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    prepare(record_of(request(1, 6)), tmp_path, port=1, settings=OURS)
    prepare(record_of(request(6)), tmp_path, port=2, settings=OURS)
    assert {name.split("_")[0] for name in (file.name for file in (tmp_path / "elements").iterdir())} == {"0"}


def test_what_is_written_for_the_client_tells_the_courier_whose_alarms_they_are_and_where_they_go(
    tmp_path: Path,
) -> None:
    prepare(record_of(request(1)), tmp_path, port=1, settings=OURS)
    client = load_config(tmp_path / "client.json")
    assert (client.task_id, client.report_urls) == ("t1", tuple(request(1)["Reporting"]["ReportUrlList"]))


def test_a_sophon_stream_program_gets_every_graph_with_its_pictures(tmp_path: Path) -> None:
    settings = stream_tree(tmp_path / "stream", config_of="tripwire")
    plates = Path("samples", "license_area_intrusion", "config")
    shutil.copytree(graphs_dir() / plates.parts[1] / "config", tmp_path / "stream" / plates)
    content = request(2, 1, address="http://host/a.mp4")
    launch = prepare(record_of(content), tmp_path / "task", port=12345, settings=settings)
    demo = read_demo(tmp_path / "task" / "demo.json")
    assert demo.http_report is not None
    assert (demo.http_report.ip, demo.http_report.port) == ("127.0.0.1", 12345)
    assert demo.http_listen is not None
    assert demo.http_listen.ip == "127.0.0.1"
    assert [channel.source_type for channel in demo.channels] == ["VIDEO", "VIDEO"]
    graphs = read_graphs(tmp_path / "task" / "engine.json", tmp_path / "task")
    assert all("pictures" not in configure(graph, "http_push") for graph in graphs)
    decode = next(element for element in graphs[1].elements if element.name == "decode")
    assert decode.config["shared_object"] == str(tmp_path / "stream" / "build" / "lib" / "libdecode.so")
    model = Path(configure(graphs[1], "yolox")["model_path"])
    assert model.is_relative_to(tmp_path / "stream" / "samples" / "tripwire")
    assert launch.engine.argv == (str(tmp_path / "stream/samples/build/main"), "--demo_config_path=demo.json")
    assert launch.engine.foreign
    assert launch.engine.env["LD_LIBRARY_PATH"].split(":")[0] == str(tmp_path / "stream" / "build" / "lib")
    assert not launch.finite


def test_the_streams_own_graph_may_lack_elements_that_ours_has(tmp_path: Path) -> None:
    """Its yolov5 has no tracker, so the detector itself must hold back what is below the task's threshold."""
    settings = stream_tree(tmp_path / "stream")
    shutil.copytree(graphs_dir() / "yolov5" / "config", tmp_path / "stream" / "samples" / "yolov5" / "config")
    (graph,) = plan(request(3), port=1, settings=settings).graphs
    assert [element.name for element in graph.elements] == ["decode", "yolov5", "filter", "http_push"]
    assert configure(graph, "yolov5")["threshold_conf"] == 0.5
    ours = plan(request(3), port=1, settings=OURS).graphs[0]
    assert configure(ours, "bytetrack")["track_thresh"] == 0.5


def test_a_sophon_stream_program_is_not_given_weights_that_it_cannot_load(tmp_path: Path) -> None:
    """It would only say so on stderr and idle for ever, and the task would look as if it ran."""
    with pytest.raises(GraphError, match=r"names 'yolox_nano.onnx'.*put a graph with \.bmodel files into"):
        plan(request(6), port=1, settings=stream_tree(tmp_path))


@pytest.mark.parametrize(("loops", "replayable"), [(1, True), (2, False)])
def test_frames_of_a_foreign_engine_are_told_apart_in_the_first_loop_only(
    tmp_path: Path, loops: int, replayable: bool
) -> None:
    content = request(1, address="/tmp/a.mp4", Extend={"Loop": loops})
    assert plan(content, port=1, settings=stream_tree(tmp_path, config_of="tripwire")).replayable is replayable


OLD_SAMPLE = """
import json

def oldie_build_config(algorithm_name, stream_path, data, port, i):
    folder = stream_path + "/samples/" + algorithm_name + "/config/"
    def edit(name, change):
        with open(folder + name) as file:
            content = json.load(file)
        change(content)
        with open(folder + name, "w") as file:
            json.dump(content, file)
    algorithm = data["Algorithm"][i]
    def set_filter(content):
        first = content["configure"]["rules"][0]["filters"][0]
        first["areas"] = [[{"left": p["X"], "top": p["Y"]} for p in algorithm["DetectInfos"][0]["HotArea"]]]
        first["alert_first_frame"] = algorithm["TrackInterval"]
    def set_channel(content):
        channel = content["channels"][0]
        address = data["InputSrc"]["StreamSrc"]["Address"]
        channel["url"] = address
        channel["source_type"] = "VIDEO" if address.startswith("/") else address[:4].upper()
        channel["loop_num"] = 2100000
    if SET_FILTER:
        edit("filter.json", set_filter)
    edit("http_push.json", lambda content: content["configure"].update(port=port))
    edit("yolox_group.json", lambda content: content["configure"].update(threshold_conf=algorithm["threshold"] / 100))
    edit("oldie_demo.json", set_channel)
    return "../oldie/config/oldie_demo.json"

def oldie_logic(json_data, up_list, rm_list):
    pass

def oldie_trans_json(json_data, task_id, Type, up_list):
    return {}
"""


def old_project(root: Path, *, set_filter: bool, text: str = OLD_SAMPLE) -> Path:
    """A project with one sample as the old server had them: its graph ends with the tracker."""
    folder = root / "samples" / "oldie"
    shutil.copytree(SAMPLE, folder / "config")
    for name in ("filter.json", "http_push.json"):
        (folder / "config" / name).unlink()
    graph = json.loads((folder / "config" / "engine_group.json").read_text().replace("../tripwire/", "../oldie/"))
    last = next(e for e in graph[0]["elements"] if e["element_config"].endswith("bytetrack.json"))
    last["ports"] = {"output": [{"port_id": 0, "is_sink": True, "is_src": False}]}
    graph[0]["elements"] = [
        e for e in graph[0]["elements"] if not e["element_config"].endswith(("filter.json", "http_push.json"))
    ]
    kept = {e["element_id"] for e in graph[0]["elements"]}
    graph[0]["connections"] = [c for c in graph[0]["connections"] if c["dst_element_id"] in kept]
    (folder / "config" / "engine_group.json").write_text(json.dumps(graph))
    demo = json.loads((folder / "config" / "tripwire_demo.json").read_text().replace("../tripwire/", "../oldie/"))
    demo["channels"][0]["channel_id"] = 7
    (folder / "config" / "oldie_demo.json").write_text(json.dumps(demo))
    set_model(folder / "config" / "yolox_group.json", "../oldie/data/yolox.bmodel")
    (folder / "oldie.py").write_text(text.replace("SET_FILTER", str(set_filter)))
    (root / "config_algorithm.py").write_text("map_type = {9: 'oldie'}\n")
    return root


def test_an_old_sample_under_a_new_name_finds_its_files_and_what_it_misses_is_named(tmp_path: Path) -> None:
    project = old_project(tmp_path, set_filter=False)
    config = project / "samples" / "oldie" / "config"
    for name in ("oldie_demo.json", "engine_group.json"):
        (config / name).write_text((config / name).read_text().replace("../oldie/", "../tripwire/"))
    assert plan(request(9), port=1, settings=OURS, project=project).graphs
    (config / "bytetrack.json").write_text("{")
    with pytest.raises(GraphError, match=re.escape(str(config / "bytetrack.json"))):
        plan(request(9), port=1, settings=OURS, project=project)
    (config / "yolox_group.json").unlink()
    with pytest.raises(SampleError, match=re.escape(str(config / "yolox_group.json"))):
        plan(request(9), port=1, settings=OURS, project=project)


NEW_SAMPLE = """
from streamserver.plugin_api import GraphOverrides, channel


def newie_build_config(algorithm_name, stream_path, data, port, i):
    return GraphOverrides(channel=channel(data, i))


def newie_logic(json_data, up_list, rm_list, state=None):
    pass


def newie_trans_json(json_data, task_id, Type, up_list):
    return {}
"""


def test_a_graph_of_sophon_stream_put_into_a_sample_says_what_its_files_must_be_called(tmp_path: Path) -> None:
    folder = tmp_path / "samples" / "newie"
    shutil.copytree(SAMPLE, folder / "config")
    (folder / "newie.py").write_text(NEW_SAMPLE)
    (folder / "config_logic.py").write_text("def new_state(algorithm): ...\n")
    (tmp_path / "config_algorithm.py").write_text("map_type = {9: 'newie'}\n")
    with pytest.raises(
        GraphError, match=r"newie_demo.json: not found; rename tripwire_demo.json, which is there, to newie_"
    ):
        plan(request(9), port=1, settings=OURS, project=tmp_path)
    (folder / "config" / "tripwire_demo.json").rename(folder / "config" / "newie_demo.json")
    assert plan(request(9), port=1, settings=OURS, project=tmp_path).graphs
    (folder / "config" / "engine_group.json").rename(folder / "config" / "engine.json")
    with pytest.raises(GraphError, match=r"engine_group.json: not found; give the graph file this name, or .*graph=…"):
        plan(request(9), port=1, settings=OURS, project=tmp_path)


def test_an_old_sample_edits_a_copy_and_gets_its_filter_and_sink(tmp_path: Path) -> None:
    project = old_project(tmp_path, set_filter=True)
    before = files_under(project / "samples" / "oldie" / "config")
    planned = plan(request(9, 9, address="file:///tmp/a.mp4"), port=12345, settings=OURS, project=project)
    assert files_under(project / "samples" / "oldie" / "config") == before
    for i, graph in enumerate(planned.graphs):
        rules = configure(graph, "filter")["rules"]
        assert [rule["channel_id"] for rule in rules] == [i]
        assert rules[0]["filters"][0]["areas"][0][2] == {"left": 1920, "top": 1080}
        assert rules[0]["filters"][0]["alert_first_frame"] == 20
        assert configure(graph, "http_push")["path"] == f"/flask_test/{i}"
        assert configure(graph, "yolox")["threshold_conf"] == 0.5
        model = Path(configure(graph, "yolox")["model_path"])
        assert model.is_relative_to(tmp_path / "samples")
    assert [(c.url, c.channel_id, c.loop_num) for c in planned.demo.channels] == [
        ("/tmp/a.mp4", 0, 1),
        ("/tmp/a.mp4", 1, 1),
    ]


def test_an_old_sample_that_sets_no_filter_gets_none(tmp_path: Path) -> None:
    planned = plan(request(9), port=1, settings=OURS, project=old_project(tmp_path, set_filter=False))
    assert "filter" not in {element.name for element in planned.graphs[0].elements}


def test_an_old_sample_that_breaks_is_named(tmp_path: Path) -> None:
    project = old_project(tmp_path, set_filter=True, text=OLD_SAMPLE.replace('["TrackInterval"]', '["Nothing"]'))
    with pytest.raises(SampleError, match=r"sample 'oldie'.*oldie_build_config.*KeyError"):
        plan(request(9), port=1, settings=OURS, project=project)
