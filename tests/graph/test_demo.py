"""Demo files: what is read, what is refused and how, and that writing loses nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError
from streamserver.graph.demo import Channel, Demo, HttpAddress, Roi, read_demo, slips, write_demo
from tests.assets import graphs_dir

FILE = {"url": "/data/a.mp4", "source_type": "VIDEO"}


def demo(*channels: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"channels": list(channels or (FILE,)), "engine_config_path": "engine.json", **keys}


def parse(content: Any) -> Demo:
    return Demo.from_json(content, file="demo.json")


def channel(**keys: Any) -> Channel:
    return parse(demo({**FILE, **keys})).channels[0]


def test_defaults_are_those_of_sophon_stream() -> None:
    assert channel() == Channel(
        channel_id=0,
        url="/data/a.mp4",
        source_type="VIDEO",
        graph_id=0,
        decode_id=-1,
        loop_num=1,
        fps=30,
        sample_interval=1,
        sample_strategy="DROP",
        skip_element=(),
        roi=None,
    )
    assert parse(demo()) == Demo(channels=(channel(),), engine_config_path="engine.json")


def test_the_counter_of_channel_ids_advances_only_for_channels_without_one() -> None:
    channels = parse(demo(FILE, {**FILE, "channel_id": 7}, FILE, FILE)).channels
    assert [item.channel_id for item in channels] == [0, 7, 1, 2]


@pytest.mark.parametrize(
    ("source_type", "url", "loop_num", "loops"),
    [
        ("VIDEO", "a.mp4", 1, 1),
        ("VIDEO", "a.mp4", 5, 5),
        ("VIDEO", "a.mp4", 0, None),
        ("VIDEO", "a.mp4", -1, 1),
        ("IMG_DIR", "pictures", 2, 2),
        ("IMG_DIR", "pictures", 0, None),
        ("IMG_DIR", "pictures", -1, None),
        ("RTSP", "rtsp://host/live", 1, None),
        ("CAMERA", "/dev/video0", -1, None),
        ("UDP", "udp://239.0.0.1:1234", 1, None),
        ("BASE64", "base64://127.0.0.1:1234/cam1", 1, None),
        ("BASE64", "/cam1", 1, None),
    ],
)
def test_loops_follow_the_source_type(source_type: str, url: str, loop_num: int, loops: int | None) -> None:
    assert channel(source_type=source_type, url=url, loop_num=loop_num).loops == loops


def test_an_endpoint_for_pictures_is_a_path_with_a_port_or_a_whole_address() -> None:
    assert channel(source_type="BASE64", url="/cam1").address == "base64://127.0.0.1:12348/cam1"
    bare = channel(source_type="BASE64", url="cam1", base64_port=18080)
    assert (bare.address, bare.is_live, bare.path(Path("/base"))) == ("base64://127.0.0.1:18080/cam1", False, None)
    assert bare.to_json()["base64_port"] == 18080
    whole = channel(source_type="BASE64", url="base64://0.0.0.0:1/x")
    assert (whole.address, whole.path(Path("/base"))) == ("base64://0.0.0.0:1/x", None)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"url": "base64://cam:1/x"}, "'cam' is no IP address"),
        ({"url": "rtsp://127.0.0.1:1/x"}, "it has not the form"),
        ({"url": "/cam1", "base64_port": 70000}, "base64_port: 70000 is no port"),
        ({"url": "/cam1?x"}, "it holds '\\?'"),
        ({"source_type": "UDP", "url": "rtsp://h/1"}, "is not of source_type UDP"),
        ({"source_type": "RTSP", "url": "rtsp://h/1", "transport": "http"}, "use tcp, udp or auto"),
    ],
)
def test_an_address_that_does_not_fit_its_type_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        channel(**{"source_type": "BASE64", **keys})


@pytest.mark.parametrize(
    ("key", "value", "attribute", "expected"),
    [
        ("sample_interval", 0, "sample_interval", 1),
        ("sample_interval", 3.0, "sample_interval", 3),
        ("sample_strategy", "KEEP", "sample_strategy", "KEEP"),
        ("sample_strategy", "keep", "sample_strategy", "DROP"),
        ("fps", -1, "fps", -1),
        ("fps", 12.5, "fps", 12.5),
        ("skip_element", [5, 6], "skip_element", (5, 6)),
        ("roi", {"left": 1, "top": 2, "width": 3, "height": 4}, "roi", Roi(left=1, top=2, width=3, height=4)),
    ],
)
def test_a_channel_key_is_read(key: str, value: Any, attribute: str, expected: Any) -> None:
    assert getattr(channel(**{key: value}), attribute) == expected


def test_writing_and_reading_again_loses_nothing(tmp_path: Path) -> None:
    first = {
        "channel_id": 3,
        "url": "rtsp://u:p@host/live",
        "source_type": "RTSP",
        "graph_id": 1,
        "decode_id": 5000,
        "loop_num": 0,
        "fps": -1,
        "sample_interval": 3,
        "sample_strategy": "KEEP",
        "skip_element": [5006],
        "roi": {"left": 0, "top": 0, "width": 64, "height": 48, "note": "left half"},
        "base64_port": 12,
    }
    content = demo(
        first,
        FILE,
        http_report={"ip": "127.0.0.1", "port": 10001, "path": "/r", "scheme": "http"},
        http_listen={"ip": "127.0.0.1", "port": 8000, "path": ""},
        download_image=True,
        draw_func_name="draw_yolox_results",
        class_names="coco.names",
        detector="motion",
        heatmap_loss="MSELoss",
    )
    before = parse(content)
    write_demo(before, tmp_path / "demo.json")
    assert read_demo(tmp_path / "demo.json") == before
    written = json.loads((tmp_path / "demo.json").read_text())
    assert written["channels"][0] == first
    assert {key: value for key, value in written.items() if key != "channels"} == {
        key: value for key, value in content.items() if key != "channels"
    }
    assert before.http_report == HttpAddress(ip="127.0.0.1", port=10001, path="/r", extra={"scheme": "http"})


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (5, ["demo.json", "expected an object", "5"]),
        ([{"graph_id": 0}], ["is an array, as graph files are", "name the demo file"]),
        ({"channels": [], "engine_config_pth": "e"}, ["engine_config_path: is missing", "'engine_config_pth'"]),
        (demo({**FILE, "source_type": "IMG_DIR", "url": "rtsp://h/1"}), ["url", "is not of source_type IMG_DIR"]),
        ({"engine_config_path": "e"}, ["channels", "is missing"]),
        ({"channels": {}, "engine_config_path": "e"}, ["channels", "expected an array", "{}"]),
        ({"channels": []}, ["engine_config_path", "is missing"]),
        (demo("x"), ["channels[0]", "expected an object", '"x"']),  # type: ignore[arg-type]
        (demo(engine_config_path=5), ["engine_config_path", "expected a text", "5"]),
        (demo(engine_config_path=""), ["engine_config_path", "expected a text"]),
        (demo(download_image=1), ["download_image", "expected true or false", "1"]),
        (demo(detector="yolo"), ["detector", '"yolo"', "auto, model or motion"]),
        (demo(http_report={"ip": "a", "port": 1}), ["http_report", "path", "is missing"]),
        (demo(http_listen={"ip": "a", "port": 70000, "path": "/"}), ["http_listen", "port", "70000"]),
        (demo(http_report="http://a"), ["http_report", "expected an object"]),
    ],
)
def test_a_wrong_demo_is_refused_by_name(content: Any, parts: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        parse(content)
    assert [part for part in ["demo.json", *parts] if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"url": None}, ["url", "expected a text", "null"]),
        ({"url": ""}, ["url", "expected a text"]),
        ({"source_type": "MOVIE"}, ["source_type", '"MOVIE"', "use one of", "VIDEO"]),
        ({"source_type": "RTSP"}, ["url", "/data/a.mp4", "RTSP"]),
        ({"fps": "25"}, ["fps", "expected a number", '"25"']),
        ({"fps": True}, ["fps", "expected a number", "true"]),
        ({"fps": 0}, ["fps", "0", "-1 for as fast as it goes"]),
        ({"fps": 10**400}, ["fps", "expected a number"]),
        ({"loop_num": -2}, ["loop_num", "-2", "-1 or more"]),
        ({"sample_interval": 1.5}, ["sample_interval", "whole number", "1.5"]),
        ({"sample_interval": -3}, ["sample_interval", "-3", "0 or more"]),
        ({"channel_id": "a"}, ["channel_id", "expected a number", '"a"']),
        ({"skip_element": [1, "2"]}, ["skip_element", "whole numbers", '"2"']),
        ({"skip_element": 5}, ["skip_element", "expected an array"]),
        ({"roi": {"left": 0, "top": 0, "width": 8}}, ["roi", "height", "is missing"]),
        ({"roi": {"left": 0, "top": 0, "width": 0, "height": 8}}, ["roi", "width", "1 or more"]),
        ({"sample_strategy": 1}, ["sample_strategy", "expected a text"]),
    ],
)
def test_a_wrong_channel_is_refused_by_place_key_and_value(keys: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        parse(demo(FILE, {**FILE, **keys}))
    assert [part for part in ["demo.json: channels[1]", *parts] if part not in str(caught.value)] == []


def test_a_key_that_nobody_reads_is_kept_and_changes_nothing() -> None:
    odd = channel(decode_idx=5001)
    assert (odd.decode_id, odd.extra) == (-1, {"decode_idx": 5001})
    assert odd.to_json()["decode_idx"] == 5001


def test_two_channels_cannot_share_an_id() -> None:
    with pytest.raises(GraphError, match=r"channels\[1\]: channel_id: 0 is taken"):
        parse(demo(FILE, {**FILE, "channel_id": 0}))


def test_a_password_does_not_show_in_a_message() -> None:
    with pytest.raises(GraphError) as caught:
        channel(source_type="RTMP", url="rtsp://admin:hunter2@camera/1")
    assert "hunter2" not in str(caught.value)
    assert "camera/1" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (None, "not found"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b'{"channels": [NaN]}', "NaN is not a JSON number"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, part: str) -> None:
    path = tmp_path / "x_demo.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraphError) as caught:
        read_demo(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


def test_a_folder_is_not_a_demo_file(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read"):
        read_demo(tmp_path)


def test_keys_that_nobody_reads_and_look_like_others_are_told() -> None:
    content = demo({**FILE, "decode_idx": 3, "Loop_Num": 0, "base64_port": 1}, download_images=True, heatmap_loss="")
    assert slips(parse(content)) == [
        "'download_images' is no key; did you mean 'download_image'?",
        "channel 0: 'decode_idx' is no key; did you mean 'decode_id'?",
        "channel 0: 'Loop_Num' is no key; did you mean 'loop_num'?",
    ]


def test_the_samples_own_demo_files_have_no_slips() -> None:
    found = {path.name: slips(read_demo(path)) for path in graphs_dir().glob("*/config/*_demo.json")}
    assert {name: told for name, told in found.items() if told} == {}


@pytest.mark.parametrize(
    ("url", "source_type", "newest_wins"),
    [
        ("rtsp://cam/1", "RTSP", True),
        (f"gb28181://{'1' * 20}:p@h?deviceid={'2' * 20}", "GB28181", True),
        (f"gb28181_playback://{'1' * 20}:p@h?deviceid={'2' * 20}#begtime=1#endtime=2", "GB28181", False),
        ("/clip.mp4", "VIDEO", False),
    ],
)
def test_only_of_a_source_without_an_end_are_pictures_left_out(url: str, source_type: str, newest_wins: bool) -> None:
    assert Channel(channel_id=0, url=url, source_type=source_type).newest_wins is newest_wins
