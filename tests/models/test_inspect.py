"""``python -m streamserver.models inspect``: which element a file suits, and an element file to use it with."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamserver.core.errors import ModelError, ModelNotFoundError
from streamserver.core.settings import PROJECT_DIR, Settings
from streamserver.engine.element import ElementContext
from streamserver.models.inspect import LAYOUTS, Report, families, inspect
from streamserver.models.registry import ModelEntry
from streamserver.models.store import ModelStore
from tests import assets
from tests.models.yolov8_files import cells, constant_network, notes

SHARED: dict[str, tuple[str, str] | None] = {
    "FastestDet.onnx": ("fastpose", "85 points"),
    "blazepose_full.onnx": ("fastpose", "39 points"),
    "face_age_gender.onnx": None,
    "face_glasses.onnx": ("resnet", "1 numbers"),
    "face_landmark68.onnx": ("resnet", "136 numbers"),
    "fsanet-1x1-iter-688590.onnx": ("resnet", "3 numbers"),
    "fsanet-var-iter-688590.onnx": ("resnet", "3 numbers"),
    "hyperlpr3_detect_320.onnx": ("yolov5", "3 heads"),
    "hyperlpr3_detect_640.onnx": ("yolov5", "3 heads"),
    "lprnet.onnx": ("lprnet", "68 symbols"),
    "mobilefacenet_128d.onnx": ("resnet", "128 numbers"),
    "movenet_lightning_int8.onnx": None,
    "pose_cpm_ai_challenger14.onnx": ("fastpose", "14 points"),
    "prisma_portrait.onnx": ("ppocr_det", "one map"),
    "selfie_segmentation.onnx": None,
    "yolox_nano.onnx": ("yolox", "[1, 3549, 85]"),
    "yunet_n_dynamic.onnx": ("retinaface", "YuNet"),
    "yunet_s_640_640.onnx": ("retinaface", "YuNet"),
}
"""For each file of the shared weights: the likeliest element and what its layout is called, or that none suits."""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(Settings(models=str(models_dir()), model_cache=str(tmp_path / "cache"), model_download=False))


def models_dir() -> Path:
    return assets.model("yolox_nano.onnx").parent


def build(report: Report, tmp_path: Path) -> None:
    """Reads every element file of a report as the engine would; raises what that raises."""
    for suggestion in report.suggestions:
        file = report.element_file(suggestion)
        name = file["name"].removesuffix("_group")
        (tmp_path / "ppocr_keys_v1.txt").write_text("a\nb\n")
        context = ElementContext(
            element_id=1,
            name=name,
            config_file="e.json",
            configure=json.loads(json.dumps(file["configure"])),
            settings=Settings(device="cpu"),
            base_dir=tmp_path,
        )
        assert name == suggestion.element
        importlib.import_module(f"streamserver.elements.{name}").ELEMENT(context)


def own_copy(path: Path, folder: Path) -> Path:
    """The same network in a file that configs/models.yaml does not know."""
    copy = folder / path.name
    copy.write_bytes(path.read_bytes() + b"\x92\x03\x00")
    return copy


@pytest.mark.parametrize("name", SHARED)
def test_each_file_is_told_by_its_inputs_and_outputs(store: ModelStore, tmp_path: Path, name: str) -> None:
    report = inspect(store, str(own_copy(assets.model(name), tmp_path)))
    assert report.entry is None
    expected = SHARED[name]
    if expected is None:
        assert report.suggestions == ()
        assert "suits     no element; these layouts are known:" in report.to_text()
        assert all(layout in report.to_text() for layout in LAYOUTS.values())
        return
    best = report.suggestions[0]
    assert best.element == expected[0]
    assert expected[1] in best.layout
    build(report, tmp_path)


def test_the_table_has_every_file_of_the_shared_weights() -> None:
    assert {file.name for file in models_dir().glob("*.onnx")} == set(SHARED)


def test_plates_with_corners_are_told_from_their_numbers(store: ModelStore, tmp_path: Path) -> None:
    report = inspect(store, str(own_copy(assets.model("hyperlpr3_detect_320.onnx"), tmp_path)))
    assert any("corners" in note for note in report.suggestions[0].notes)


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("yolox_nano", "yolox"),
        ("hyperlpr3_detect_320", "yolov5"),
        ("lprnet", "lprnet"),
        ("yunet_s", "retinaface"),
        ("mobilefacenet_128d", "resnet"),
    ],
)
def test_a_registered_file_is_known_by_name_and_by_content(
    store: ModelStore, tmp_path: Path, name: str, element: str
) -> None:
    by_name = inspect(store, name)
    by_path = inspect(store, str(by_name.path))
    for report in (by_name, by_path):
        assert isinstance(report.entry, ModelEntry)
        assert [(s.element, s.certainty) for s in report.suggestions] == [(element, 1)]
        assert report.element_file(report.suggestions[0])["configure"]["model_path"] == name
        assert f"known as  {name}: {report.entry.task} (family {report.entry.family}, Apache-2.0)" in report.to_text()
        build(report, tmp_path)


def test_what_the_registry_settles_is_not_left_to_the_graph(store: ModelStore) -> None:
    report = inspect(store, "hyperlpr3_detect_640")
    assert set(report.element_file(report.suggestions[0])["configure"]) == {
        "model_path",
        "threshold_conf",
        "threshold_nms",
    }
    text = report.to_text()
    assert "sees pixels * 0.00392157 - 0, red first" in text
    assert "configs/models.yaml settles anchors, corners, one_class, pad, enlarge" in text
    assert "sees pixels as they are, blue first" in inspect(store, "yolox_nano").to_text()


def test_a_bmodel_is_answered_with_its_stand_in(store: ModelStore) -> None:
    report = inspect(store, "../data/models/BM1684X/yolox_s_int8_1b.bmodel")
    assert report.element_file(report.suggestions[0])["configure"]["model_path"] == "yolox_nano"


def test_what_ultralytics_wrote_into_a_file_is_used_and_shown(store: ModelStore, tmp_path: Path) -> None:
    metadata = notes("pose", ["person"], kpt_shape="[17, 3]")
    output = np.zeros((1, 56, cells((64, 64))), dtype=np.float32)
    path = constant_network(tmp_path / "mine.onnx", output, metadata=metadata)
    report = inspect(store, str(path))
    [best, *_] = report.suggestions
    assert (best.element, best.configure["task_type"], best.certainty) == ("yolov8", "Pose", 0.95)
    assert best.notes[-1] == "1 class name: person"
    build(report, tmp_path)
    for line in (
        "metadata  task: pose",
        "metadata  stride: 32",
        "metadata  names: person",
        "suits     yolov8: Pose, [",
    ):
        assert f"  {line}" in report.to_text()


def test_free_sides_and_types_are_shown(store: ModelStore) -> None:
    assert "  input     input [any, 3, any, any] float32" in inspect(store, "yunet_n").to_text()
    text = inspect(store, str(assets.model("movenet_lightning_int8.onnx"))).to_text()
    assert "  input     serving_default_input:0 [1, 192, 192, 3] uint8" in text


def test_every_family_has_its_layout_on_the_list() -> None:
    modules = {module.__name__.rpartition(".")[2] for module in families()}
    assert modules - {"yunet"} == set(LAYOUTS)
    elements = {file.stem for file in (PROJECT_DIR / "streamserver" / "elements").glob("*.py")}
    assert set(LAYOUTS) <= elements


def test_what_cannot_be_read_is_named(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "not.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"not.onnx' cannot be loaded: .*is it a whole ONNX file"):
        inspect(store, str(tmp_path / "not.onnx"))
    with pytest.raises(ModelNotFoundError, match=r"model 'gone.onnx' is no file, .* known names: yolox_nano"):
        inspect(store, "gone.onnx")
    with pytest.raises(ModelNotFoundError, match="is no file"):
        inspect(store, str(tmp_path))


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STREAMSERVER_")},
        "STREAMSERVER_MODELS": str(models_dir()),
        "STREAMSERVER_MODEL_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-m", "streamserver.models", "inspect", *arguments]
    return subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)


def test_the_command_tells_of_every_file_it_can_and_fails_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "not.onnx").write_bytes(b"no model")
    done = run(tmp_path, "yolox_nano", str(tmp_path / "not.onnx"), str(assets.model("face_age_gender.onnx")))
    assert done.returncode == 1
    files = [Path(line).resolve() for line in done.stdout.splitlines() if line.startswith("/")]
    assert files == [assets.model(name).resolve() for name in ("yolox_nano.onnx", "face_age_gender.onnx")]
    [error] = done.stderr.splitlines()
    assert error.startswith(f"error: '{tmp_path}/not.onnx' cannot be loaded: ")


def test_the_command_speaks_json(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", "lprnet", "gone.onnx")
    known, gone = json.loads(done.stdout)
    assert (done.returncode, set(gone)) == (1, {"name", "error"})
    assert (known["known_as"], known["family"], known["inputs"]) == (
        "lprnet",
        "lprnet",
        [{"name": "image", "shape": [1, 3, 24, 94], "type": "float32"}],
    )
    file: dict[str, Any] = known["suggestions"][0]["element_file"]
    assert (file["name"], file["configure"]["model_path"]) == ("lprnet_group", "lprnet")
