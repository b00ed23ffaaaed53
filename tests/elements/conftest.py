"""What is not the subject of these tests has time enough on a machine that stands still now and then."""

from __future__ import annotations

import pytest

from streamserver.elements import _push_connection
from streamserver.engine import runner


@pytest.fixture(autouse=True)
def time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread is left behind only because the machine is busy."""
    monkeypatch.setattr(runner, "STOP_TIMEOUT_S", 60.0)


@pytest.fixture(autouse=True)
def time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for silent only because the machine is busy."""
    for name in ("CONNECT_TIMEOUT_S", "REPLY_TIMEOUT_S"):
        monkeypatch.setattr(_push_connection, name, 60.0)
