from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamserver import plugins
from streamserver.core.errors import BadRequestError, SampleError
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.plugin_api import GraphOverrides
from tests.samples import frames

OLD_SAMPLE = """
from samples.old.config_logic import *
import json


def old_build_config(algorithm_name, stream_path, data, port, i):
    config_path = stream_path + "/samples/" + algorithm_name + "/config/"
    demo_config_path = config_path + algorithm_name + "_demo.json"
    with open(demo_config_path, "r") as file:
        json_data = json.load(file)
    json_data["channels"][0]["url"] = data["InputSrc"]["StreamSrc"]["Address"]
    json_data["channels"][0]["sample_interval"] = data["Algorithm"][i]["DetectInterval"]
    with open(demo_config_path, "w") as file:
        json.dump(json_data, file, indent=2)
    with open(config_path + "http_push.json", "r") as file:
        json_data = json.load(file)
    json_data["configure"]["port"] = port
    with open(config_path + "http_push.json", "w") as file:
        json.dump(json_data, file, indent=2)
    return demo_config_path


def old_logic(json_data, up_list, rm_list):
    names = [str(i["mTrackId"]) for i in json_data.get("mTrackedObjectMetadatas", [])]
    for name in names:
        old_infos[name] = old_infos.get(name, 0) + 1
        if old_infos[name] == old_in_thresh:
            up_list.append(name)


def old_trans_json(json_data, task_id, Type, up_list):
    results = {"FrameIndex": json_data["mFrame"]["mFrameId"], "SceneImageBase64": json_data["mFrame"]["mSpData"]}
    results["TaskID"] = str(task_id)
    results["AnalyzeEvents"] = []
    for indx in range(len(json_data["mDetectedObjectMetadatas"])):
        box = json_data["mDetectedObjectMetadatas"][indx]["mBox"]
        if str(json_data["mTrackedObjectMetadatas"][indx]["mTrackId"]) in up_list:
            x, y = box["mX"], box["mY"]
            results["AnalyzeEvents"].append({
                "ImageBase64": json_data["mFrame"]["mSpData"],
                "Box": {"LeftTopY": y, "RightBtmY": y + box["mHeight"], "LeftTopX": x, "RightBtmX": x + box["mWidth"]},
                "Type": Type,
            })
    return results
"""

SEED_CONFIG = """
import samples.area_intrusion as area_intrusion
import samples.old as old

map_type={6:'area_intrusion', 40:'old'}
class Algorithms:
    def old_build_config(self,algorithm_name,stream_path,data,port,i):
        return old.old.old_build_config(algorithm_name,stream_path,data,port,i)
    def old_trans_json(self,json_data,task_id,Type,up_list):
        return old.old.old_trans_json(json_data,task_id,Type,up_list)
    def old_logic(self,json_data,up_list,rm_list):
        return old.old.old_logic(json_data,up_list,rm_list)
    def area_intrusion_build_config(self,algorithm_name,stream_path,data,port,i):
        return area_intrusion.area_intrusion.area_intrusion_build_config(algorithm_name,stream_path,data,port,i)
    def area_intrusion_trans_json(self,json_data,task_id,Type,up_list):
        return area_intrusion.area_intrusion.area_intrusion_trans_json(json_data,task_id,Type,up_list)
    def area_intrusion_logic(self,json_data,up_list,rm_list):
        return area_intrusion.area_intrusion.area_intrusion_logic(json_data,up_list,rm_list)
"""

