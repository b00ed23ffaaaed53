"""Rules of docs/architecture.md that a machine can check: imports point down, the master stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "streamserver"
HEAVY = {"cv2", "av", "onnxruntime"}
ONNXRUNTIME_AREA = "runtime"


@cache
def table_of_imports() -> dict[str, set[str]]:
    """The table "Who may import whom" as written in the document: area, or file of one -> areas it may import."""
    text = (PROJECT / "docs" / "architecture.md").read_text()
    section = text.split("## Who may import whom")[1].split("\n## ")[0]
    table: dict[str, set[str]] = {}
    for areas, allowed in re.findall(r"^\| (?!area|---)([^|]+) \| ([^|]+) \|$", section, re.MULTILINE):
        words = set(re.findall(r"\b[a-z_]+\b", allowed.split("(")[0].split(";")[0]))
        file = re.fullmatch(r"`([a-z_/]+\.py)`", areas)
        for area in [file[1]] if file else re.findall(r"[a-z_]+", areas):
            table[area] = words & _areas()
    return table


@cache
def _areas() -> set[str]:
    return {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"} - {
        "__init__",
        "__pycache__",
    }


@cache
def _imports(path: Path, *, toplevel_only: bool = False) -> frozenset[str]:
    return frozenset(_read_imports(path, toplevel_only=toplevel_only))


def _read_imports(path: Path, *, toplevel_only: bool) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body if toplevel_only else _statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _statements(path: Path) -> Sequence[ast.stmt | ast.excepthandler]:
    """All statements of a file, however deep, and the handlers of exceptions; no expression holds any."""
    found: list[ast.stmt | ast.excepthandler] = []
    waiting: list[ast.AST] = [ast.parse(path.read_text("utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt | ast.excepthandler):
            found.append(node)
        for inner in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, inner, ())
    return found


def _our_areas(names: Iterable[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("streamserver.")} & _areas()


@pytest.mark.parametrize("area", sorted(_areas()))
def test_every_area_stands_in_the_table(area: str) -> None:
    assert area in table_of_imports(), f"docs/architecture.md, 'Who may import whom', has no row for {area}"


@pytest.mark.parametrize("area", sorted(_areas()))
def test_imports_point_down(area: str) -> None:
    table = table_of_imports()
    folder = PACKAGE / area
    files = list(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    for file in files:
        allowed = table.get(str(file.relative_to(PACKAGE)), table[area]) | {area}
        if area == "plugin_support":
            used = _our_areas(_imports(file, toplevel_only=True))
            inside = _our_areas(_imports(file)) - used
            assert inside <= {"vision", "core"}, f"{file} imports {inside}"
        else:
            used = _our_areas(_imports(file))
        assert used <= allowed, (
            f"{file.relative_to(PROJECT)} imports {sorted(used - allowed)}, allowed: {sorted(allowed)}"
        )


def test_the_sdk_imports_what_its_row_allows_and_nothing_imports_the_sdk() -> None:
    for file in (PROJECT / "passflow").glob("*.py"):
        used = _our_areas(_imports(file))
        assert used <= table_of_imports()["passflow"], f"{file.name} imports {sorted(used)}"
    for file in PACKAGE.rglob("*.py"):
        assert not re.search(r"^\s*(?:from|import) passflow\b", file.read_text("utf-8"), re.MULTILINE), file


def test_nothing_imports_a_file_that_may_import_more_than_its_area() -> None:
    exceptions = {name.removesuffix(".py").replace("/", ".") for name in table_of_imports() if name.endswith(".py")}
    assert exceptions == {"graph.__main__"}
    for file in PACKAGE.rglob("*.py"):
        assert not {f"streamserver.{name}" for name in exceptions} & _imports(file), file


def test_only_runtime_imports_onnxruntime() -> None:
    users = {f.relative_to(PACKAGE).parts[0] for f in PACKAGE.rglob("*.py") if "onnxruntime" in _imports(f)}
    assert users == {ONNXRUNTIME_AREA}


def test_samples_import_only_the_plugin_page_their_own_files_and_numpy() -> None:
    for file in (PROJECT / "samples").rglob("*.py"):
        own = f"samples.{file.relative_to(PROJECT / 'samples').parts[0]}"
        for name in _imports(file):
            root = name.split(".")[0]
            fine = (
                name.startswith(("streamserver.plugin_api", own)) or root == "numpy" or root in sys.stdlib_module_names
            )
            assert fine, f"{file.relative_to(PROJECT)} imports {name}"


@pytest.mark.parametrize(
    "statement", ["import server", "import server; server.create_app()", "import streamserver.supervise.supervisor"]
)
def test_the_master_never_loads_the_heavy_libraries(statement: str, tmp_path: Path) -> None:
    code = f"{statement}\nimport sys\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    environment = {"PATH": "/usr/bin:/bin", "STREAMSERVER_STATE_DIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_the_client_process_loads_no_heavy_library(tmp_path: Path) -> None:
    code = f"import client, sys\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def test_broad_excepts_stand_only_where_the_style_allows_them() -> None:
    allowed = {"web", "engine", "worker", "supervise", "business", "plugins.py"}
    for file in PACKAGE.rglob("*.py"):
        for node in _statements(file):
            if isinstance(node, ast.ExceptHandler):
                kind = node.type.id if isinstance(node.type, ast.Name) else "" if node.type is None else "named"
                assert kind != "", f"{file}:{node.lineno}: bare except"
                if kind == "Exception":
                    assert file.relative_to(PACKAGE).parts[0] in allowed, f"{file}:{node.lineno}: broad except"


def test_files_are_one_thing_and_functions_are_short() -> None:
    for file in (*PACKAGE.rglob("*.py"), *(PROJECT / "passflow").rglob("*.py")):
        text = file.read_text("utf-8")
        assert len(text.splitlines()) <= 400, f"{file} has more than 400 lines"
        for node in _statements(file):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 60, f"{file}:{node.lineno}: {node.name} has {length} lines"


def test_exactly_one_onnxruntime_is_pinned_for_each_machine() -> None:
    lines = [line for line in (PROJECT / "requirements.txt").read_text().splitlines() if line.startswith("onnxruntime")]
    assert len(lines) == 2
    assert sum('== "x86_64"' in line for line in lines) == sum('!= "x86_64"' in line for line in lines) == 1
