"""Reads ``map_type`` of config_algorithm.py without running anything."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from streamserver.core.errors import SampleError


def literal_map_type(file: Path) -> Mapping[Any, Any] | None:
    """``map_type`` where it is written out; ``None`` where it is computed.

    Raises:
        SampleError: the file cannot be read, or a number is there twice.
    """
    try:
        return _map_type_in(file.read_bytes(), file)
    except (OSError, SyntaxError, ValueError) as e:
        raise SampleError(f"{file}: cannot be read: {e}", cure="correct it") from e


@lru_cache(maxsize=4)
def _map_type_in(source: bytes, file: Path) -> Mapping[Any, Any] | None:
    """``literal_map_type`` of one version of the file: every request asks, and the file hardly ever changes."""
    tree = ast.parse(source, str(file))
    outside = [node for node in tree.body if not isinstance(node, ast.ClassDef | ast.FunctionDef)]
    mentions = [n for node in outside for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == "map_type"]
    values = [node.value for node in outside if isinstance(node, ast.Assign) and node.targets == mentions]
    if len(values) != 1 or not isinstance(values[0], ast.Dict):
        return None
    try:
        keys = [ast.literal_eval(key) if key else None for key in values[0].keys]
        table = dict(ast.literal_eval(values[0]))
    except ValueError:
        return None
    twice = [key for position, key in enumerate(keys) if key in keys[:position]]
    if twice:
        raise SampleError(f"{file}: map_type: {twice[0]!r} is there twice", cure="give each algorithm its own number")
    return table