GOOD = """
def {0}_build_config(algorithm_name, stream_path, data, port, i): ...
def {0}_logic(json_data, up_list, rm_list): ...
def {0}_trans_json(json_data, task_id, Type, up_list): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our area_intrusion and an algorithm written for the old server."""
    shutil.copytree(
        PROJECT_DIR / "samples" / "area_intrusion",
        tmp_path / "samples" / "area_intrusion",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    folder = write_sample(tmp_path, "old", OLD_SAMPLE)
    (folder / "config_logic.py").write_text("old_infos={}\nold_in_thresh=3\nold_out_thresh=5\n")
    write_config(tmp_path, "map_type = {6: 'area_intrusion', 40: 'old'}")
    return tmp_path


def write_sample(project: Path, name: str, code: str) -> Path:
    folder = project / "samples" / name
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    (folder / "config" / f"{name}_demo.json").write_text(json.dumps({"channels": [{"channel_id": 0}]}))
    (folder / "config" / "http_push.json").write_text(json.dumps({"configure": {}, "name": "http_push"}))
    return folder


def write_config(project: Path, text: str) -> None:
    (project / "config_algorithm.py").write_text(text)


def names_reported(algorithm: plugins.Algorithm, state: Any, sequences: range) -> list[Any]:
    reported: list[Any] = []
    for sequence in sequences:
        algorithm.logic(frames.frame(sequence, {7: (10, 20, 60, 120)}), reported, [], state)
    return reported


@pytest.fixture(params=["entry only", "written as in the seed"])
def either_way(request: pytest.FixtureRequest, project: Path) -> Path:
    if request.param != "entry only":
        write_config(project, SEED_CONFIG)
    return project


class TestAnOldSample:
    def test_edits_the_files_of_its_private_tree_and_returns_the_demo_file(
        self, either_way: Path, tmp_path: Path
    ) -> None:
        tree = tmp_path / "tree"
        shutil.copytree(either_way / "samples" / "old" / "config", tree / "samples" / "old" / "config")
        data = frames.task(frames.bodies(99)["new"])
        path = plugins.build("old", stream_path=str(tree), data=data, port=10007, index=0, project=either_way)
        assert path == tree / "samples" / "old" / "config" / "old_demo.json"
        assert json.loads(path.read_text())["channels"][0]["sample_interval"] == 3
        assert json.loads((path.parent / "http_push.json").read_text())["configure"] == {"port": 10007}
        assert "url" not in (either_way / "samples" / "old" / "config" / "old_demo.json").read_text()

    def test_counts_in_module_variables_of_its_own_copy(self, either_way: Path) -> None:
        one, two = (plugins.load("old", project=either_way) for _ in range(2))
        assert names_reported(one, one.new_state({}), range(3)) == ["7"]
        assert names_reported(two, two.new_state({}), range(2)) == []
        assert names_reported(two, None, range(2, 3)) == ["7"]

    def test_forgets_when_a_new_state_is_asked_for(self, either_way: Path) -> None:
        algorithm = plugins.load("old", project=either_way)
        assert names_reported(algorithm, algorithm.new_state({}), range(5)) == ["7"]
        assert names_reported(algorithm, algorithm.new_state({}), range(5)) == ["7"]

    def test_makes_a_report(self, either_way: Path) -> None:
        report = plugins.load("old", project=either_way).trans_json(
            frames.frame(4, {7: (10, 20, 60, 120), 8: (0, 0, 5, 5)}, picture=True), "t1", 40, ["7"]
        )
        assert report["FrameIndex"] == 12
        assert [event["Box"]["RightBtmX"] for event in report["AnalyzeEvents"]] == [60]

    def test_with_the_parameter_of_the_last_old_server_runs(self, project: Path) -> None:
        code = OLD_SAMPLE.replace(
            "data, port, i):", "data, port, i, is_single_process):\n    assert is_single_process == 0"
        )
        write_sample(project, "old", code)
        tree = str(project)  # edited in place, as it is a copy
        data = frames.task(frames.bodies(99)["new"])
        assert isinstance(plugins.build("old", stream_path=tree, data=data, port=1, index=0, project=project), Path)

    def test_that_answers_with_a_path_from_where_the_old_server_stood_runs(self, project: Path) -> None:
        code = GOOD.format("rel").replace("port, i): ...", "port, i): return '../rel/config/rel_demo.json'")
        write_sample(project, "rel", code)
        (project / "samples" / "build").mkdir()
        path = plugins.build("rel", stream_path=str(project), data={}, port=1, index=0, project=project)
        assert isinstance(path, Path) and path.is_file()


@pytest.mark.parametrize("parameters", ["a, s, d, p", "a, s, d, p, i", "a, s, d, p, i, single", "*anything"])
def test_build_config_may_have_any_of_the_forms_it_ever_had(parameters: str, project: Path) -> None:
    code = GOOD.format("made").replace(
        "algorithm_name, stream_path, data, port, i): ...", f"{parameters}): return __file__"
    )
    write_sample(project, "made", code)
    assert plugins.build("made", stream_path="", data={}, port=1, index=0, project=project)


def test_our_own_sample_runs_through_methods_written_as_in_the_seed(project: Path) -> None:
    write_config(project, SEED_CONFIG)
    data = frames.task(frames.bodies(99)["new"])
    built = plugins.build("area_intrusion", stream_path="", data=data, port=1, index=0, project=project)
    assert isinstance(built, GraphOverrides)
    one, two = (plugins.load("area_intrusion", project=project) for _ in range(2))
    assert names_reported(one, one.new_state({}), range(10)) == ["7"]
    assert names_reported(two, two.new_state({}), range(10)) == ["7"]


def test_a_method_in_algorithms_comes_before_the_samples_own_function(project: Path) -> None:
    write_config(
        project,
        "map_type = {40: 'old'}\nclass Algorithms:\n"
        "    def old_logic(self, json_data, up_list, rm_list):\n        up_list.append('mine')\n",
    )
    assert names_reported(plugins.load("old", project=project), None, range(1)) == ["mine"]


def test_loading_leaves_no_module_and_no_path_behind(project: Path) -> None:
    before = {name for name in sys.modules if name.startswith(("samples", "config_algorithm"))}, list(sys.path)
    plugins.load("old", project=project)
    assert (
        {name for name in sys.modules if name.startswith(("samples", "config_algorithm"))},
        list(sys.path),
    ) == before


BROKEN = {
    "syntax": ("def syntax_logic(:", r"samples/syntax/syntax.py:1\)"),
    "missing_import": ("import no_such_module_xyz", "install or add 'no_such_module_xyz'"),
    "raises": ("x = 1\n\n1 / 0", r"ZeroDivisionError: division by zero \(samples/raises/raises.py:3\)"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "no_logic": (GOOD.format("no_logic").replace("no_logic_logic", "other"), "does not define no_logic_logic"),
    "few": (
        GOOD.format("few").replace("few_logic(json_data, up_list, rm_list)", "few_logic(json_data)"),
        "3 arguments",
    ),
    "stateful": (
        GOOD.format("stateful").replace("up_list, rm_list", "up_list, rm_list, state"),
        "config_logic.py is missing",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_sample_is_named_with_its_cure_and_does_not_stop_its_neighbours(name: str, project: Path) -> None:
    code, expected = BROKEN[name]
    write_sample(project, name, code)
    write_config(project, f"map_type = {{6: 'area_intrusion', 40: 'old', 41: '{name}'}}")
    with pytest.raises(SampleError, match=expected) as caught:
        plugins.load(name, project=project)
    assert f"sample '{name}'" in str(caught.value) and ";" in str(caught.value)
    assert names_reported(plugins.load("old", project=project), None, range(3)) == ["7"]


@pytest.mark.parametrize("statement", ["import samples.{0} as bad", "import samples.{0}.{0} as bad"])
@pytest.mark.parametrize("name", ["syntax", "raises", "absent"])
def test_a_broken_sample_that_config_algorithm_imports_does_not_stop_its_neighbours(
    name: str, statement: str, project: Path
) -> None:
    if name in BROKEN:
        write_sample(project, name, BROKEN[name][0])
        (project / "samples" / name / "__init__.py").write_text(f"from samples.{name} import {name}\n")
    write_config(project, statement.format(name) + SEED_CONFIG.replace("{6:", f"{{7:'{name}', 6:"))
    assert names_reported(plugins.load("old", project=project), None, range(3)) == ["7"]
    with pytest.raises(SampleError, match=f"'{name}'"):
        plugins.load(name, project=project)


def test_what_is_missing_is_named(project: Path) -> None:
    with pytest.raises(SampleError, match=r"sample 'nobody': .*run samples/add_algorithm.sh nobody <type>"):
        plugins.load("nobody", project=project)
    with pytest.raises(SampleError, match=r"does not exist"):
        plugins.load("../old", project=project)
    (project / "samples" / "hollow").mkdir()
    with pytest.raises(SampleError, match=r"samples/hollow/hollow.py is missing"):
        plugins.load("hollow", project=project)
    with pytest.raises(SampleError, match=r"hollow/config is missing"):
        plugins.config_dir("hollow", Settings(), project=project)
    write_config(project, "map_type = {}\nclass Algorithms:\n    def __init__(self, x): ...\n")
    with pytest.raises(SampleError, match=r"config_algorithm.py: Algorithms: TypeError"):
        plugins.load("old", project=project)
    write_config(project, "import no_such_module_xyz\nmap_type = {}\n")
    with pytest.raises(SampleError, match=r"config_algorithm.py: ModuleNotFoundError"):
        plugins.load("old", project=project)


class TestKnownTypes:
    def test_of_the_project_are_those_of_the_issue(self) -> None:
        expected = {1: "tripwire", 2: "license_area_intrusion", 3: "yolov5", 6: "area_intrusion"}
        assert plugins.known_types() == expected | {7: "passenger_flow", 16: "license_plate_recognition"}

    @pytest.mark.parametrize(
        "text",
        [
            "map_type={1:'a', 2:'b'}",
            "map_type = dict([(1, 'a'), (2, 'b')])",
            "map_type = {1: 'a'}\nmap_type[2] = 'b'",
            "map_type: dict = {1: 'a', 2: 'b'}",
        ],
    )
    def test_may_be_written_out_or_computed(self, text: str, project: Path) -> None:
        write_config(project, text)
        assert plugins.known_types(project=project) == {1: "a", 2: "b"}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "map_type is missing"),
            ("map_type = 3", "map_type is missing"),
            ("map_type = {0: 'a'}", "0 is no algorithm number"),
            ("map_type = {True: 'a'}", "True is no algorithm number"),
            ("map_type = {'1': 'a'}", "'1' is no algorithm number"),
            ("map_type = {1: '../a'}", "'../a' is no algorithm name"),
            ("map_type = {1: 'class'}", "'class' is no algorithm name"),
            ("map_type = {1: 2}", "2 is no algorithm name"),
            ("map_type = {1: 'a', 1: 'b'}", "1 is there twice"),
            ("map_type = {", "cannot be read"),
        ],
    )
    def test_that_cannot_be_are_refused(self, text: str, expected: str, project: Path) -> None:
        write_config(project, text)
        with pytest.raises(SampleError, match=expected):
            plugins.known_types(project=project)

    def test_need_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(SampleError, match=r"config_algorithm\.py: cannot be read"):
            plugins.known_types(project=tmp_path)


def make(project: Path, **bodies: str) -> plugins.Algorithm:
    """An algorithm whose functions have the given bodies."""
    code = GOOD.format("made")
    for function, body in bodies.items():
        start = code.index(f"made_{function}")
        code = code[:start] + code[start:].replace("): ...", f"): {body}", 1)
    write_sample(project, "made", code)
    return plugins.load("made", project=project)


EVENT = "{'ImageBase64': '', 'Type': 1, 'Box': {'LeftTopY': 1, 'RightBtmY': 2, 'LeftTopX': 3, 'RightBtmX': 4}}"
REPORT = "{'TaskID': 't', 'FrameIndex': 1, 'SceneImageBase64': '', 'AnalyzeEvents': [" + EVENT + "]}"


class TestWhatASampleReturns:
    def test_wrong_from_build_config_is_refused(self, project: Path) -> None:
        for body, expected in [
            ("return None", "returned None; expected GraphOverrides or the path"),
            ("return '/nowhere/demo.json'", "which is no file"),
            ("return data['nothing']", r"made_build_config KeyError: 'nothing' \(samples/made/made.py:2\)"),
        ]:
            algorithm = make(project, build_config=body)
            with pytest.raises(SampleError, match=expected):
                algorithm.build_config(stream_path="", data={}, port=1, index=0)

    def test_as_a_bad_request_stays_one_from_build_config(self, project: Path) -> None:
        body = {**frames.bodies(99)["new"]}
        body["Algorithm"] = [dict(body["Algorithm"][0], Extend={"Classes": ["unicorn"]})]
        with pytest.raises(BadRequestError, match="'unicorn' is no class"):
            plugins.build("area_intrusion", stream_path="", data=frames.task(body), port=1, index=0, project=project)

    def test_as_a_bad_request_is_the_samples_own_error_from_logic(self, project: Path) -> None:
        body = "raise __import__('streamserver.core.errors').core.errors.BadRequestError('no')"
        with pytest.raises(SampleError, match="made_logic BadRequestError"):
            make(project, logic=body).logic({}, [], [])

    def test_raised_in_logic_is_logged_with_its_traceback(
        self, project: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        algorithm = make(project, logic="return 1 / 0")
        with caplog.at_level(logging.ERROR), pytest.raises(SampleError, match="made_logic ZeroDivisionError"):
            algorithm.logic({}, [], [])
        assert "ZeroDivisionError" in caplog.text and "Traceback" in caplog.text

    def test_as_a_name_must_be_text_or_a_number(self, project: Path) -> None:
        algorithm = make(project, logic="up_list.append(['x'])")
        with pytest.raises(SampleError, match=r"put \['x'\] into up_list"):
            algorithm.logic({}, [], [])

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            (REPORT, "None", "expected an object, got NoneType"),
            ("'FrameIndex': 1", "'FrameIndex': '1'", r"\$\.FrameIndex: expected an integer, got '1'"),
            ("'FrameIndex': 1", "'FrameIndex': 1.5", r"\$\.FrameIndex: expected an integer, got 1\.5"),
            ("'LeftTopX': 3", "'LeftTopX': None", r"\$\.AnalyzeEvents\[0\]\.Box\.LeftTopX"),
            ("'Type': 1", "'Type': True", r"\$\.AnalyzeEvents\[0\]\.Type"),
            ("'ImageBase64': ''", "'ImageBase64': b''", r"ImageBase64: expected a string, got bytes"),
            ("'Type': 1", "'Type': 1, 'Extend': {1, 2}", r"\$\.AnalyzeEvents\[0\]\.Extend: .*set"),
            ("[" + EVENT + "]", "None", r"\$\.AnalyzeEvents: expected an array"),
            (EVENT, "3", r"\$\.AnalyzeEvents\[0\]: expected an object with a Box"),
        ],
    )
    def test_as_a_report_is_checked(self, old: str, new: str, expected: str, project: Path) -> None:
        algorithm = make(project, trans_json="return " + REPORT.replace(old, new))
        with pytest.raises(SampleError, match=expected):
            algorithm.trans_json({}, "t", 1, ["7"])

    def test_as_whole_numbers_of_another_kind_becomes_integers(self, project: Path) -> None:
        text = REPORT.replace("'FrameIndex': 1", "'FrameIndex': 12.0")
        text = text.replace("'LeftTopX': 3", "'LeftTopX': __import__('numpy').int64(3)")
        report = make(project, trans_json="return " + text).trans_json({}, "t", 1, ["7"])
        assert json.loads(json.dumps(report))["AnalyzeEvents"][0]["Box"]["LeftTopX"] == 3
        assert type(report["FrameIndex"]) is int


def test_the_config_folder_is_the_stream_trees_only_with_a_program_there(project: Path, tmp_path: Path) -> None:
    ours = project / "samples" / "old" / "config"
    theirs = tmp_path / "stream" / "samples" / "old" / "config"
    theirs.mkdir(parents=True)
    settings = Settings(stream_path=str(tmp_path / "stream"))
    assert plugins.config_dir("old", settings, project=project) == ours
    program = tmp_path / "stream" / "samples" / "build" / "main"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert plugins.config_dir("old", settings, project=project) == theirs
    area = project / "samples" / "area_intrusion" / "config"
    assert plugins.config_dir("area_intrusion", settings, project=project) == area


def test_importing_plugins_loads_no_picture_or_inference_library() -> None:
    code = (
        "import sys; from streamserver import plugins; "
        "[plugins.load(name) for name in plugins.known_types().values()]; "
        "print(*{'cv2', 'av', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
