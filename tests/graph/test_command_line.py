"""``python -m streamserver.graph``: says what the engine would say, and all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.settings import PROJECT_DIR
from streamserver.graph.__main__ import GOOD, USAGE, WRONG, main
from tests.assets import graphs_dir, model
from tests.graph.builders import Element, chain, connection, decode, element, staged, write

PUSH = {"ip": "127.0.0.1", "port": 10001, "path": "/flask_test/0"}
CHANNEL = {"url": "a.mp4", "source_type": "VIDEO"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as e:
        code = int(e.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def errors_of(output: str) -> list[str]:
    return [line.removeprefix("  error: ") for line in output.splitlines() if line.startswith("  error: ")]


def task(folder: Path, elements: list[Element], connections: list[dict[str, int]], **demo: Any) -> Path:
    """A task's folder; the demo file's path."""
    write(folder, elements, connections)
    path = folder / "demo.json"
    path.write_text(json.dumps({"channels": [CHANNEL], "engine_config_path": "engine.json", **demo}))
    return path


def push(element_id: int, **keys: Any) -> Element:
    return element(element_id, "http_push", sink=True, configure={**PUSH, **keys})


@pytest.fixture
def tripwire(tmp_path: Path) -> Path:
    """A copy of the tripwire sample, under another name, as users have them."""
    shutil.copytree(graphs_dir() / "tripwire", tmp_path / "samples" / "mine")
    return tmp_path / "samples" / "mine"


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSERVER_MODELS", str(model("yolox_nano.onnx").parent))
    monkeypatch.setenv("STREAMSERVER_MODEL_DOWNLOAD", "false")


def test_a_good_sample_is_good_whatever_names_it(capsys: pytest.CaptureFixture[str], tripwire: Path) -> None:
    for path in ("", "config", "config/tripwire_demo.json", "config/engine_group.json"):
        code, output, _ = run(capsys, "check", tripwire / path)
        assert (code, errors_of(output)) == (GOOD, []), output
        assert "good (graphs: 1, nodes: 6)" in output


def test_a_source_that_is_not_there_is_said_and_no_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    addresses = [("clips/a.mp4", "VIDEO"), ("pictures", "IMG_DIR"), ("rtsp://h/a", "RTSP")]
    channels = [{"url": url, "source_type": kind} for url, kind in addresses]
    code, output, _ = run(capsys, "check", task(tmp_path, [decode(1), push(2)], chain(1, 2), channels=channels))
    assert code == GOOD
    assert [line.strip() for line in output.splitlines() if "note:" in line] == [
        f"note: channel 0: url: '{tmp_path}/clips/a.mp4' is not there"
    ]


def test_a_source_of_the_wrong_kind_and_a_slip_in_a_key_are_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").touch()
    channels = [
        {"url": "clip.mp4", "source_type": "IMG_DIR"},
        {"url": ".", "source_type": "VIDEO", "sample_intervall": 5},
    ]
    code, output, _ = run(capsys, "check", task(tmp_path, [decode(1), push(2)], chain(1, 2), channels=channels))
    assert code == WRONG
    for error, words in zip(
        errors_of(output), ("clip.mp4' is a file; correct it", "is a folder; correct"), strict=True
    ):
        assert words in error
    assert "note: channel 1: 'sample_intervall' is no key; did you mean 'sample_interval'?" in output


def test_a_slip_in_a_key_of_an_element_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    keys = {"model_path": "yolox_nano.onnx", "treshold_conf": 0.5, "threshold_nms": 0.5}
    elements = [decode(1), element(2, "yolox", configure=keys), push(3)]
    code, output, _ = run(capsys, "check", task(tmp_path, elements, chain(1, 2, 3)))
    assert code == WRONG
    assert any("threshold_conf:" in error and "where it says 'treshold_conf'" in error for error in errors_of(output))


def test_a_tasks_own_folder_needs_no_base_dir(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = task(tmp_path, [decode(1), push(2)], chain(1, 2))
    assert run(capsys, "check", path)[0] == GOOD
    assert run(capsys, "check", tmp_path / "engine.json")[0] == GOOD
    code, output, _ = run(capsys, "check", "--base_dir", tmp_path / "elsewhere", path)
    assert code == WRONG
    assert "elsewhere/engine.json: not found" in output


def test_every_error_is_said_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    elements = [
        decode(1),
        element(2, "yolox_group", inner=[7, 8, 9], configure={"threshold_conf": 2}),
        staged(3, "pre", threshold_conf=0.5, model_path="yolox_nano", threshold_nms=0.5),
        element(4, "bytetrak"),
        element(5, "dwa"),
        push(6, port="80"),
    ]
    connections = [*chain(1, 2, 3, 4, 5, 6), connection(5, 99, src_port=1)]
    channels = [CHANNEL, {"url": "a"}, {"url": "x", "source_type": "CAMERA", "channel_id": 5}]
    code, output, _ = run(capsys, "check", task(tmp_path, elements, connections, channels=channels))
    expected = [
        ["demo.json: channels[1]: source_type: is missing"],
        ["demo.json: channels[2]: url:", "is no camera", "/dev/video0"],
        ["graph 0: connection 5 to 99: there is no element 99"],
        ["graph 0: element 4: name: 'bytetrak' is unknown", "did you mean 'bytetrack'?"],
        ["graph 0: element 5: name: 'dwa' needs Sophgo's"],
        ["element 3 'yolox': stage: infer and post must follow"],
        ["e1.json: element 2 'yolox'", "model_path"],
        ["e5.json: element 6 'http_push': port:", "'80'"],
    ]
    assert code == WRONG
    errors = errors_of(output)
    assert len(errors) == len(expected), errors
    for parts, error in zip(expected, errors, strict=True):
        assert [part for part in parts if part not in error] == [], error


def test_what_only_shows_in_the_whole_is_found_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A source element that reads nothing: every element is good by itself."""
    code, output, _ = run(capsys, "check", task(tmp_path, [element(1, "blank", source=True), push(2)], chain(1, 2)))
    assert code == WRONG
    (error,) = errors_of(output)
    assert "element 1 'blank': ports: is_src stands at an element that reads no sources" in error


