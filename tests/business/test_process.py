"""The client process as the supervisor starts it: real processes, real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote

import pytest

from streamserver.core import exitcodes
from streamserver.core.status import ClientStatus
from streamserver.outbox.box import Limits, NewEvent, Outbox
from streamserver.outbox.letters import replay
from tests.business.support import (
    REPOSITORY,
    TAKEN,
    Client,
    make_project,
    message,
    receiver,
    wait_until,
    with_pictures,
    write_config,
)
from tests.servers.ports import free_port

EVERYONE = [(1, "everyone")]
Start = Callable[..., Client]


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return tmp_path / "task"


@pytest.fixture
def start(tmp_path: Path, task: Path) -> Iterator[Start]:
    project = make_project(tmp_path / "project")
    clients: list[Client] = []

    def begin(*options: str, **environment: str) -> Client:
        clients.append(Client(project, task, *options, **environment))
        return clients[-1]

    yield begin
    for client in clients:
        client.close()


def delivered(number: int) -> Callable[[ClientStatus], bool]:
    return lambda status: status.delivered == number


def test_alarms_of_several_algorithms_reach_the_receiver_and_are_counted(start: Start, task: Path) -> None:
    with receiver() as address:
        write_config(task, [address.url], [(1, "everyone"), (2, "settled")], task_id="任务 一")
        client = start().wait_ready()
        for frame_id in range(3):
            client.raise_alarm(frame_id, [7])
        assert [client.post(message(n, [7]), 1).json().get("pictures") for n in range(3)] == [None, None, True]
        client.post(with_pictures(message(2, [7])), 1)
        status = client.wait_status("all are delivered", delivered(4))
        assert client.end() == exitcodes.FINISHED
    assert (status.run, status.port, status.error, status.last_error) == ("abcd", client.port, "", "")
    assert (status.events, status.per_algorithm, status.pending, status.received) == (4, [3, 1], 0, 6)
    in_order = [frame for _, frame in sorted(zip(address.ids(), address.frames(), strict=True))]
    assert in_order == [0, 1, 2, 2], "the ids tell the order in which alarms were raised"
    assert {report[0]["TaskID"] for _, report in address.posts} == {"任务 一"}
    assert {unquote(headers["X-Task-Id"]) for headers, _ in address.posts} == {"任务 一"}
    assert len(set(address.ids())) == 4


def test_the_status_keeps_beating_and_says_when_the_process_has_ended(start: Start, task: Path) -> None:
    write_config(task, [], EVERYONE)
    client = start().wait_ready()
    first = client.status()
    assert first is not None
    client.wait_status("it beats again", lambda status: status.beat > first.beat)
    assert client.end() == exitcodes.FINISHED
    last = client.status()
    assert last is not None and last.ready is False and last.error == ""
    assert "listening" in (task / "logs" / "client.log").read_text()


def test_an_alarm_killed_between_its_record_and_the_answer_comes_once(tmp_path: Path, start: Start, task: Path) -> None:
    killer = """if True:
        import os, signal, sys
        from pathlib import Path
        from streamserver.outbox.box import Outbox
        from streamserver.business.process import main
        add = Outbox.add
        def add_and_die(self, events, memory):
            add(self, events, memory)
            os.kill(os.getpid(), signal.SIGKILL)
        Outbox.add = add_and_die
        sys.exit(main(["--config=client.json"], project=Path(sys.argv[1])))
    """
    with receiver() as address:
        config = write_config(task, [address.url], EVERYONE)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        doomed = subprocess.Popen([sys.executable, "-c", killer, str(tmp_path / "project")], cwd=task, env=environment)
        posted = with_pictures(message(5, [7]))
        wait_until(lambda: can_connect(config["port"]), what="it listens")
        with socket.create_connection(("127.0.0.1", config["port"])) as sock:
            body = json.dumps(posted).encode()
            sock.sendall(b"POST /flask_test/0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert sock.recv(100) == b""  # no answer
        assert doomed.wait(60) == -signal.SIGKILL
        client = start().wait_ready()
        for frame_id in range(5):
            assert client.post(message(frame_id)).json() == TAKEN
        assert client.post(posted).json() == TAKEN  # the file is played again
        client.raise_alarm(6, [7])
        status = client.wait_status("both are delivered", delivered(2))
    assert status.events == 2
    assert sorted(address.frames()) == [5, 6] and len(set(address.ids())) == 2


def test_kill_9_loses_nothing_that_was_acknowledged(start: Start, task: Path) -> None:
    port = free_port()
    write_config(task, [f"http://127.0.0.1:{port}/up"], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(0, [7])
    client.wait_status("it has tried to deliver", lambda status: "refused" in status.last_error)
    for frame_id in range(1, 5):
        client.raise_alarm(frame_id, [7])
    client.end(signal.SIGKILL)
    with receiver(port) as address:
        start().wait_status("all are delivered", delivered(5))
        assert sorted(address.frames()) == list(range(5))
        assert any(int(headers["X-Attempt"]) > 1 for headers, _ in address.posts)


def test_a_receiver_that_comes_back_gets_what_it_missed(start: Start, task: Path) -> None:
    port = free_port()
    write_config(task, [f"http://user:secret@127.0.0.1:{port}/up"], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(1, [7])
    status = client.wait_status("the failure is told", lambda status: "the connection was refused" in status.last_error)
    assert "secret" not in status.last_error and status.pending == 1
    with receiver(port) as address:
        client.wait_status("it is delivered", delivered(1))
        status = client.wait_status("the error is gone", lambda status: status.last_error == "")
        assert address.frames() == [1]
    assert "secret" not in (task / "logs" / "client.log").read_text()


def test_two_receivers_share_the_work_and_cover_for_each_other(start: Start, task: Path) -> None:
    with receiver() as first, receiver() as second:
        write_config(task, [first.url, second.url], EVERYONE)
        client = start().wait_ready()
        for frame_id in range(6):
            client.raise_alarm(frame_id, [7])
        client.wait_status("six are delivered", delivered(6))
        assert (len(first.posts), len(second.posts)) == (3, 3)
        first.status = 500
        for frame_id in range(6, 10):
            client.raise_alarm(frame_id, [7])
        client.wait_status("ten are delivered", delivered(10))
        assert (len(first.posts), len(second.posts), first.refused) == (3, 7, 2)


def test_a_receiver_that_hangs_does_not_hold_up_frames(start: Start, task: Path) -> None:
    release = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        release.wait()

    with receiver() as address:
        address.act = hang
        write_config(task, [address.url], EVERYONE)
        client = start(STREAMSERVER_REPORT_TIMEOUT_S="0.5").wait_ready()
        for frame_id in range(20):
            client.raise_alarm(frame_id, [7])
        status = client.wait_status(
            "the failure is told, all are kept", lambda status: "timed out" in status.last_error and status.events == 20
        )
        assert status.delivered == 0
        assert client.end() == exitcodes.FINISHED  # also with a POST in flight
        release.set()


def test_alarms_are_also_kept_locally(start: Start, task: Path, tmp_path: Path) -> None:
    with receiver() as address:
        write_config(task, [address.url], EVERYONE)
        client = start(STREAMSERVER_EVENT_DIR=str(tmp_path / "events")).wait_ready()
        client.raise_alarm(1, [7])
        client.wait_status("it is delivered", delivered(1))
        assert address.frames() == [1]
    [file] = (tmp_path / "events").rglob("*.json")
    assert file.stem.endswith(address.ids()[0]) and len(list(file.parent.glob("*.jpg"))) == 2


def test_without_addresses_the_local_folder_is_the_receiver(start: Start, task: Path, tmp_path: Path) -> None:
    write_config(task, [], EVERYONE)
    client = start(STREAMSERVER_EVENT_DIR=str(tmp_path / "events")).wait_ready()
    client.raise_alarm(1, [7])
    client.wait_status("it is delivered", delivered(1))
    assert len(list((tmp_path / "events").rglob("*.json"))) == 1


def test_sigusr1_takes_no_more_frames_delivers_what_waits_and_ends(start: Start, task: Path) -> None:
    port = free_port()
    write_config(task, [f"http://127.0.0.1:{port}/up"], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(1, [7])
    client.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: not can_connect(client.port), what="the port is closed")
    assert client.post_over_kept(message(2)) == 503
    assert client.process.poll() is None
    with receiver(port) as address:
        assert client.wait() == exitcodes.FINISHED
        assert address.frames() == [1]
    status = client.status()
    assert status is not None and (status.pending, status.delivered) == (0, 1)


def test_drain_mode_delivers_without_listening_and_without_the_sample(start: Start, task: Path) -> None:
    port = free_port()
    write_config(task, [f"http://127.0.0.1:{port}/up"], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(1, [7])
    assert client.end() == exitcodes.FINISHED
    write_config(task, [f"http://127.0.0.1:{port}/up"], [(3, "broken")], port=client.port)
    with receiver(port) as address, socket.create_server(("127.0.0.1", client.port)):
        assert start("--drain").wait() == exitcodes.FINISHED
        assert address.frames() == [1]


def test_drain_mode_with_nothing_to_deliver_ends_at_once(start: Start, task: Path) -> None:
    write_config(task, [], EVERYONE)
    assert start("--drain").wait() == exitcodes.FINISHED


def test_sigterm_ends_a_drain(start: Start, task: Path) -> None:
    write_config(task, [f"http://127.0.0.1:{free_port()}/up"], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(1, [7])
    client.process.send_signal(signal.SIGUSR1)
    client.wait_status("it drains", lambda status: not status.ready)
    assert client.end() == exitcodes.FINISHED
    status = client.status()
    assert status is not None and status.pending == 1


def test_a_damaged_outbox_is_moved_aside_and_work_goes_on(start: Start, task: Path) -> None:
    with receiver() as address:
        write_config(task, [address.url], EVERYONE)
        (task / "outbox.sqlite").write_bytes(b"garbage " * 1000)
        client = start().wait_ready()
        client.raise_alarm(1, [7])
        client.wait_status("it is delivered", delivered(1))
        assert address.frames() == [1]
    assert list(task.glob("outbox.sqlite.damaged-*"))
    assert "was damaged" in (task / "logs" / "client.log").read_text()


def test_a_sample_that_raises_is_told_and_its_log_stays_small(start: Start, task: Path) -> None:
    write_config(task, [], EVERYONE)
    client = start().wait_ready()
    for frame_id in range(200):
        assert client.post(message(frame_id, [13])).json() == TAKEN
    status = client.wait_status("it is told", lambda status: "200 frames failed" in status.last_error)
    assert "unlucky" in status.last_error
    log = (task / "logs" / "client.log").read_text()
    assert log.count("Traceback") == 1 and len(log) < 10_000


@pytest.mark.parametrize(
    ("changes", "code", "problem"),
    [
        ({"algorithms": [{"index": 0, "type": 3, "name": "broken", "request": {}}]}, exitcodes.BAD_SAMPLE, "'broken'"),
        ({"algorithms": [{"index": 0, "type": 4, "name": "nobody", "request": {}}]}, exitcodes.BAD_SAMPLE, "'nobody'"),
        ({"host": "192.0.2.1"}, exitcodes.USAGE, "cannot listen on '192.0.2.1'"),
    ],
)
def test_what_keeps_a_client_from_starting_is_an_exit_code_and_a_reason(
    start: Start, task: Path, changes: dict[str, object], code: int, problem: str
) -> None:
    write_config(task, [], EVERYONE, **changes)
    client = start()
    assert client.wait() == code
    status = client.status()
    assert status is not None and problem in status.error and not status.ready


def test_a_port_that_is_taken_has_its_own_exit_code(start: Start, task: Path) -> None:
    port = write_config(task, [], EVERYONE)["port"]
    with socket.create_server(("127.0.0.1", port)):
        client = start()
        assert client.wait() == exitcodes.PORT_TAKEN
    status = client.status()
    assert status is not None and f"port {port} of 127.0.0.1 cannot be used" in status.error


def test_without_an_outbox_alarms_are_refused_and_the_reason_is_told_until_it_opens(start: Start, task: Path) -> None:
    with receiver() as address:
        write_config(task, [address.url], EVERYONE)
        (task / "run").mkdir()
        before = ClientStatus(run="abcd", events=7, delivered=5, dropped=2, per_algorithm=[7])
        before.write(task / "run" / "client.json")
        (task / "outbox.sqlite").mkdir()
        client = start().wait_ready()
        status = client.wait_status("it is told", lambda status: "outbox.sqlite" in status.last_error)
        assert (status.events, status.delivered, status.dropped, status.per_algorithm) == (7, 5, 2, [7])
        assert client.post(message(1)).json() == TAKEN
        posted = message(2, [7])
        assert client.post(posted).json()["pictures"] is True
        refused = client.post(with_pictures(posted))
        assert refused.status_code == 503 and "outbox.sqlite" in refused.json()["message"]
        (task / "outbox.sqlite").rmdir()
        client.wait_status("it is open", lambda status: status.last_error == "")
        assert client.post(with_pictures(posted)).json() == TAKEN
        client.wait_status("it is delivered", lambda status: status.pending == 0 and status.delivered > 5)
        assert address.frames() == [2]
        assert client.end() == exitcodes.FINISHED


def test_alarms_that_went_with_the_file_are_counted_as_lost(start: Start, task: Path) -> None:
    write_config(task, [f"http://127.0.0.1:{free_port()}/up"], EVERYONE)
    client = start().wait_ready()
    for frame_id in range(3):
        client.raise_alarm(frame_id, [7])
    client.wait_status("they wait", lambda status: status.pending == 3)
    client.end()
    for file in task.glob("outbox.sqlite*"):
        file.unlink()
    status = start().wait_ready().wait_status("the loss is told", lambda status: status.lost > 0)
    assert (status.events, status.lost, status.pending, status.per_algorithm) == (3, 3, 0, [3])


def test_dead_letters_are_told_wait_for_nobody_and_are_delivered_after_a_replay(start: Start, task: Path) -> None:
    with receiver() as address:
        write_config(task, [address.url], EVERYONE)
        box = Outbox(task / "outbox.sqlite", limits=Limits())
        box.add([NewEvent(algorithm=0, body=b'[{"FrameIndex": 1}]')])
        [event] = box.claim(1)
        box.bury(event.id, "nobody wants it")
        box.close()
        assert start("--drain").wait() == exitcodes.FINISHED
        client = start().wait_ready()
        status = client.wait_status("it is told", lambda status: status.dead == 1)
        assert (status.pending, status.delivered, status.dead_reason) == (0, 0, "nobody wants it")
        assert replay(task / "outbox.sqlite", None) == 1
        status = client.wait_status("it is delivered", delivered(1))
        assert (status.dead, status.dead_reason) == (0, "") and address.ids() == [event.id]


def test_a_client_dies_with_the_process_that_started_it(tmp_path: Path, task: Path) -> None:
    project = make_project(tmp_path / "project")
    write_config(task, [], EVERYONE)
    parent = """if True:
        import os, subprocess, sys
        run = "import sys; from pathlib import Path; from streamserver.business.process import main;"
        run += "sys.exit(main(['--config=client.json'], project=Path(sys.argv[1])))"
        environment = {**os.environ, "STREAMSERVER_PARENT_PID": str(os.getpid())}
        subprocess.Popen([sys.executable, "-c", run, sys.argv[1]], env=environment).wait()
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", parent, str(project)], cwd=task, env=environment)
    file = task / "run" / "client.json"
    wait_until(lambda: (status := ClientStatus.read(file)) is not None and status.ready, what="the client is ready")
    status = ClientStatus.read(file)
    assert status is not None
    process.kill()
    process.wait()
    wait_until(lambda: not Path(f"/proc/{status.pid}").exists() or is_zombie(status.pid), what="the client is gone")


def test_a_client_whose_parent_is_gone_already_does_not_start(start: Start, task: Path) -> None:
    write_config(task, [], EVERYONE)
    client = start(STREAMSERVER_PARENT_PID="1" if os.getpid() != 1 else "2")
    assert client.wait() == 0
    assert client.status() is None


def test_the_process_loads_no_picture_or_model_library(start: Start, task: Path) -> None:
    write_config(task, [], EVERYONE)
    client = start().wait_ready()
    client.raise_alarm(1, [7])
    loaded = Path(f"/proc/{client.process.pid}/maps").read_text()
    for library in ("cv2", "onnxruntime", "libav", "/av/"):
        assert library not in loaded


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def is_zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
