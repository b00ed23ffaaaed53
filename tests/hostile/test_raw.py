"""Hostile bytes against the real web process: each has its answer, others are served, and memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.hostile.raw import BODIES, HEADS, TARGETS, Attack, exchange, with_body
from tests.hostile.web import Web, web

pytestmark = pytest.mark.e2e

ATTACKS = [*BODIES, *HEADS, *TARGETS]
MAY_GROW_MB = 60.0
"""One body of 1 MB as Python's objects is 20 MB; a body of 100 MB that is kept, or a bomb that is unpacked, is more."""


@pytest.fixture(scope="module")
def under_attack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("state"), {"STREAMSERVER_RATE_PER_S": "0"}) as one:
        yield one


def _send(one: Web, attack: Attack) -> str:
    with one.connect() as connection:
        return exchange(connection, attack.pieces())


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_it_has_its_answer(under_attack: Web, attack: Attack) -> None:
    assert _send(under_attack, attack) in attack.answers


def test_all_of_them_again_leave_memory_flat_and_the_server_well(under_attack: Web) -> None:
    before_mb, threads = under_attack.memory_mb(), under_attack.threads()
    for attack in ATTACKS:
        _send(under_attack, attack)
    assert under_attack.memory_mb() - before_mb < MAY_GROW_MB
    assert under_attack.threads() <= max(threads, 80)
    with under_attack.connect() as connection:
        assert exchange(connection, iter([with_body(json.dumps({"Limit": 1}).encode(), path="/task/list")])) == "200 0"


def test_no_two_attacks_share_a_name() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) > 100
