"""The supervisor on a full disk: it waits, says so, and ends nobody who only cannot show that he lives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.states import TaskState
from streamserver.store import TaskRecord
from tests.supervise.house import FOR_EVER, SILENCE_S, House, wait_until

MakeHouse = Callable[..., House]


def test_a_full_disk_is_waited_for(make_house: MakeHouse) -> None:
    house = make_house()
    tried = []

    def refuse_once(record: TaskRecord, folder: Path, **options: Any) -> Any:
        tried.append(folder)
        if len(tried) == 1:
            raise OSError(28, "No space left on device")
        return house._prepare(record, folder, **options)

    house.options["prepare"] = refuse_once
    house.open()
    key = house.create()
    assert "No space left" in house.wait_until_was(key, TaskState.BACKOFF).reason
    house.wait_for(key, TaskState.RUNNING)


@pytest.mark.parametrize("behaviour", ["hang", "unready"])
def test_nobody_is_started_again_for_a_full_disk(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    house = make_house(start_timeout_s=1.0, heartbeat_timeout_s=SILENCE_S)
    house.later = FOR_EVER
    house.engine = [behaviour, "work"]
    with monkeypatch.context() as disk:
        disk.setattr("streamserver.supervise.group.write_atomically", fill)
        house.open()
        key = house.create()
        state = TaskState.RUNNING if behaviour == "hang" else TaskState.STARTING
        wait_until(
            lambda: (r := house.record(key)) and r.state is state and "No space left" in r.reason, "the reason is shown"
        )
        record = house.wait_for(key, state)
        assert record.reason.startswith(f"{house.folder(key)}: No space left on device; check the disk's free space")
        assert record.restarts == 0
        pids = house.pid(key, "engine"), house.pid(key, "client")
        house.wait_rounds(30)
        assert (house.pid(key, "engine"), house.pid(key, "client")) == pids
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1, "with room on the disk, silence counts again")
    house.wait_for(key, TaskState.RUNNING)


def test_the_reason_goes_when_the_disk_has_room_again(make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house(heartbeat_timeout_s=SILENCE_S)
    house.engine = ["pause"]
    with monkeypatch.context() as disk:
        disk.setattr("streamserver.supervise.group.write_atomically", fill)
        house.open()
        key = house.create()
        wait_until(lambda: (r := house.record(key)) and "No space left" in r.reason, "the reason is shown")
        goes_on = time.monotonic()
        (house.folder(key) / "go").touch()
        wait_until(
            lambda: house._group(key).members["engine"].beat > goes_on, "the supervisor has seen that it goes on"
        )
    wait_until(lambda: (r := house.record(key)) and not r.reason, "the reason is gone")
    assert house.wait_for(key, TaskState.RUNNING).restarts == 0


def fill(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def test_who_gets_ready_on_a_full_disk_goes_on_saying_so(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house(start_timeout_s=1.0)
    house.engine = ["unready:go"]
    with monkeypatch.context() as disk:
        disk.setattr("streamserver.supervise.group.write_atomically", fill)
        house.open()
        key = house.create()
        wait_until(lambda: (r := house.record(key)) and "No space left" in r.reason, "the reason is shown")
        (house.folder(key) / "go").touch()
        assert "No space left" in house.wait_for(key, TaskState.RUNNING).reason
    wait_until(lambda: (r := house.record(key)) and not r.reason, "the reason is gone")
