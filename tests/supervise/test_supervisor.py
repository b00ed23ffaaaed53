"""The supervisor with real processes (actor.py), killed, hung and ended in every way a task can."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from streamserver.core.errors import GraphError, StoreError
from streamserver.core.states import TaskState
from streamserver.core.status import ENGINE_FILE, EngineStatus
from streamserver.store import TaskRecord
from tests.supervise.house import FOR_EVER, SILENCE_S, House, children, is_alive, wait_until

MakeHouse = Callable[..., House]


def test_a_task_runs_and_after_its_deletion_nothing_is_left(make_house: MakeHouse) -> None:
    house = make_house().open()
    key = house.create()
    record = house.wait_for(key, TaskState.RUNNING)
    assert record.port in house.lent_ports()
    assert (record.restarts, record.reason) == (0, "")
    assert (house.folder(key).stat().st_mode & 0o777) == 0o700
    assert len(children()) == 2
    house.store.delete("t1")
    wait_until(lambda: house.record(key) is None, "the row is gone")
    assert not house.folder(key).exists()
    wait_until(lambda: not house.lent_ports(), "the port is returned")
    assert children() == []


@pytest.mark.parametrize("role", ["engine", "client"])
def test_a_killed_process_takes_its_partner_with_it_and_both_come_back(make_house: MakeHouse, role: str) -> None:
    house = make_house().open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    before = {name: house.pid(key, name) for name in ("engine", "client")}
    house.signal(key, role, signal.SIGKILL)
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running again")
    assert not any(is_alive(pid) for pid in before.values())
    assert house.starts(key).count("engine work") == 2


def test_why_a_task_was_started_again_is_said_while_it_starts(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine = ["exit:70:out of memory", "unready"]
    house.open()
    key = house.create()
    wait_until(lambda: (r := house.record(key)) and r.restarts and r.state is TaskState.STARTING, "second start")
    record = house.record(key)
    assert record is not None
    assert record.reason == "engine: out of memory"


def test_a_silent_engine_writes_its_traceback_and_is_started_again(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamserver.supervise.group.ABORT_PATIENCE_S", 60.0)
    house = make_house(heartbeat_timeout_s=SILENCE_S)
    house.later = FOR_EVER
    house.engine = ["hang", "work"]
    house.open()
    key = house.create()
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running again")
    output = (house.folder(key) / "logs" / "engine.out").read_text()
    assert "Fatal Python error: Aborted" in output
    assert "actor.py" in output


def test_an_engine_that_ignores_every_request_is_killed(make_house: MakeHouse) -> None:
    house = make_house(heartbeat_timeout_s=SILENCE_S)
    house.later = FOR_EVER
    house.engine = ["stubborn", "work"]
    house.open()
    key = house.create()
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running again")


def test_a_process_that_does_not_get_ready_is_started_again(make_house: MakeHouse) -> None:
    house = make_house(start_timeout_s=1.0)
    house.later = FOR_EVER
    house.engine = ["unready", "work"]
    house.open()
    key = house.create()
    house.wait_until_was(key, TaskState.BACKOFF)
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running")


def test_what_no_restart_can_mend_fails_at_once_with_the_reason(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine = ["exit:66:model 'x.onnx' not found in /models"]
    house.open()
    key = house.create()
    record = house.wait_for(key, TaskState.FAILED)
    assert (record.reason, record.restarts) == ("engine: model 'x.onnx' not found in /models", 0)
    wait_until(lambda: children() == [] and not house.lent_ports(), "client and port are gone")
    assert house.starts(key).count("engine exit:66:model 'x.onnx' not found in /models") == 1


def test_a_port_that_is_taken_costs_no_restart(make_house: MakeHouse) -> None:
    house = make_house()
    house.client = ["exit:73", "exit:73", "work"]
    house.open()
    key = house.create()
    record = house.wait_for(key, TaskState.RUNNING)
    ports = [int(line) for line in (house.folder(key) / "prepared").read_text().splitlines()]
    assert len(ports) == 3
    assert ports == sorted(set(ports))
    assert (record.port, record.restarts) == (ports[-1], 0)
    assert house.lent_ports() == {ports[-1]}


def test_a_live_source_never_finishes(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine, house.finite = ["exit:0", "work"], False
    house.open()
    key = house.create()
    record = house.wait_for(key, TaskState.RUNNING)
    assert record.restarts == 1


def test_a_task_can_be_deleted_in_every_state(make_house: MakeHouse) -> None:
    house = make_house()
    house.options["max_starts"] = 1
    house.engine = ["unready"]
    house.open()
    starting, pending = house.create("a"), house.create("b")
    house.wait_for(starting, TaskState.STARTING)
    assert house.is_in(pending, TaskState.PENDING)
    for task_id in ("b", "a"):
        house.store.delete(task_id)
    house.engine = ["exit:70"]
    backing_off = house.create("c")
    house.wait_for(backing_off, TaskState.BACKOFF)
    house.store.delete("c")
    house.engine = ["exit:65"]
    failed = house.create("d")
    house.wait_for(failed, TaskState.FAILED)
    house.store.delete("d")
    wait_until(lambda: house.store.all() == [], "all rows are gone")
    assert list((house.settings.state_path / "tasks").iterdir()) == []


def test_a_new_supervisor_starts_what_ran_and_leaves_what_ended(make_house: MakeHouse) -> None:
    house = make_house()
    house.open()
    running = house.create("running")
    house.wait_for(running, TaskState.RUNNING)
    house.engine = ["finish"]
    finished = house.create("finished")
    house.wait_for(finished, TaskState.FINISHED)
    house.client = ["raise"]
    undelivered = house.create("undelivered")
    house.wait_for(undelivered, TaskState.FINISHED)
    house.engine = ["exit:66"]
    failed = house.create("failed")
    house.wait_for(failed, TaskState.FAILED)
    house.close()
    assert children() == []
    assert house.is_in(running, TaskState.RUNNING)
    house.store.delete("undelivered")
    orphan = house.folder("0123456789abcdef")
    (orphan / "run").mkdir(parents=True)
    house.engine, house.client = ["work"], ["work"]
    house.open()
    wait_until(lambda: house.starts(running).count("engine work") == 2, "what ran is started")
    house.wait_for(running, TaskState.RUNNING)
    house.wait_for(failed, TaskState.RUNNING)
    wait_until(house.courier_pid, "the courier delivers what waits")
    (house.folder(undelivered) / "deliver").touch()
    wait_until(lambda: house.record(undelivered) is None, "the deleted row is gone")
    assert house.is_in(finished, TaskState.FINISHED)
    assert len(house.starts(finished)) == 2
    assert not orphan.exists()


def test_folders_stay_while_the_database_knows_no_task_at_all(
    make_house: MakeHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house = make_house()
    folder = house.folder("0123456789abcdef")
    folder.mkdir(parents=True)
    house.open()
    wait_until(lambda: "the database has no task, but 1 folders" in caplog.text, "it says so")
    house.close()
    assert folder.exists()
    house.create()
    house.open()
    wait_until(lambda: not folder.exists(), "it is gone once tasks are there")


@pytest.mark.parametrize("role", ["engine", "client"])
def test_a_process_that_was_stopped_by_a_signal_is_found_even_before_it_is_ready(
    make_house: MakeHouse, role: str
) -> None:
    house = make_house(heartbeat_timeout_s=SILENCE_S)
    house.later = FOR_EVER
    house.engine = ["unready", "work"]
    house.open()
    key = house.create()
    wait_until(lambda: house.pid(key, role), "it is started")
    house.signal(key, role, signal.SIGSTOP)
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running again")


def test_a_status_from_before_the_last_boot_counts_for_nothing(make_house: MakeHouse) -> None:
    """The monotonic clock begins anew, so an old beat may lie in the future."""
    house = make_house()
    key = house.create()
    (house.folder(key) / "run").mkdir(parents=True)
    old = EngineStatus(run=key, ready=True, beat=time.monotonic() + 1e6)
    (house.folder(key) / ENGINE_FILE).write_text(json.dumps(asdict(old)))
    house.engine = ["mute"]
    house.open()
    house.wait_for(key, TaskState.STARTING)
    house.wait_rounds(20)
    assert house.is_in(key, TaskState.STARTING)


@pytest.mark.parametrize(
    ("role", "more"), [("engine", 0), ("client", 0), ("engine", 1)], ids=["engine", "client", "grandchild"]
)
def test_a_process_that_holds_too_much_memory_is_started_again_as_planned(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, role: str, more: int
) -> None:
    monkeypatch.setattr("streamserver.supervise.member.MEMORY_INTERVAL_S", 0.2)
    house = make_house(memory_limit_mb=100)
    setattr(house, role, ["swell_child:150" if more else "swell:150", "work"])
    house.open()
    key = house.create()
    reason = house.wait_until_was(key, TaskState.BACKOFF).reason
    assert re.fullmatch(rf"{role} used 1\d\d MB of memory, more than memory_limit_mb \(100\): planned restart", reason)
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "running again")


def test_stopping_ends_everything_and_keeps_the_states(make_house: MakeHouse) -> None:
    house = make_house(heartbeat_timeout_s=60.0, stop_timeout_s=0.5)
    house.engine, house.client = ["stubborn"], ["parent"]
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    grandchild = int((house.folder(key) / "grandchild").read_text())
    house.close()
    assert children() == []
    wait_until(lambda: not is_alive(grandchild), "what the client started is gone too")
    assert house.is_in(key, TaskState.RUNNING)


def test_only_so_many_groups_start_at_a_time(make_house: MakeHouse) -> None:
    house = make_house()
    house.options["max_starts"] = 2
    house.engine = ["unready:go"]
    house.open()
    keys = [house.create(f"t{i}") for i in range(4)]
    for key in keys[:2]:
        house.wait_for(key, TaskState.STARTING)
    assert [house.is_in(key, TaskState.PENDING) for key in keys[2:]] == [True, True]
    for key in keys:
        wait_until(lambda key=key: house.folder(key).is_dir(), "its turn has come")
        (house.folder(key) / "go").touch()
    for key in keys:
        house.wait_for(key, TaskState.RUNNING)


def test_a_foreign_engine_waits_for_its_client_and_needs_no_status(make_house: MakeHouse) -> None:
    house = make_house()
    house.engine, house.foreign_engine = ["mute"], True
    house.open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    wait_until(lambda: house.starts(key) == ["client work", "engine mute"], "both have begun, the client first")


def test_a_task_that_cannot_be_prepared_fails_with_the_reason(make_house: MakeHouse) -> None:
    def refuse(record: TaskRecord, folder: Path, **_: Any) -> Any:
        raise GraphError("graph 0: no sink", cure="mark one")

    house = make_house()
    house.options["prepare"] = refuse
    house.open()
    record = house.wait_for(house.create(), TaskState.FAILED)
    assert record.reason == "graph 0: no sink; mark one"


def test_a_task_whose_handling_breaks_does_not_stop_its_neighbours(
    make_house: MakeHouse, caplog: pytest.LogCaptureFixture
) -> None:
    house = make_house()

    def break_one(record: TaskRecord, folder: Path, **options: Any) -> Any:
        if record.task_id == "broken":
            raise ZeroDivisionError("a bug")
        return house._prepare(record, folder, **options)

    house.options["prepare"] = break_one
    house.open()
    broken, sound = house.create("broken"), house.create("sound")
    house.wait_for(sound, TaskState.RUNNING)
    assert house.wait_for(broken, TaskState.BACKOFF).reason == "internal error: ZeroDivisionError: a bug"
    assert any(record.exc_info for record in caplog.records)


def test_a_store_that_cannot_be_read_or_written_for_a_while_changes_nothing(
    make_house: MakeHouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("streamserver.supervise.records._COMPLAINT_INTERVAL_S", 600.0)
    house = make_house().open()
    key = house.create()
    house.wait_for(key, TaskState.RUNNING)
    with monkeypatch.context() as broken, caplog.at_level(logging.ERROR):
        written: list[int] = []
        broken.setattr(house.store, "version", fail)
        broken.setattr(house.store, "set_states", lambda *_, **__: written.append(1) or fail())
        house.signal(key, "engine", signal.SIGKILL)
        wait_until(lambda: house.starts(key).count("engine work") == 2, "the engine is back")
        wait_until(lambda: len(written) > 1, "it is tried again")
    trouble = [r.getMessage() for r in caplog.records if "disk I/O error" in r.getMessage()]
    assert len(trouble) == 1 and "cannot be" in trouble[0], "it is said, and not in every round"
    wait_until(lambda: (r := house.record(key)) and r.restarts == 1 and r.state is TaskState.RUNNING, "it is written")


def fail(*_: Any, **__: Any) -> Any:
    raise StoreError("disk I/O error")


def test_many_lives_leave_no_file_descriptor_child_or_port_behind(make_house: MakeHouse) -> None:
    house = make_house().open()
    house.wait_for(house.create("first"), TaskState.RUNNING)
    before = house.at_rest(lambda: descriptors(house))
    for i in range(4):
        key = house.create(f"t{i}")
        house.wait_for(key, TaskState.RUNNING)
        house.signal(key, "client", signal.SIGKILL)
        wait_until(lambda key=key: (r := house.record(key)) and r.restarts == 1, "the crash is noticed")
        house.store.delete(f"t{i}")
        wait_until(lambda key=key: house.record(key) is None, "the row is gone")
    wait_until(lambda: len(house.lent_ports()) == 1 and len(children()) == 2, "only the first task is left")
    assert house.at_rest(lambda: descriptors(house)) == before


def descriptors(house: House) -> list[str]:
    """What this process has open, by kind; the store keeps a bounded pool of connections, opened as they are wanted."""
    house.store.version()
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if not target.startswith(str(house.settings.state_path / "tasks.sqlite")):
                found.append(re.sub(r"\d+", "N", target))
    return sorted(found)
