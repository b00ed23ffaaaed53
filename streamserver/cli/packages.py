"""What the server's Python brings: packages, devices, weights. Standard library only; other programs do the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from streamserver.cli.findings import Finding, fail, ok, warn
from streamserver.core.settings import PROJECT_DIR, Settings, to_environment

_INSTALL = f"./start_server.sh, which makes a whole .venv, or {sys.executable} -m pip install -r requirements.txt"
_PIN = re.compile(r"([A-Za-z0-9_.\-]+)(?:\[[\w,]+\])?==([^\s;]+)(?:\s*;\s*(.+))?")
_MACHINE = re.compile(r"platform_machine (==|!=) ['\"](\w+)['\"]")
_BOTH = ("onnxruntime", "onnxruntime-gpu")
_CHILD_S = 120
_MODULES = {
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "pillow": "PIL",
    "onnxruntime-gpu": "onnxruntime",
    "grpcio": "grpc",
    "tritonclient": "tritonclient.grpc",
}
_IMPORTS = """
import importlib, json, sys
bad = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except BaseException as e:
        bad[name] = f"{type(e).__name__}: {e}"
print(json.dumps(bad))
"""
_DEVICES = """
import json, sys
from streamserver.core.errors import StreamServerError
from streamserver.runtime import providers
try:
    choice = providers.choose_providers(sys.argv[1])
    best, problem = choice.best, ""
    if best != providers.CPU:
        problem = providers.cuda_library_problem()
except StreamServerError as e:
    best, problem = "", str(e)
print(json.dumps({"best": best, "problem": problem, "driver": providers.has_driver()}))
"""


def is_bare() -> bool:
    """Whether this Python is none that the server's packages were installed for."""
    return importlib.util.find_spec("flask") is None


def findings() -> Iterator[Finding]:
    """What is missing, what is another version, what cannot be imported."""
    pins = dict(_pins())
    installed = {name: _version(name) for name in pins}
    missing = [name for name, version in installed.items() if not version]
    others = [f"{name} {got} (pinned {pins[name]})" for name, got in installed.items() if got not in ("", pins[name])]
    if missing:
        yield fail("packages", f"missing: {', '.join(missing)}", _INSTALL)
    if others:
        yield warn("packages", f"not the tested version: {', '.join(others)}", _INSTALL)
    if all(map(_version, _BOTH)):
        cure = f"{sys.executable} -m pip uninstall -y onnxruntime onnxruntime-gpu; then {_INSTALL}"
        yield fail("packages", "onnxruntime and onnxruntime-gpu are both installed and overwrite each other", cure)
    broken = _broken([name for name in pins if name not in missing and name != "tzdata"])
    for name, reason in broken.items():
        cure = f"{sys.executable} -m pip install --force-reinstall {name}=={pins[name]}"
        yield fail("packages", f"{name} cannot be imported: {reason}", cure)
    if not (missing or others or broken):
        yield ok("packages", f"all {len(pins)} of requirements.txt are there, in the pinned versions")


def _pins() -> Iterator[tuple[str, str]]:
    file = PROJECT_DIR / "requirements.txt"
    try:
        lines = file.read_text("utf-8").splitlines() if file.is_file() else importlib.metadata.requires("stream-server")
    except importlib.metadata.PackageNotFoundError:
        lines = []
    for line in lines or []:
        found = _PIN.match(line)
        machine = _MACHINE.search(found[3] or "") if found else None
        fits = machine is None or (platform.machine() == machine[2]) == (machine[1] == "==")
        if found and fits:
            yield found[1], found[2]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _broken(names: list[str]) -> dict[str, str]:
    """Packages that are there and cannot be imported, and why; tried in a child, for some crash."""
    modules = {_MODULES.get(name, name).replace("-", "_"): name for name in names}
    said = _child(["-c", _IMPORTS, json.dumps(list(modules))])
    if isinstance(said, dict):
        return {modules[module]: str(reason) for module, reason in said.items()}
    return {names[0]: str(said)} if names else {}


