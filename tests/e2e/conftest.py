"""What the end-to-end tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamserver.demo.clip import draw_clip


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's drawn clip: three walkers cross the middle, two of them to the right."""
    path = tmp_path_factory.mktemp("clip") / "walkers.mp4"
    draw_clip(path)
    return path
