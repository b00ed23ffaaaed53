"""What a process does for its own memory."""

from __future__ import annotations

import gc
import weakref

import pytest

from streamserver.core import processes


class Ring:
    """Refers to itself, so that only the collector can find it."""

    def __init__(self) -> None:
        self.myself = self


def test_rings_of_garbage_are_swept_when_it_is_time_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    gc.disable()
    try:
        sweeper = processes.Sweeper()
        ring = weakref.ref(Ring())
        sweeper.tend()
        assert ring() is not None
        now[0] += 61.0
        sweeper.tend()
        assert ring() is None
    finally:
        gc.unfreeze()
        gc.enable()
