from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.supervise.house import House, children, look_away_from_strangers


@pytest.fixture
def port_base() -> int:
    """A port from which upward ports are likely to be free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def make_house(tmp_path: Path, port_base: int) -> Iterator[Callable[..., House]]:
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
