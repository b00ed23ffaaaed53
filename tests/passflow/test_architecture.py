"""The rules of docs/architecture.md that hold for the SDK as well."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_architecture import PROJECT, _imports, _our_areas, table_of_imports

FILES = sorted((PROJECT / "passflow").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_sdk_imports_what_the_table_allows_and_keeps_to_the_house_numbers(file: Path) -> None:
    used = _our_areas(_imports(file))
    assert used <= table_of_imports()["passflow"], used
    text = file.read_text("utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or node.lineno) - node.lineno < 60, node.name


def test_nothing_of_the_server_imports_the_sdk() -> None:
    for file in (PROJECT / "streamserver").rglob("*.py"):
        assert not any(name.split(".")[0] == "passflow" for name in _imports(file)), file
