"""The courier as the supervisor starts it: a real process, real outboxes, receivers on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import exitcodes
from streamserver.core.leftovers import Drained, forget_drained, mark_drained, read_drained, write_list
from streamserver.core.status import ClientStatus, CourierStatus
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.outbox.letters import replay
from tests.business.support import REPOSITORY, receiver, start, wait_until
from tests.servers.ports import free_port

PATIENCE_S = 60.0
COMMAND = [sys.executable, "-m", "streamserver.business.courier"]
SOON_IDLE = "import sys; from streamserver.business import courier; courier.IDLE_S = 1.0; sys.exit(courier.main([]))"
Begin = Callable[..., "Courier"]


class Courier:
    """A courier on a state folder."""

    def __init__(self, state: Path, *, soon_idle: bool = False, **environment: str) -> None:
        command = [sys.executable, "-c", SOON_IDLE] if soon_idle else COMMAND
        self.state = state
        self.process = start(command, state, STREAMSERVER_STATE_DIR=str(state), **environment)

    def status(self) -> CourierStatus | None:
        return CourierStatus.read(self.state / "courier.status.json")

    def wait_drained(self, *keys: str) -> None:
        for key in keys:
            drained = partial(read_drained, self.state / "tasks" / key)
            wait_until(lambda: self._lives() and drained(), what=f"{key} is drained", limit_s=PATIENCE_S)  # noqa: B023

    def wait_status(self, condition: Callable[[CourierStatus], bool]) -> None:
        wait_until(
            lambda: self._lives() and (status := self.status()) is not None and condition(status),
            what="the courier's status says so",
            limit_s=PATIENCE_S,
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def _lives(self) -> bool:
        assert self.process.poll() is None, f"the courier ended: {(self.state / 'client.out').read_text()}"
        return True


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    (folder / "tasks").mkdir(parents=True)
    return folder


@pytest.fixture
def begin(state: Path) -> Iterator[Begin]:
    couriers: list[Courier] = []

    def courier(*keys: str, **environment: Any) -> Courier:
        write_list(state, keys)
        couriers.append(Courier(state, **environment))
        return couriers[-1]

    yield courier
    for one in couriers:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def make_task(state: Path, key: str, urls: list[str], *, alarms: int, dead: int = 0) -> Path:
    """The folder of a task that is over, with alarms that wait and dead letters."""
    folder = state / "tasks" / key
    (folder / "run").mkdir(parents=True)
    config = {"run": key, "task_id": f"task {key}", "report_urls": urls}
    (folder / "client.json").write_text(json.dumps(config))
    with_alarms(folder, alarms, dead=dead)
    ClientStatus(run=key, events=alarms + dead, pending=alarms + dead, received=77).write(folder / "run/client.json")
    return folder


def with_alarms(folder: Path, alarms: int, *, dead: int = 0) -> None:
    box = Outbox(folder / "outbox.sqlite", limits=Limits())
    for number in range(dead + alarms):
        body = json.dumps([{"TaskID": folder.name, "FrameIndex": number}]).encode()
        box.add([NewEvent(algorithm=number % 2, body=body)])
        if number < dead:
            [event] = box.claim(1)
            box.bury(event.id, "nobody wants it")
    box.close()


def told(folder: Path) -> ClientStatus:
    status = ClientStatus.read(folder / "run/client.json")
    assert status is not None
    return status


def test_what_waits_in_all_outboxes_is_delivered_and_told(state: Path, begin: Begin) -> None:
    with receiver() as first, receiver() as second:
        folders = [make_task(state, f"k{n}", [[first.url, second.url][n % 2]], alarms=3) for n in range(4)]
        courier = begin("k0", "k1", "k2", "k3", soon_idle=True)
        courier.wait_drained("k0", "k1", "k2", "k3")
        assert [(told(f).run, told(f).delivered, told(f).pending) for f in folders] == [(f.name, 3, 0) for f in folders]
        assert all(told(f).per_algorithm == [2, 1] and told(f).received == 77 for f in folders)
        assert sorted(report[0]["TaskID"] for _, report in first.posts) == ["k0"] * 3 + ["k2"] * 3
        assert {headers["X-Task-Id"] for headers, _ in second.posts} == {"task k1", "task k3"}
        assert len({*first.ids(), *second.ids()}) == 12
        courier.wait_status(lambda status: (status.boxes, status.pending, status.ready) == (0, 0, True))
        write_list(state, [])
        assert courier.process.wait(PATIENCE_S) == exitcodes.FINISHED
    assert "everything has been delivered" in (state / "logs" / "courier.log").read_text()
    assert all(read_drained(folder) == Drained() for folder in folders)


def test_a_receiver_that_comes_back_gets_what_waits_and_the_status_told_why(state: Path, begin: Begin) -> None:
    port = free_port()
    folder = make_task(state, "k0", [f"http://user:secret@127.0.0.1:{port}/up"], alarms=5)
    courier = begin("k0")
    wait_until(lambda: told(folder).last_error, what="the failure is told", limit_s=PATIENCE_S)
    assert (told(folder).pending, "secret" in told(folder).last_error) == (5, False)
    courier.wait_status(lambda status: status.pending == 5 and status.boxes == 1)
    assert read_drained(folder) is None
    with receiver(port) as address:
        courier.wait_drained("k0")
        assert sorted(address.frames()) == list(range(5))
    assert (told(folder).pending, told(folder).last_error) == (0, "")
    assert "secret" not in (state / "logs" / "courier.log").read_text()


def test_dead_letters_do_not_wait_and_a_replay_is_taken_up(state: Path, begin: Begin) -> None:
    with receiver() as address:
        folder = make_task(state, "k0", [address.url], alarms=1, dead=2)
        courier = begin("k0")
        courier.wait_drained("k0")
        assert read_drained(folder) == Drained(2)
        assert (told(folder).dead, told(folder).delivered) == (2, 1)
        assert told(folder).dead_reason == "nobody wants it"
        assert replay(folder / "outbox.sqlite", None) == 2
        forget_drained(folder)
        courier.wait_drained("k0")
        assert sorted(address.frames()) == [0, 1, 2]
        assert (told(folder).dead, told(folder).delivered) == (0, 3)
        assert read_drained(folder) == Drained()


def test_an_outbox_that_cannot_be_opened_is_told_and_stops_no_other(state: Path, begin: Begin) -> None:
    with receiver() as address:
        bad = make_task(state, "k0", [address.url], alarms=0)
        shutil.rmtree(bad / "outbox.sqlite", ignore_errors=True)
        for file in bad.glob("outbox.sqlite*"):
            file.unlink()
        (bad / "outbox.sqlite").mkdir()
        make_task(state, "k1", [address.url], alarms=2)
        courier = begin("k0", "k1")
        courier.wait_drained("k1")
        wait_until(lambda: "outbox.sqlite" in told(bad).last_error, what="it is told", limit_s=PATIENCE_S)
        assert read_drained(bad) is None
        (bad / "outbox.sqlite").rmdir()
        with_alarms(bad, 1)
        courier.wait_drained("k0")
        assert len(address.posts) == 3


def test_an_outbox_that_kills_the_courier_each_time_stops_no_other(state: Path, begin: Begin) -> None:
    """The good one needs longer than the bad one lets a courier live."""

    def slow(request: BaseHTTPRequestHandler) -> None:
        time.sleep(0.5)
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with receiver() as address:
        address.act = slow
        bad, good = (make_task(state, key, [address.url], alarms=1) for key in ("bad", "good"))
        for file in bad.glob("outbox.sqlite-*"):
            file.unlink()
        lives = 0
        while read_drained(good) is None:
            lives += 1
            assert lives < 10, "it is never delivered"
            (bad / "outbox.sqlite").write_bytes(b"garbage " * 1000)
            courier = begin("bad", "good", STREAMSERVER_FAILPOINTS="restore.moved_aside=kill")
            assert courier.process.wait(PATIENCE_S) == -signal.SIGKILL
        assert read_drained(bad) is None


def test_a_damaged_outbox_is_mended_and_what_is_lost_is_counted(state: Path, begin: Begin) -> None:
    with receiver() as address:
        folder = make_task(state, "k0", [address.url], alarms=4)
        for file in folder.glob("outbox.sqlite-*"):
            file.unlink()
        (folder / "outbox.sqlite").write_bytes(b"garbage " * 1000)
        begin("k0").wait_drained("k0")
    assert (told(folder).events, told(folder).lost, told(folder).pending) == (4, 4, 0)


def test_an_outbox_that_somebody_removed_is_a_loss_that_is_counted(state: Path, begin: Begin) -> None:
    folder = make_task(state, "k0", ["http://127.0.0.1:9/up"], alarms=2)
    for file in folder.glob("outbox.sqlite*"):
        file.unlink()
    begin("k0").wait_drained("k0")
    assert (told(folder).events, told(folder).lost, told(folder).pending) == (2, 2, 0)


def test_where_the_alarms_go_is_read_from_the_request_when_the_other_file_is_spoiled(state: Path, begin: Begin) -> None:
    with receiver() as address:
        folder = make_task(state, "k0", [address.url], alarms=1)
        (folder / "client.json").write_text("{")
        request: dict[str, Any] = {"TaskID": "t1", "Reporting": {"ReportUrlList": [address.url]}}
        (folder / "request.json").write_text(json.dumps(request))
        lonely = make_task(state, "k1", [address.url], alarms=1)
        (lonely / "client.json").unlink()
        begin("k0", "k1").wait_drained("k0")
        assert {headers["X-Task-Id"] for headers, _ in address.posts} == {"t1"}
        wait_until(lambda: "request.json" in told(lonely).last_error, what="it is told", limit_s=PATIENCE_S)
        assert read_drained(lonely) is None


def test_folders_without_alarms_or_that_are_gone_need_nothing(state: Path, begin: Begin) -> None:
    empty = state / "tasks" / "k0"
    (empty / "run").mkdir(parents=True)
    done = make_task(state, "k1", ["http://127.0.0.1:9/up"], alarms=1)
    mark_drained(done, Drained())
    courier = begin("k0", "k1", "gone")
    courier.wait_drained("k0")
    courier.wait_status(lambda status: status.boxes == 0)
    assert told(done).pending == 1
    assert courier.end() == exitcodes.FINISHED
    assert not (state / "tasks" / "gone").exists()


def test_a_folder_that_is_removed_under_it_is_left(state: Path, begin: Begin) -> None:
    folder = make_task(state, "k0", [f"http://127.0.0.1:{free_port()}/up"], alarms=1)
    courier = begin("k0")
    wait_until(lambda: told(folder).last_error, what="it is at work", limit_s=PATIENCE_S)
    shutil.rmtree(folder.rename(state / "gone"))  # in one step, for it writes there
    courier.wait_status(lambda status: status.boxes == 0)
    assert not folder.exists()


def test_many_outboxes_for_a_dead_address_hold_up_no_other_and_take_few_files(state: Path, begin: Begin) -> None:
    port = free_port()
    for number in range(40):
        make_task(state, f"dead{number:02}", [f"http://127.0.0.1:{port}/up"], alarms=1)
    with receiver() as address:
        for number in range(3):
            make_task(state, f"well{number}", [address.url], alarms=1)
        keys = [folder.name for folder in (state / "tasks").iterdir()]
        courier = begin(*keys)
        courier.wait_drained("well0", "well1", "well2")
        courier.wait_status(lambda status: (status.boxes, status.pending) == (40, 40))
        assert len(os.listdir(f"/proc/{courier.process.pid}/fd")) < 160
    with receiver(port) as address:
        courier.wait_drained(*(f"dead{number:02}" for number in range(40)))
        assert len(set(address.ids())) == len(address.ids()) == 40


def test_what_leaves_the_list_is_left_alone(state: Path, begin: Begin) -> None:
    port = free_port()
    folder = make_task(state, "k0", [f"http://127.0.0.1:{port}/up"], alarms=1)
    courier = begin("k0")
    wait_until(lambda: told(folder).last_error, what="it is at work", limit_s=PATIENCE_S)
    write_list(state, ["k1"])
    make_task(state, "k1", [f"http://127.0.0.1:{port}/up"], alarms=1)
    courier.wait_status(lambda status: status.boxes == 1)
    wait_until(lambda: not _has_open(courier, folder), what="the file is closed", limit_s=PATIENCE_S)
    with receiver(port) as address:
        courier.wait_drained("k1")
        assert [report[0]["TaskID"] for _, report in address.posts] == ["k1"]
    write_list(state, ["k0"])
    with receiver(port):
        courier.wait_drained("k0")


def test_kill_9_and_sigterm_lose_nothing(state: Path, begin: Begin) -> None:
    port = free_port()
    folder = make_task(state, "k0", [f"http://127.0.0.1:{port}/up"], alarms=3)
    for number in (signal.SIGKILL, signal.SIGTERM):
        courier = begin("k0")
        pid = courier.process.pid
        wait_until(lambda: told(folder).pid == pid, what="it is at work", limit_s=PATIENCE_S)  # noqa: B023
        assert courier.end(number) == (exitcodes.FINISHED if number == signal.SIGTERM else -number)
        assert read_drained(folder) is None
    status = courier.status()
    assert status is not None and not status.ready and status.error == ""
    with receiver(port) as address:
        begin("k0").wait_drained("k0")
        assert sorted(address.frames()) == [0, 1, 2] and len(set(address.ids())) == 3


def test_it_dies_with_the_process_that_started_it(state: Path) -> None:
    make_task(state, "k0", [f"http://127.0.0.1:{free_port()}/up"], alarms=1)
    write_list(state, ["k0"])
    parent = """if True:
        import os, subprocess, sys
        environment = {**os.environ, "STREAMSERVER_PARENT_PID": str(os.getpid())}
        subprocess.Popen([sys.executable, "-m", "streamserver.business.courier"], env=environment).wait()
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "STREAMSERVER_STATE_DIR": str(state)}
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=state, env=environment)
    file = state / "courier.status.json"
    wait_until(lambda: CourierStatus.read(file) is not None, what="it beats", limit_s=PATIENCE_S)
    status = CourierStatus.read(file)
    process.kill()
    process.wait()
    assert status is not None
    wait_until(lambda: not Path(f"/proc/{status.pid}").exists(), what="the courier is gone", limit_s=PATIENCE_S)


def _has_open(courier: Courier, folder: Path) -> bool:
    links = Path(f"/proc/{courier.process.pid}/fd").iterdir()
    return any(os.path.realpath(link).startswith(f"{folder}/outbox") for link in links)
