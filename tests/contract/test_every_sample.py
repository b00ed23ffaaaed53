"""What every sample must keep to, the ones of tomorrow included; runs over samples/ as it is and a generated one."""

from __future__ import annotations

import ast
import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamserver import plugins
from streamserver.core.events import Kind, RuleEvent
from streamserver.core.settings import PROJECT_DIR
from streamserver.graph.read import read_graphs, read_sample
from streamserver.graph.rewrite import PushTarget, absolutise, add_sinks, apply_overrides, renumber, write_graphs
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames

GENERATED = "generated_by_test"
FOUND = sorted(p.parent.name for p in (PROJECT_DIR / "samples").glob("*/*.py") if p.stem == p.parent.name)
BODIES = sorted(frames.bodies(99))
PLATES = {"license_area_intrusion", "license_plate_recognition"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's samples with one more, made by the script."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(PROJECT_DIR / "samples", folder / "samples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_DIR / "config_algorithm.py", folder)
    subprocess.run([folder / "samples" / "add_algorithm.sh", GENERATED, "99"], check=True, capture_output=True)
    return folder


def every_sample(function: Any) -> Any:
    return pytest.mark.parametrize("name", [*FOUND, GENERATED])(function)


@every_sample
def test_imports_only_the_plugin_api_its_own_files_numpy_and_the_standard_library(name: str, project: Path) -> None:
    for file in (project / "samples" / name).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                modules = [node.module or ""]
            for module in modules:
                allowed = (
                    module == "streamserver.plugin_api"
                    or module == f"samples.{name}"
                    or module.startswith(f"samples.{name}.")
                    or module.split(".")[0] == "numpy"
                    or module.split(".")[0] in sys.stdlib_module_names
                )
                assert allowed, f"{file}: imports {module}"


@every_sample
def test_loads_and_has_a_readme_and_configuration(name: str, project: Path) -> None:
    plugins.load(name, project=project)
    folder = project / "samples" / name
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {name}")
    assert (folder / "config_logic.py").is_file()
    demo = json.loads((folder / "config" / f"{name}_demo.json").read_text("utf-8"))
    assert demo["engine_config_path"] == f"../{name}/config/engine_group.json"
    names = {element.name for graph in read_sample(folder / "config") for element in graph.elements}
    assert {"decode", "filter", "http_push"} <= names
    for file in (folder / "config").glob("*.json"):
        assert not re.search(r"template|TYPE_NUMBER", file.read_text("utf-8")) or name == "template"


@every_sample
@pytest.mark.parametrize("body", BODIES)
def test_turns_every_body_of_application_web_into_a_graph_that_checks(
    name: str, body: str, project: Path, tmp_path: Path
) -> None:
    data = frames.task(frames.bodies(99)[body])
    overrides = plugins.build(name, stream_path=str(tmp_path), data=data, port=10001, index=0, project=project)
    assert isinstance(overrides, GraphOverrides)
    assert not list(tmp_path.iterdir())
    algorithm = data["Algorithm"][0]
    assert overrides.channel["url"] == data["InputSrc"]["StreamSrc"]["Address"]
    assert overrides.channel["source_type"] == "RTSP"
    assert overrides.channel["sample_interval"] == algorithm["DetectInterval"]
    for rule in overrides.filters:
        assert rule["type"] in (0, 1, 2) and rule["areas"] and rule["classes"] and rule["times"]
        assert rule["alert_frame_skip_nums"] >= 1 and rule["alert_first_frame"] >= 0
    _write_and_read_again(project / "samples" / name / "config", overrides, tmp_path)


def _write_and_read_again(config: Path, overrides: GraphOverrides, folder: Path) -> None:
    push = PushTarget(ip="127.0.0.1", port=10001, path="/flask_test/0")
    graph = apply_overrides(read_sample(config, overrides.graph)[0], overrides.elements)
    graph = add_sinks(graph, filters=overrides.filters, channel_id=0, push=push)
    again = read_graphs(write_graphs([renumber(absolutise(graph, config), 0)], folder), folder)
    written = {element.name: element.configure for element in again[0].elements}
    assert written["filter"]["rules"][0]["filters"] == list(overrides.filters)
    assert written["http_push"]["port"] == 10001
    detectors = [configure for configure in written.values() if "threshold_conf" in configure]
    assert detectors and all(0 < configure["threshold_conf"] <= 0.5 for configure in detectors)


@every_sample
@pytest.mark.parametrize("body", BODIES)
def test_reports_who_stays_once_and_in_the_form_that_application_web_takes(name: str, body: str, project: Path) -> None:
    request = frames.task(frames.bodies(99)[body])["Algorithm"][0]
    algorithm = plugins.load(name, project=project)
    state = algorithm.new_state(request)
    reports: list[dict[str, Any]] = []
    for sequence in range(30):
        json_data = _frame(name, sequence)
        up_list: list[Any] = []
        algorithm.logic(json_data, up_list, [], state)
        if up_list:
            reports.append(algorithm.trans_json(json_data, "t1", 99, up_list))
    assert reports
    if name != "tripwire":  # there the filter element counts, so that all that arrives is due
        assert len(reports) == 1
    for report in reports:
        _assert_application_web_takes(report)


def _frame(name: str, sequence: int) -> dict[str, Any]:
    """One object that stays; frames are a second apart, for samples that go by the time."""
    box = (100, 60, 180, 200)
    if name in PLATES:
        message = frames.plate_frame(sequence, [("京A12345", box)], picture=True)
    else:
        message = frames.frame(sequence, {7: box}, picture=True)
    message["mFrame"]["mTimestamp"] += 1_000_000 * sequence
    return message


def _assert_application_web_takes(report: dict[str, Any]) -> None:
    sent = json.loads(json.dumps([report]))[0]
    assert sent["TaskID"] == "t1"
    assert type(sent["FrameIndex"]) is int
    assert _decoded(sent["SceneImageBase64"]).shape == (240, 320, 3)
    assert len(sent["AnalyzeEvents"]) == 1
    for event in sent["AnalyzeEvents"]:
        assert event["Type"] == 99
        assert event["Box"] == {"LeftTopX": 100, "LeftTopY": 60, "RightBtmX": 180, "RightBtmY": 200}
        assert all(type(side) is int for side in event["Box"].values())
        assert _decoded(event["ImageBase64"]).size > 0


def _decoded(picture_base64: str) -> np.ndarray[Any, Any]:
    data = base64.b64decode(picture_base64, validate=True)
    assert data.startswith(b"\xff\xd8\xff")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


@every_sample
def test_reports_what_rules_have_seen_in_the_form_that_application_web_takes(name: str, project: Path) -> None:
    """Whatever it counts by itself, a sample whose graph has rules reports their events."""
    built = plugins.build(
        name, stream_path="", data=frames.task(frames.bodies(99)["new"]), port=1, index=0, project=project
    )
    assert isinstance(built, GraphOverrides)
    kinds = {entry["rule"]["kind"] for entry in built.filters if "rule" in entry}
    assert kinds or name in PLATES
    algorithm = plugins.load(name, project=project)
    for kind in kinds & {"cross", "area"}:
        event = RuleEvent(
            kind=Kind.CROSS if kind == "cross" else Kind.INSIDE, track_id=7, class_id=0, box_xyxy=(100, 60, 180, 200)
        )
        message = frames.with_events(_frame(name, 0), event)
        up_list: list[Any] = []
        algorithm.logic(message, up_list, [], algorithm.new_state({}))
        assert len(up_list) == 1
        _assert_application_web_takes(algorithm.trans_json(message, "t1", 99, up_list))


@every_sample
def test_two_of_one_type_share_nothing(name: str, project: Path) -> None:
    request = frames.task(frames.bodies(99)["edited"])["Algorithm"][0]
    counts = []
    pair = [plugins.load(name, project=project) for _ in range(2)]
    states = [algorithm.new_state(request) for algorithm in pair]
    for algorithm, state in zip(pair, states, strict=True):
        up_list: list[Any] = []
        for sequence in range(30):
            algorithm.logic(_frame(name, sequence), up_list, [], state)
        counts.append(len(up_list))
    assert counts[0] == counts[1] > 0


@every_sample
@pytest.mark.parametrize("extend", [None, "words", 5, ["Loop"], {}], ids=repr)
def test_extend_may_be_anything(name: str, extend: Any, project: Path) -> None:
    data = frames.task(frames.bodies(99)["no DetectInfos"])
    data["Algorithm"][0]["Extend"] = extend
    algorithm = plugins.load(name, project=project)
    plugins.build(name, stream_path="", data=data, port=10001, index=0, project=project)
    algorithm.logic(frames.frame(0, {}), [], [], algorithm.new_state(data["Algorithm"][0]))


@every_sample
def test_a_frame_without_objects_reports_nobody(name: str, project: Path) -> None:
    algorithm = plugins.load(name, project=project)
    up_list: list[Any] = []
    algorithm.logic(frames.frame(0, {}), up_list, [], algorithm.new_state({}))
    assert not up_list


def test_samples_are_found() -> None:
    assert {"tripwire", "license_area_intrusion", "yolov5", "area_intrusion", "template"} <= set(FOUND)
    assert set(plugins.known_types().values()) <= set(FOUND)
