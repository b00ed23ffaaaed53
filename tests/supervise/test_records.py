from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamserver.core.errors import StoreDamagedError
from streamserver.core.states import TaskState
from streamserver.core.status import ENGINE_FILE
from streamserver.store import StateChange
from streamserver.supervise.supervisor import Supervisor
from tests.supervise.house import House, children, wait_until

MakeHouse = Callable[..., House]


def supervisor(house: House) -> Supervisor:
    return Supervisor(house.settings, house.store, prepare=house._prepare, max_starts=3)


def test_the_changes_of_a_round_are_one_commit(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    keys = [house.create(f"t{i}") for i in range(5)]
    for key in keys:
        house.store.set_state(key, TaskState.RUNNING)
    commits: list[list[str]] = []
    real = house.store.set_states

    def write(changes: Sequence[StateChange]) -> None:
        commits.append([change.key for change in changes])
        real(changes)

    monkeypatch.setattr(house.store, "set_states", write)
    at_work = supervisor(house)
    at_work.tick()
    at_work.shut_down()
    assert commits == [keys]
    assert {row.restarts for row in house.store.all()} == {1}


@pytest.mark.parametrize("method", ["version", "set_states", "back_up_if_due"])
def test_a_damaged_store_ends_the_supervisor_and_everything_it_runs(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    house = make_house()
    house.create()
    at_work = supervisor(house)
    at_work.tick()
    assert children()

    def fail(*_: Any, **__: Any) -> Any:
        raise StoreDamagedError("tasks.sqlite: malformed")

    monkeypatch.setattr(house.store, method, fail)
    with pytest.raises(StoreDamagedError):
        at_work.run(threading.Event())
    assert children() == []


def test_whoever_stood_still_while_all_were_to_end_kills_before_it_leaves(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine = ["stubborn"]
    key = house.create()
    stood_still_s = 0.0
    at_work = Supervisor(
        house.settings, house.store, prepare=house._prepare, clock=lambda: time.monotonic() + stood_still_s
    )
    at_work.tick()
    wait_until((house.folder(key) / ENGINE_FILE).exists, "the engine heeds no signal any more")
    launcher_close = at_work._launcher.close

    def stand_still() -> None:
        nonlocal stood_still_s
        launcher_close()
        stood_still_s = 1000.0

    at_work._launcher.close = stand_still  # type: ignore[method-assign]
    at_work.shut_down()
    assert children() == []
