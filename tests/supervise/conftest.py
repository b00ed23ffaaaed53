from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.ports import free_port
from tests.supervise.house import House, children, look_away_from_strangers


@pytest.fixture
def port_base() -> int:
    """A port from which upward ports are likely to be free."""
    return free_port()


@pytest.fixture
def make_house(tmp_path: Path, port_base: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    """Makes houses, in which a start that lasts makes no room for the next: a busy machine makes every start last."""
    monkeypatch.setattr("streamserver.supervise.starts._START_WEIGHT_S", 600.0)
    houses: list[House] = []
    look_away_from_strangers()

    def make(**settings: Any) -> House:
        houses.append(House(tmp_path / "state", port_base=port_base, **settings))
        return houses[-1]

    yield make
    for house in houses:
        house.close()
        house.store.close()
    assert children() == []
