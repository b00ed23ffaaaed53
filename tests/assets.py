"""Weights, clips and graphs for tests: looked for where a user would have put them, skipped with a reason otherwise.

``STREAMSERVER_REQUIRE_ASSETS=1`` (set by ``.ci/run``) turns such a skip into a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[1]
_SHARED = _PROJECT.parent / "shared"


def _find(name: str, folders: list[Path], what: str) -> Path:
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    reason = f"{what} '{name}' not found in {', '.join(map(str, folders))}"
    if os.environ.get("STREAMSERVER_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def model(name: str) -> Path:
    """The weights called ``name``."""
    named = [Path(part) for part in os.environ.get("STREAMSERVER_MODELS", "").split(":") if part]
    return _find(name, [_PROJECT / "models", *named, _SHARED / "models"], "weights")


def clip(name: str) -> Path:
    """The clip called ``name``."""
    return _find(name, [_SHARED / "media" / "video"], "clip")


def graphs_dir() -> Path:
    """The folder with sophon-stream's sample configurations."""
    return _find("graphs", [_SHARED], "folder")


def media(name: str) -> Path:
    """A file or folder of the shared media, e.g. ``plates/street``."""
    return _find(name, [_SHARED / "media"], "media")