def _child(arguments: list[str], settings: Settings | None = None) -> Any:
    """The JSON that a program of ours prints, or in words why there is none."""
    environment = None if settings is None else _environment(settings)
    command = [sys.executable, *arguments]
    try:
        ended = subprocess.run(
            command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=_CHILD_S, check=False
        )
        return json.loads(ended.stdout)
    except subprocess.TimeoutExpired:
        return f"no answer within {_CHILD_S} s"
    except ValueError:
        lines = ended.stderr.strip().splitlines()
        return lines[-1] if lines else f"the process ended with {ended.returncode}"


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, **to_environment(settings)}


def devices(settings: Settings) -> Iterator[Finding]:
    """Where networks run: what ONNX Runtime can really use."""
    said = _child(["-c", _DEVICES, settings.device], settings)
    cure = "docs/operations.md, 'Running on an NVIDIA GPU'; or set device to cpu"
    if not isinstance(said, dict):
        yield fail("device", f"ONNX Runtime cannot be used: {said}", _INSTALL)
    elif said["problem"] and settings.device != "auto":
        yield fail("device", f"device is {settings.device}: {said['problem']}", cure)
    elif said["problem"]:
        yield warn("device", f"there is a GPU, and it cannot be used: {said['problem']}", cure)
    elif said["driver"] and said["best"] == "CPUExecutionProvider" and settings.device == "auto":
        yield warn("device", "there is a GPU driver, and models run on the CPU", cure)
    else:
        yield ok("device", f"{said['best']} (device is {settings.device})")


def models(settings: Settings) -> Iterator[Finding]:
    """The weights of every algorithm: where they are, or what happens without them."""
    listed = _child(["-m", "streamserver.models", "list", "--json"], settings)
    if not isinstance(listed, list):
        yield fail("models", f"the list of weights cannot be read: {listed}", "correct configs/models.yaml")
        return
    known = {entry["file"]: entry for entry in listed}
    users = _users()
    for file, algorithms in sorted(users.items()):
        yield _weights(file, algorithms, known.get(file), settings)


def _users() -> dict[str, list[str]]:
    """Which algorithms of ``map_type`` name which weights in their graphs."""
    users: dict[str, list[str]] = {}
    for name in _algorithms():
        for graph in sorted((PROJECT_DIR / "samples" / name / "config").glob("*.json")):
            for file in re.findall(r'"model_path"\s*:\s*"([^":]+)"', graph.read_text("utf-8", "replace")):
                if name not in users.setdefault(file.rpartition("/")[2], []):
                    users[file.rpartition("/")[2]].append(name)
    return users


def _algorithms() -> list[str]:
    from streamserver.core.errors import SampleError
    from streamserver.core.map_type import literal_map_type

    try:
        table = literal_map_type(PROJECT_DIR / "config_algorithm.py") or {}
    except SampleError:
        table = {}
    named = [str(name) for name in table.values()]
    samples = PROJECT_DIR / "samples"
    return [path.name for path in sorted(samples.iterdir()) if path.name in named] if samples.is_dir() else []


def _weights(file: str, algorithms: list[str], entry: dict[str, Any] | None, settings: Settings) -> Finding:
    what, who = "models", ", ".join(algorithms)
    if entry is None:
        return warn(what, f"{file} ({who}) is not in configs/models.yaml", "the graph has to name a path that exists")
    if entry["problem"]:
        return fail(what, f"{file} ({who}): {entry['problem']}", f"python -m streamserver models fetch {entry['name']}")
    if entry["path"]:
        return ok(what, f"{file} ({who}): {entry['path']}")
    if entry["offered"] and settings.model_download:
        return warn(
            what,
            f"{file} ({who}) is not there; the first task fetches it",
            f"python -m streamserver models fetch {entry['name']}, while there is a network",
        )
    cure = f"put the file into one of {', '.join(map(str, settings.model_dirs))}"
    return warn(what, f"{file} ({who}) is missing, and is not fetched", cure)
