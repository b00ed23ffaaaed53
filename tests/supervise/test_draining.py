"""Tasks that are over: their client delivers, then the courier (courier_actor.py), and nothing is thrown away."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from streamserver.core.leftovers import (
    DRAINED_FILE,
    Drained,
    forget_drained,
    note_letters,
    read_drained,
    read_list,
)
from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.launchers.local import LocalLauncher
from streamserver.store import Desired, TaskStore, store_url
from streamserver.supervise.courier import CourierKeeper
from streamserver.supervise.draining import Draining
from streamserver.supervise.group import Group
from streamserver.supervise.tally import Tally
from tests.supervise.house import SILENCE_S, House, children, is_alive, wait_until

MakeHouse = Callable[..., House]


@pytest.fixture
def house(make_house: MakeHouse) -> House:
    """Its tasks raise an alarm each that waits until their folder holds ``deliver``."""
    house = make_house()
    house.client = ["raise"]
    return house


def finished(house: House, name: str = "t1") -> str:
    house.engine = ["finish"]
    key = house.create(name)
    house.wait_for(key, TaskState.FINISHED)
    return key


def left_to_the_courier(house: House, name: str = "t1") -> str:
    key = finished(house, name)
    house.signal(key, "client", signal.SIGKILL)
    wait_until(lambda: key in read_list(house.settings.state_path), "the courier is told")
    return key


def deliver(house: House, key: str) -> None:
    (house.folder(key) / "deliver").touch()


def drained(house: House, key: str) -> Drained | None:
    return read_drained(house.folder(key))


def test_a_file_that_ended_is_finished_once_and_its_client_stays_until_all_is_delivered(house: House) -> None:
    house.open()
    key = finished(house)
    assert house.wait_for(key, TaskState.FINISHED).reason == "the source has ended"
    assert is_alive(house.pid(key, "client"))
    deliver(house, key)
    wait_until(lambda: children() == [] and not house.lent_ports(), "all is delivered")
    wait_until(lambda: (row := house.record(key)) and row.port == 0, "the port is free in the store too")
    assert house.wait_for(key, TaskState.FINISHED).restarts == 0
    assert drained(house, key) == Drained()
    assert (house.courier_starts(), house.folder(key).is_dir()) == (0, True)


def test_what_a_client_leaves_behind_is_the_couriers_and_no_client_is_started_for_it(house: House) -> None:
    house.open()
    key = left_to_the_courier(house)
    wait_until(house.courier_pid, "the courier runs")
    wait_until(lambda: (row := house.record(key)) and row.port == 0, "the port is free before all is delivered")
    deliver(house, key)
    wait_until(lambda: drained(house, key), "it is delivered")
    wait_until(lambda: children() == [] and not read_list(house.settings.state_path), "the courier has left")
    assert sorted(house.starts(key)) == ["client raise", "engine finish"]
    assert (house.wait_for(key, TaskState.FINISHED).restarts, house.courier_starts()) == (0, 1)


def test_a_client_that_keeps_dead_letters_leaves_it_to_the_courier_to_say_so(house: House) -> None:
    house.open()
    key = finished(house)
    (house.folder(key) / "dead").write_text("2")
    deliver(house, key)
    wait_until(lambda: drained(house, key) == Drained(2), "the courier has said so")


def test_a_client_that_gets_nowhere_in_its_time_is_ended(make_house: MakeHouse) -> None:
    house = make_house(drain_timeout_s=0.3)
    house.client = ["raise"]
    house.open()
    key = finished(house)
    wait_until(lambda: key in read_list(house.settings.state_path), "the courier is told")
    assert house.pid(key, "client") == 0
    assert not house.lent_ports()


def test_a_deleted_task_delivers_what_it_raised_before_it_goes(house: House) -> None:
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    house.store.delete("t1")
    house.wait_for(key, TaskState.STOPPING)
    wait_until(lambda: house.pid(key, "engine") == 0, "the engine is gone")
    assert is_alive(house.pid(key, "client"))
    deliver(house, key)
    wait_until(lambda: house.record(key) is None, "the row is gone")
    assert not house.folder(key).exists()


def test_a_deleted_task_whose_receiver_is_away_is_kept_out_of_sight_until_the_courier_has_delivered(
    make_house: MakeHouse,
) -> None:
    house = make_house(drain_timeout_s=0.3)
    house.client = ["raise"]
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    house.store.delete("t1")
    wait_until(lambda: house.courier_pid() and not house.lent_ports(), "the courier delivers, the port is free")
    assert house.store.find("t1") is None
    again = house.create()
    house.wait_for(again, TaskState.RUNNING)
    kept = house.wait_for(key, TaskState.STOPPING)
    assert (kept.desired, kept.port) == (Desired.DELETED, 0)
    deliver(house, key)
    wait_until(lambda: house.record(key) is None, "the row is gone")
    assert not house.folder(key).exists()
    assert house.is_in(again, TaskState.RUNNING)


def test_a_deleted_task_is_kept_for_its_dead_letters_until_they_are_replayed(house: House) -> None:
    house.open()
    key = left_to_the_courier(house)
    (house.folder(key) / "dead").write_text("1")
    house.store.delete("t1")
    deliver(house, key)
    wait_until(lambda: drained(house, key), "all but the dead letter is delivered")
    wait_until(lambda: not read_list(house.settings.state_path), "the courier has nothing to do")
    house.wait_for(key, TaskState.STOPPING)
    house.wait_rounds(5)
    assert house.is_in(key, TaskState.STOPPING)
    (house.folder(key) / "dead").unlink()
    forget_drained(house.folder(key))  # as the web process does for a replay
    wait_until(lambda: house.record(key) is None, "the row is gone")
    assert not house.folder(key).exists()


def test_dead_letters_whose_time_has_passed_keep_no_deleted_task(house: House) -> None:
    house.open()
    key = left_to_the_courier(house)
    (house.folder(key) / "dead").write_text("1")
    note_letters(house.folder(key), 0.0)
    house.store.delete("t1")
    deliver(house, key)
    wait_until(lambda: house.record(key) is None, "the row is gone")


def test_the_time_of_dead_letters_is_counted_without_the_wall_clock_and_over_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1e12)  # a clock that is wrong by many thousand years
    settings = Settings(state_dir=str(tmp_path), retention_h=2)
    store = TaskStore(store_url(tmp_path))
    record, _ = store.create("t1", "cam", {}, "hash")
    store.close()
    (tmp_path / "run").mkdir()
    keeper = CourierKeeper(settings, LocalLauncher(settings), Tally(tmp_path), random=lambda: 0.5)
    draining = Draining(settings, keeper, lambda: 0.5)

    def may_go(*moments: float) -> list[bool]:
        group = Group(record, tmp_path, TaskState.STOPPING)  # as a supervisor that has just started
        return [draining.may_go(group, Drained(1), now) for now in moments]

    assert may_go(1000.0, 6000.0) == [False, False]
    assert may_go(10.0, 2209.0, 2210.0) == [False, False, True], "a reboot begins the monotonic clock anew"


def test_a_replay_for_a_task_that_is_over_is_noticed(house: House) -> None:
    house.open()
    key = left_to_the_courier(house)
    deliver(house, key)
    wait_until(lambda: drained(house, key) and children() == [], "all is delivered, the courier has left")
    forget_drained(house.folder(key))
    wait_until(lambda: drained(house, key) and house.courier_starts() == 2, "it is delivered again")
    assert house.is_in(key, TaskState.FINISHED)


def test_an_edit_starts_the_new_version_while_the_old_one_delivers(house: House) -> None:
    house.open()
    old = house.create()
    house.wait_for(old, TaskState.RUNNING)
    record, _ = house.store.create("t1", "cam", {"TaskID": "t1", "edited": True}, "another hash")
    new = house.wait_for(record.key, TaskState.RUNNING)
    previous = house.wait_for(old, TaskState.STOPPING)
    assert new.port != previous.port
    deliver(house, old)
    wait_until(lambda: house.record(old) is None, "the old version is gone")
    assert house.is_in(record.key, TaskState.RUNNING)


def test_a_new_supervisor_leaves_undelivered_tasks_to_the_courier_at_once_and_drained_ones_alone(house: House) -> None:
    house.open()
    waits, goes, done = (finished(house, name) for name in ("waits", "goes", "done"))
    deliver(house, done)
    wait_until(lambda: drained(house, done), "all of one is delivered")
    house.close()
    assert children() == []
    house.store.delete("goes")
    house.open()
    wait_until(lambda: read_list(house.settings.state_path) == {waits, goes}, "the courier is told of those that wait")
    assert (house.pid(waits, "client"), house.pid(goes, "client"), house.pid(done, "client")) == (0, 0, 0)
    for key in (waits, goes):
        deliver(house, key)
    wait_until(lambda: house.record(goes) is None and drained(house, waits), "both are delivered")
    assert [len(house.starts(key)) for key in (waits, done)] == [2, 2]


def test_a_task_without_an_outbox_needs_nothing(make_house: MakeHouse) -> None:
    house = make_house()
    house.open()
    key = finished(house)
    wait_until(lambda: children() == [] and not house.lent_ports(), "the client is gone")
    (house.folder(key) / DRAINED_FILE).unlink(missing_ok=True)
    house.close()
    house.open()
    other = house.create("other")
    house.wait_for(other, TaskState.FINISHED)
    assert house.courier_starts() == 0


@pytest.mark.parametrize("behaviour", ["exit:70", "exit:0", "hang", "swell:150"])
def test_a_courier_that_fails_is_started_again(
    make_house: MakeHouse, behaviour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.supervise.member.MEMORY_INTERVAL_S", 0.2)
    house = make_house(memory_limit_mb=100, heartbeat_timeout_s=SILENCE_S)
    house.client = ["raise"]
    (house.settings.state_path / "courier.behaviour").write_text(f"{behaviour}\nwork")
    house.open()
    key = left_to_the_courier(house)
    wait_until(lambda: house.courier_starts() == 2, "it is started again")
    deliver(house, key)
    wait_until(lambda: drained(house, key), "all is delivered")


def test_a_courier_that_was_stopped_is_found(make_house: MakeHouse) -> None:
    house = make_house(heartbeat_timeout_s=SILENCE_S)
    house.client = ["raise"]
    house.open()
    key = left_to_the_courier(house)
    wait_until(lambda: house.courier_starts() == 1, "the courier runs")
    stopped = house.courier_pid()
    assert stopped
    os.kill(stopped, signal.SIGSTOP)
    wait_until(lambda: house.courier_starts() == 2, "it is started again")
    deliver(house, key)
    wait_until(lambda: drained(house, key), "all is delivered")


def test_the_courier_ends_with_the_supervisor_and_nobody_says_that_all_is_delivered(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamserver.supervise.courier")
    house.open()
    left_to_the_courier(house)
    wait_until(house.courier_pid, "the courier runs")
    house.close()
    assert children() == []
    assert caplog.messages[-1] == "the courier has ended: what waits is delivered after the next start"
