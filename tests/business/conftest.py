"""What tests of dispatches share: a clock that is stepped, and benches on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamserver.sinks.file import FileSink
from tests.business.stepping import Address, Bench, Clock, Make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    benches: list[Bench] = []

    def one(*addresses: Address, archive: FileSink | Address | None = None, shared: str = "", box: str = "") -> Bench:
        (tmp_path / box).mkdir(exist_ok=True)
        machine = tmp_path / shared if shared else None
        benches.append(Bench(tmp_path / box, addresses, clock, archive=archive, machine=machine))
        return benches[-1]

    yield one
    for bench in benches:
        bench.close()
