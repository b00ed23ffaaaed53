"""``pip install .``: what the wheel holds, and that the SDK works from it in another environment and folder."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from streamserver.core.settings import PROJECT_DIR
from tests import assets

PARTS = (
    "pyproject.toml",
    "setup.py",
    "requirements.txt",
    "README.md",
    "LICENSE",
    "configs",
    "streamserver",
    "passflow",
)

COUNT = """
import itertools, json, sys
from passflow.counter import Authorizer, CustomerCounter
from streamserver.core.settings import CONFIGS_DIR, Settings
import passflow
heavy = sorted({"cv2", "av", "onnxruntime"} & set(sys.modules))
replies = list(itertools.islice(CustomerCounter().run(sys.argv[1]), 10))
settings = Settings()
print(json.dumps({
    "heavy": heavy,
    "package": passflow.__file__,
    "configs": str(CONFIGS_DIR),
    "data": [str(settings.state_path), str(settings.model_cache_path)],
    "codes": [reply["code"] for reply in replies],
    "numbers": [reply["data"]["frame_num"] for reply in replies if reply["data"]],
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for setuptools writes beside the sources; offline, with the setuptools that is here."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for part in PARTS:
        if (PROJECT_DIR / part).is_dir():
            shutil.copytree(PROJECT_DIR / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT_DIR / part, source)
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", f"--wheel-dir={out}", str(source))
    [built] = out.glob("stream_server-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the wheel, which finds the packages it needs where this one has them."""
    environment = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    [packages] = environment.glob("lib/python*/site-packages")
    _pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    (packages / "others.pth").write_text(str(Path(pytest.__file__).parents[1]))
    return python


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(home: Path) -> dict[str, str]:
    """Nothing of ours: no settings, no PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    return kept | {"HOME": str(home)}


def test_the_wheel_holds_every_module_and_the_configs_and_needs_what_requirements_txt_pins(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        [folder] = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = email.message_from_bytes(files.read(f"{folder}/METADATA"))
        commands = files.read(f"{folder}/entry_points.txt").decode()
    modules = {
        str(path.relative_to(PROJECT_DIR))
        for top in ("streamserver", "passflow")
        for path in (PROJECT_DIR / top).rglob("*.py")
    }
    configs = {f"streamserver/{path.relative_to(PROJECT_DIR)}" for path in (PROJECT_DIR / "configs").rglob("*.*")}
    templates = {str(path.relative_to(PROJECT_DIR)) for path in (PROJECT_DIR / "streamserver").rglob("*.html")}
    assert configs and templates
    assert {name for name in names if not name.startswith(f"{folder}/")} == modules | configs | templates
    pinned = re.findall(r"^[a-z].*", (PROJECT_DIR / "requirements.txt").read_text(), re.MULTILINE)
    assert [line.replace('"', "'") for line in metadata.get_all("Requires-Dist", [])] == [
        line.replace('"', "'") for line in pinned
    ]
    assert commands.split() == ["[console_scripts]", "passflow", "=", "passflow.__main__:main"]


def test_the_installed_sdk_and_its_commands_work_from_any_folder_and_write_nothing_there(
    installed: Path, tmp_path: Path
) -> None:
    clip, weights = assets.clip("vtest.avi"), assets.model("yolox_nano.onnx")
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    environment = _environment(home) | {"STREAMSERVER_MODELS": str(weights.parent)}
    command = [str(installed), "-W", "error", "-c", COUNT, str(clip)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    packages = installed.parents[1]
    assert told["heavy"] == []
    assert Path(told["package"]).is_relative_to(packages) and Path(told["configs"]).is_relative_to(packages)
    assert told["data"] == [str(home / ".local/share/stream-server" / name) for name in ("state", "models")]
    assert told["codes"] == [200] * 10, done.stderr
    assert told["numbers"] == list(range(1, 11))
    for command in (
        [str(installed.with_name("passflow")), "--help"],
        [str(installed), "-m", "streamserver.keys", "create"],
    ):
        done = subprocess.run(
            command, cwd=elsewhere, env=_environment(home), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    assert (home / ".local/share/stream-server/state/keys.sqlite").is_file()
    assert list(elsewhere.iterdir()) == []