def test_a_missing_model_is_an_error_unless_motion_takes_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = {"model_path": "nowhere.onnx", "threshold_conf": 0.5, "threshold_nms": 0.5}
    elements = [decode(1), element(2, "yolox", configure=keys), push(3)]
    code, output, _ = run(capsys, "check", task(tmp_path, elements, chain(1, 2, 3)))
    assert code == WRONG
    assert "element 2 'yolox': model_path: model 'nowhere.onnx'" in errors_of(output)[0]
    code, output, _ = run(capsys, "check", task(tmp_path, elements, chain(1, 2, 3), detector="auto"))
    assert code == GOOD
    assert "note: element 2 'yolox': motion detection takes its place" in output


def test_with_models_the_networks_are_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    keys = {"model_path": "broken.onnx", "threshold_conf": 0.5, "threshold_nms": 0.5}
    path = task(tmp_path, [decode(1), element(2, "yolox", configure=keys), push(3)], chain(1, 2, 3))
    assert run(capsys, "check", path)[0] == GOOD
    code, output, _ = run(capsys, "check", "--models", path)
    assert code == WRONG
    assert "broken.onnx' cannot be loaded" in errors_of(output)[0]


def test_a_graph_that_no_channel_uses_is_only_mentioned(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = task(tmp_path, [decode(1), push(2)], chain(1, 2))
    content = json.loads((tmp_path / "engine.json").read_text())
    (tmp_path / "engine.json").write_text(json.dumps([*content, {**content[0], "graph_id": 1, "connections": []}]))
    code, output, _ = run(capsys, "check", path)
    assert code == GOOD
    assert "note: graph 1: no channel uses it" in output
    assert run(capsys, "check", tmp_path / "engine.json")[0] == WRONG


def test_show_prints_ports_threads_and_models(capsys: pytest.CaptureFixture[str], tripwire: Path) -> None:
    code, output, _ = run(capsys, "show", tripwire)
    assert code == GOOD
    lines = [line.strip() for line in output.splitlines()]
    assert "graph 0 'yolox_osd_encode': 6 nodes, 5 connections" in lines
    assert "5001 yolox: 1 thread, made of 5001, 10001, 10002, 10003" in lines
    assert "in 0 <- 5000 decode, out 0" in lines
    assert "out 0 -> 5004 bytetrack, in 0" in lines
    assert any(line.startswith("model ") and line.endswith("yolox_nano.onnx") for line in lines)
    assert lines[-1] == "out -> results leave the graph"


def test_show_draws_what_it_can_of_a_broken_graph(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = task(tmp_path, [decode(1), element(2, "dwa"), element(3, "encode")], chain(1, 2))
    code, output, errors = run(capsys, "show", path, "--svg", tmp_path / "graph.svg")
    assert code == WRONG
    assert "2 dwa: 1 thread" in output
    assert "needs Sophgo's lens-correction hardware" in errors
    assert len(list(ET.parse(tmp_path / "graph.svg").getroot())) > 5


def test_several_graphs_are_drawn_into_several_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "show", graphs_dir() / "multi_graph" / "config" / "engine.json", "--svg", tmp_path / "m.svg")
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == ["m_0.svg", "m_1.svg"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["check", "nowhere"], "nowhere: not found"),
        (["check", "."], "has no demo file"),
        (["check"], "PATH"),
        (["draw", "x"], "invalid choice"),
    ],
)
def test_without_anything_to_look_at_the_exit_code_says_so(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(capsys, *arguments)
    assert code == USAGE
    assert reason in errors


@pytest.mark.parametrize("content", ["[", "1", "{}", '{"a": 1}'])
def test_a_file_that_is_neither_graph_nor_demo_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "x.json").write_text(content)
    code, output, _ = run(capsys, "check", tmp_path / "x.json")
    assert (code, len(errors_of(output))) == (WRONG, 1)


def test_the_program_itself_runs(tripwire: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "streamserver.graph", "check", str(tripwire)],
        cwd=PROJECT_DIR,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (result.returncode, result.stderr) == (GOOD, "")
    assert "good" in result.stdout


def test_what_was_drawn_is_there_though_nobody_reads_the_text_and_nobody_hears_of_it(
    tripwire: Path, tmp_path: Path
) -> None:
    drawing = tmp_path / "x.svg"
    command = [sys.executable, "-m", "streamserver.graph", "show", str(tripwire), "--svg", str(drawing)]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (b"Traceback" in said, b"BrokenPipe" in said) == (False, False)
    assert drawing.read_text("utf-8").startswith("<svg")
