"""Tasks that are over: nobody keeps them in memory, and nobody forgets them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamserver.core.states import TaskState
from streamserver.supervise import patrol
from streamserver.supervise.folders import OUTBOX_FILE, make_folder
from streamserver.supervise.starts import WAITS
from tests.supervise.house import House, wait_until

MakeHouse = Callable[..., House]

COUNT = 2 * patrol.TASKS_A_STEP + 7


def _ended(house: House, count: int) -> list[str]:
    keys = [house.create(f"t{number}") for number in range(count)]
    for key in keys:
        house.store.set_state(key, TaskState.FINISHED)
        make_folder(house.folder(key))
    return keys


def test_a_task_that_is_over_and_drained_has_no_group_and_can_still_be_deleted(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine = ["exit:0"]
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.FINISHED)
    wait_until(lambda: house._group(key) is None, "it rests")
    assert house.lent_ports() == frozenset()
    record = house.record(key)
    assert record and (record.state, record.port) == (TaskState.FINISHED, 0)
    assert house.store.delete("t1")
    wait_until(lambda: house.store.all() == [], "row and folder are gone")
    assert not house.folder(key).exists()


def test_tasks_that_ended_long_ago_are_not_taken_over(make_house: MakeHouse) -> None:
    house = make_house()
    keys = _ended(house, 5)
    house.open()
    house.wait_rounds(3)
    assert all(house._group(key) is None for key in keys)
    assert house.store.delete("t3")
    wait_until(lambda: house.record(keys[3]) is None, "the deleted one is gone")
    assert [row.state for row in house.store.all()] == [TaskState.FINISHED] * 4


def test_what_waits_in_the_last_of_many_is_found_and_delivered(make_house: MakeHouse) -> None:
    house = make_house()
    keys = sorted(_ended(house, COUNT))
    (house.folder(keys[-1]) / OUTBOX_FILE).touch()
    (house.folder(keys[-1]) / "deliver").touch()  # the courier of this house only does it then
    (house.folder(keys[0]) / "run" / ".client.json.0123abcd").touch()
    house.open()
    wait_until(lambda: (house.folder(keys[-1]) / "run" / "drained").exists(), "the courier was there")
    wait_until(lambda: house._group(keys[-1]) is None, "it rests again")
    assert list((house.folder(keys[0]) / "run").iterdir()) == [], "what a kill left half written is gone"


@pytest.mark.parametrize("state", [TaskState.FINISHED, TaskState.FAILED])
def test_what_failed_is_tried_again_by_a_new_supervisor_and_what_finished_is_not(
    make_house: MakeHouse, state: TaskState
) -> None:
    house = make_house()
    key = house.create()
    house.store.set_state(key, state, reason="so it was")
    house.open()
    if state is TaskState.FAILED:
        house.wait_for(key, TaskState.RUNNING)
    else:
        house.wait_rounds(5)
        assert house.is_in(key, state)


def test_what_the_user_asks_for_goes_before_what_is_started_again(make_house: MakeHouse) -> None:
    house = make_house()
    house.options["max_starts"] = 1
    house.engine = ["unready:go"]
    before = [house.create(f"before {number}") for number in range(3)]
    house.open()
    house.wait_for(before[0], TaskState.STARTING)
    asked = house.create("asked for")
    wait_until(lambda: [row.reason for row in house.store.all()[1:]] == [WAITS] * 3, "they say that they wait")
    (house.folder(before[0]) / "go").touch()
    started = house.wait_for(asked, TaskState.STARTING)
    assert started.reason == ""
    assert [house.is_in(key, TaskState.PENDING) for key in before[1:]] == [True, True]
