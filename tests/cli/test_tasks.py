"""``python -m streamserver tasks``, against a real server that needs keys."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.business.support import receiver
from tests.chaos.world import FEW_FRAMES, clip
from tests.cli.conftest import Guarded, run_cli
from tests.e2e.harness import PROJECT, free_port, ledger, task

pytestmark = pytest.mark.e2e
_NOBODY = "rtsp://127.0.0.1:1/stream"


def body(task_id: str, *, stream: str = _NOBODY) -> str:
    return json.dumps(task(task_id, stream, "http://127.0.0.1:1/", line=(10, 10, 20, 20)))


def test_a_task_lives_from_create_to_delete(guarded: Guarded, tmp_path: Path) -> None:
    film = str(clip(tmp_path, rate=FEW_FRAMES))
    with ledger() as receiver:
        made = guarded.cli(
            "tasks", "create", "--id", "film", "--stream", film, "--type", "6", "--report", receiver.url, "--wait"
        )
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(("film: RUNNING streaming", "film: FINISHED"))
    listed = guarded.cli("tasks", "list", "--prefix", "film").stdout.splitlines()
    assert listed[0].split()[:3] == ["TaskID", "State", "Source"] and listed[1].startswith("film  ")
    shown = guarded.cli("tasks", "show", "film").stdout
    assert "TaskID " in shown and "area_intrusion" in shown and "\x1b" not in shown
    assert json.loads(guarded.cli("tasks", "show", "film", "--json").stdout)["TaskID"] == "film"
    lines = json.loads(guarded.cli("tasks", "log", "film", "--json", "--lines", "5").stdout)
    assert 0 < len(lines) <= 5 and {"Time", "Level", "Message"} <= lines[0].keys()
    assert lines[-1]["Message"].split()[0] in guarded.cli("tasks", "log", "film").stdout
    assert guarded.cli("tasks", "delete", "film").stdout == "film: deleted\n"
    gone = guarded.cli("tasks", "show", "film")
    assert gone.returncode == 1 and "film" in gone.stderr


def test_waiting_for_a_camera_that_is_away_says_why(guarded: Guarded) -> None:
    made = guarded.cli("tasks", "create", "-", "--wait", stdin=body("away"))
    assert made.returncode == 1
    assert "RUNNING reconnecting: the connection was refused; the host is there and nobody listens" in made.stderr
    assert "\nCure           the host is there and nobody listens" in guarded.cli("tasks", "show", "away").stdout
    assert guarded.cli("tasks", "delete", "away").returncode == 0


def test_pages_are_asked_for_until_there_are_enough(guarded: Guarded) -> None:
    for number in range(3):
        assert guarded.cli("tasks", "create", "-", stdin=body(f"page-{number}")).returncode == 0
    try:
        found = json.loads(guarded.cli("tasks", "list", "--prefix", "page-", "--limit", "2", "--json").stdout)
        assert [one["TaskID"] for one in found] == ["page-0", "page-1"]
        none = guarded.cli("tasks", "list", "--state", "FINISHED", "--prefix", "page-")
        assert (none.returncode, none.stdout) == (0, "")
    finally:
        ended = guarded.cli("tasks", "delete", "page-0", "nobody", "page-1", "page-2")
    assert ended.returncode == 1
    assert ended.stdout.count("deleted") == 3 and "nobody" in ended.stderr


def test_what_the_server_refuses_is_told_in_its_own_words(guarded: Guarded) -> None:
    wrong = json.loads(body("wrong")) | {"Algorithm": [{"Type": 99}]}
    made = guarded.cli("tasks", "create", "-", stdin=json.dumps(wrong))
    assert made.returncode == 1 and made.stderr.startswith("$.Algorithm[0].Type")
    assert guarded.cli("tasks", "create", "-", stdin="{").returncode == 1


def test_a_key_is_needed_and_its_role_counts(guarded: Guarded, tmp_path: Path) -> None:
    without = guarded.cli("tasks", "list", home=tmp_path)
    assert without.returncode == 1 and "key" in without.stderr
    assert guarded.cli("tasks", "list", home=guarded.reader).returncode == 0
    reading = guarded.cli("tasks", "delete", "film", home=guarded.reader)
    assert reading.returncode == 1 and "role" in reading.stderr
    token = (guarded.writer / ".config/stream-server/key").read_text().strip()
    named = run_cli("tasks", "list", "--url", guarded.url, home=tmp_path, environment={"STREAMSERVER_KEY": token})
    assert named.returncode == 0


def test_watching_tells_of_each_change_until_ctrl_c(guarded: Guarded) -> None:
    command = [
        sys.executable,
        "-u",
        "-m",
        "streamserver",
        "tasks",
        "watch",
        "--json",
        "--interval",
        "0.2",
        "--prefix",
        "seen",
    ]
    environment = {**os.environ, **guarded.environment, "HOME": str(guarded.writer)}
    assert guarded.cli("tasks", "create", "-", stdin=body("seen")).returncode == 0
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as one:
        assert one.stdout is not None
        first = json.loads(one.stdout.readline())
        assert first["TaskID"] == "seen" and first["State"] != "DELETED"
        assert guarded.cli("tasks", "delete", "seen").returncode == 0
        while json.loads(one.stdout.readline())["State"] != "DELETED":
            pass
        one.send_signal(signal.SIGINT)
        _, said = one.communicate(timeout=60)
    assert (one.returncode, said) == (0, b"")


def test_a_terminal_gets_a_drawn_table_in_which_nothing_is_markup(guarded: Guarded) -> None:
    assert guarded.cli("tasks", "create", "-", stdin=body("[red]odd")).returncode == 0
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "streamserver", "tasks", "list", "--prefix", "[red]"]
    environment = {**os.environ, **guarded.environment, "HOME": str(guarded.writer), "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=terminal) as one:
        os.close(terminal)
        seen = b""
        try:
            while part := os.read(controller, 10_000):
                seen += part
        except OSError:  # what a terminal gives at its end
            pass
        os.close(controller)
    assert one.returncode == 0
    assert b"[red]odd" in seen and "─".encode() in seen
    assert guarded.cli("tasks", "delete", "[red]odd").returncode == 0


def test_the_doctor_finds_the_server_and_says_what_a_camera_and_a_receiver_answer(guarded: Guarded) -> None:
    with ledger() as receiver:
        asked = guarded.cli("check", "--json", "--stream", _NOBODY, "--report", receiver.url)
        assert receiver.counts() == {}
    findings = {(one["what"], one["level"]): one for one in json.loads(asked.stdout)}
    assert findings["server", "ok"]["found"] == "is ready to take tasks"
    assert findings["access", "ok"] and findings["report", "ok"]
    assert "refused" in findings["stream", "fail"]["found"] and findings["stream", "fail"]["cure"]
    assert asked.returncode == 1


def test_another_program_is_no_server(tmp_path: Path) -> None:
    with receiver() as other:
        said = run_cli("tasks", "list", "--url", other.url.rpartition("/")[0], home=tmp_path)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (3, "", 1)
    assert "does not answer as a stream-server does" in said.stderr


def test_nobody_there_is_one_line_with_the_cure_and_its_own_exit_code(tmp_path: Path) -> None:
    away = run_cli("tasks", "list", "--url", f"http://127.0.0.1:{free_port()}", home=tmp_path)
    assert (away.returncode, away.stdout, away.stderr.count("\n")) == (3, "", 1)
    assert "start_server.sh" in away.stderr
