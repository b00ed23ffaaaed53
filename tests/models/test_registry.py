"""configs/models.yaml: the real file is right, and every mistake in one is named."""

from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError
from streamserver.models.registry import Registry, read_labels
from tests import assets

GOOD = {
    "file": "a.onnx",
    "sha256": "0" * 64,
    "task": "detection",
    "family": "yolox",
    "licence": "MIT",
}


def write(folder: Path, *, drop: str = "", extra: str = "", tail: str = "", **values: str) -> Path:
    rows = {key: value for key, value in {**GOOD, **values}.items() if key != drop}
    lines = ["models:", "  a:", *(f"    {key}: {value!r}" for key, value in rows.items())]
    path = folder / "models.yaml"
    path.write_text("\n".join([*lines, f"    {extra}" if extra else "", tail]), "utf-8")
    return path


def test_the_real_registry_names_every_coco_class() -> None:
    entry = Registry.from_file().models["yolox_nano"]
    assert (entry.file, entry.family, entry.licence, len(entry.labels)) == (
        "yolox_nano.onnx",
        "yolox",
        "Apache-2.0",
        80,
    )
    assert (entry.labels[0], entry.labels[2], entry.labels[79]) == ("person", "car", "toothbrush")
    assert entry.url.endswith("/model/yolox_nano.onnx")


@pytest.mark.parametrize(
    ("file", "model", "classes"),
    [
        ("yolox_bytetrack_s_int8_1b.bmodel", "yolox_nano", (0,)),
        ("yolox_s_int8_1b.bmodel", "yolox_nano", None),
        ("YOLOX_S_FP32.BMODEL", "yolox_nano", None),
    ],
)
def test_bmodels_have_a_stand_in(file: str, model: str, classes: tuple[int, ...] | None) -> None:
    rule = Registry.from_file().bmodel_rule(file)
    assert rule is not None
    assert (rule.model, rule.classes) == (model, classes)


def test_every_yolox_of_the_real_graphs_has_a_stand_in() -> None:
    registry = Registry.from_file()
    named = set()
    for file in assets.graphs_dir().glob("*/config/*yolox*.json"):
        named |= {part.split("/")[-1] for part in file.read_text("utf-8").split('"') if part.endswith(".bmodel")}
    assert named
    assert [name for name in named if registry.bmodel_rule(name) is None] == []


@pytest.mark.parametrize("key", GOOD)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"models.yaml: models.a.{key}: is missing"):
        Registry.from_file(write(tmp_path, drop=key))


@pytest.mark.parametrize(
    ("values", "extra", "tail", "problem"),
    [
        ({"sha256": "ABC"}, "", "", "models.a.sha256: expected 64"),
        ({"file": "../a.onnx"}, "", "", "models.a.file: expected a file name"),
        ({"url": "ftp://x/a"}, "", "", r"models.a.url: expected an http\(s\) address"),
        ({"labels": "none.txt"}, "", "", "none.txt' cannot be read"),
        ({}, "task2: x", "", "models.a: unknown key 'task2'"),
        ({}, "source: 5", "", "models.a.source: expected text, got 5"),
        ({}, "preprocess: 5", "", "models.a.preprocess: expected 'name: value'"),
        ({}, "preprocess: {bgr: maybe}", "", "preprocess.bgr: expected true or false"),
        ({}, "preprocess: {scale: [1, 2]}", "", "preprocess: scale: expected a number or three"),
        ({}, "preprocess: {gamma: 2}", "", "preprocess: unknown key 'gamma'"),
        ({}, "", "bmodels: 5", "bmodels: expected a list"),
        ({}, "", "bmodels: [{model: a}]", r"bmodels\[0\].pattern: is missing"),
        ({}, "", "bmodels: [{pattern: x, model: b}]", r"bmodels\[0\].model: 'b' is no entry .*use one of a"),
        ({}, "", "bmodels: [{pattern: x, model: a, classes: [dog]}]", "classes: expected a list of class names"),
        ({}, "", "more: 1", "unknown key 'more'"),
        ({}, "", "a: [", "cannot be read"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, values: dict[str, str], extra: str, tail: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Registry.from_file(write(tmp_path, extra=extra, tail=tail, **values))


def test_an_absent_registry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.yaml: cannot be read"):
        Registry.from_file(tmp_path / "gone.yaml")


def test_class_names_are_one_a_line_with_blanks_at_the_end_ignored(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffperson\r\ntraffic light \n\n\n".encode())
    assert read_labels(path) == ("person", "traffic light")
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_labels(path)
