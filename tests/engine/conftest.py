"""What is not the subject of these tests has time enough on a machine that stands still now and then."""

from __future__ import annotations

import pytest

from streamserver.engine import runner


@pytest.fixture(autouse=True)
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is left behind only because the machine is busy."""
    monkeypatch.setattr(runner, "STOP_TIMEOUT_S", 60.0)
