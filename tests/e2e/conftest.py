"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.demo.clip import draw_clip

PATIENT = {
    "STREAMSERVER_HEARTBEAT_TIMEOUT_S": "60",
    "STREAMSERVER_REPORT_CONNECT_TIMEOUT_S": "60",
    "STREAMSERVER_REPORT_TIMEOUT_S": "60",
    "STREAMSERVER_STALLED_AFTER_S": "60",
}
"""No process is started again, no report sent twice, no camera given up because the machine stood still for a while."""


@pytest.fixture(scope="module", autouse=True)
def patient_servers() -> Iterator[None]:
    """The servers of these tests are told to be patient with a machine that is busy."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's drawn clip: three walkers cross the middle, two of them to the right."""
    path = tmp_path_factory.mktemp("clip") / "walkers.mp4"
    draw_clip(path)
    return path
