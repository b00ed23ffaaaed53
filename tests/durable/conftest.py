"""What each test of a durable file gets."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is to lie; its folder is there."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder / "things.sqlite"
