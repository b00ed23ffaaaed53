"""``python -m streamserver.models``, run as a user runs it."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from tests import onnx_files

CONTENT = b"weights"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    rows = "".join(
        f"  {name}:\n    file: {name}.onnx\n    task: {task}\n    family: yolox\n    licence: MIT\n"
        f"    sha256: {hashlib.sha256(CONTENT).hexdigest()!r}\n"
        for name, task in (("here", "finds"), ("gone", "loses"))
    )
    path.write_text(f"models:\n{rows}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "here.onnx").write_bytes(CONTENT)
    return path


def run(registry: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder = registry.parent
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STREAMSERVER_")},
        "STREAMSERVER_MODELS": str(folder / "mine"),
        "STREAMSERVER_MODEL_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "streamserver.models", "--registry", str(registry), *arguments]
    return subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False)


def test_list_shows_where_each_file_is_and_what_is_missing(registry: Path) -> None:
    done = run(registry, "list")
    assert done.returncode == 0
    head, here, gone, searched = done.stdout.splitlines()
    assert head.split() == ["name", "task", "licence", "where"]
    assert here.split() == ["here", "finds", "MIT", str(registry.parent / "mine" / "here.onnx")]
    assert gone.split(maxsplit=3) == ["gone", "loses", "MIT", "missing, and nobody offers it for download"]
    assert searched.startswith(f"searched: {PROJECT_DIR / 'models'}")
    assert str(registry.parent / "mine") in searched
    assert searched.endswith(" (no such folder)")


def test_fetch_gets_what_it_can_and_fails_for_the_rest(registry: Path) -> None:
    done = run(registry, "fetch", "--all")
    assert done.returncode == 1
    assert done.stdout == f"here: {registry.parent / 'mine' / 'here.onnx'}\n"
    assert "error: model 'gone' (gone.onnx) is not in" in done.stderr


def test_fetch_of_an_unknown_name_says_which_there_are(registry: Path) -> None:
    done = run(registry, "fetch", "yolo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "known names: here, gone" in done.stderr


@pytest.mark.parametrize(
    ("names", "content", "code", "said"),
    [
        ([], CONTENT, 0, "here: right"),
        (["here"], CONTENT, 0, "here: right"),
        (["gone"], CONTENT, 1, "gone: missing"),
        ([], b"damaged", 1, "here.onnx' is not 'here': its sha256"),
    ],
)
def test_verify_fails_for_wrong_files_and_for_missing_ones_asked_for(
    registry: Path, names: list[str], content: bytes, code: int, said: str
) -> None:
    (registry.parent / "mine" / "here.onnx").write_bytes(content)
    done = run(registry, "verify", *names)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_a_broken_registry_is_one_line_and_no_traceback(registry: Path) -> None:
    registry.write_text("models: 5")
    done = run(registry, "list")
    assert done.returncode == 1
    assert done.stderr == f"error: {registry}: models: expected 'name: value' lines, got int\n"


def test_inspect_can_run_a_file_on_a_device(registry: Path, tmp_path: Path) -> None:
    file = onnx_files.yolov5(tmp_path / "net.onnx", side=64, classes=3)
    done = run(registry, "inspect", str(file), "--device", "cpu")
    assert done.returncode == 0
    assert re.search(r"^  cpu: on CPUExecutionProvider, [\d.]+ ms a run of 1x3x64x64$", done.stdout, re.MULTILINE)
    assert "'net.onnx' runs on CPUExecutionProvider" in done.stderr


def test_a_device_that_nobody_knows_is_refused(registry: Path) -> None:
    done = run(registry, "inspect", "here", "--device", "gpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--device: got 'gpu'; use one of auto, cpu, cuda" in done.stderr
