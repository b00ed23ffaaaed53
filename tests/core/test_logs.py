"""Log files of JSON, lines for people, and that neither can hurt its process or its reader."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamserver.core import logs
from streamserver.core.log_lines import JsonFormatter, TextFormatter, json_line

HEAD = (
    "import logging, os, sys\nfrom pathlib import Path\nfrom streamserver.core import logs, secrets\n"
    "from streamserver.core.settings import Settings\nlog = logging.getLogger('x')\nfolder = Path(sys.argv[1])\n"
    "def start(**more):\n"
    "    logs.configure_file(Settings(**more.pop('settings', {})), folder, 'web', **more)\n"
)
HOSTILE = [
    "a\nb",
    "\r\x1b[2J\x1b]0;title\x07",
    "nul\x00",
    "\x85\u2028\u2029",
    "\x9b31m",
    "\u202egnp.exe",
    "\ud800",
    'say "no" \\',
    "../../etc",
    "\U000e0041",
]


def run(script: str, folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A process that logs, for the handlers are those of a whole process."""
    command = [sys.executable, "-c", HEAD + script, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, **options)


def lines_of(folder: Path, name: str = "web.log") -> list[dict[str, Any]]:
    text = (folder / "logs" / name).read_bytes().decode()
    assert text.endswith("\n")
    return [json.loads(line) for line in text[:-1].split("\n")]


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "file.py", 1, message, arguments, None)


def test_a_line_is_an_object_that_says_when_who_and_what(tmp_path: Path) -> None:
    script = (
        "start(task='t1', console=True)\nlog.warning('%d frames', 3)\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('so')\n"
    )
    done = run(script, tmp_path)
    first, second = lines_of(tmp_path)
    assert list(first) == ["time", "level", "role", "pid", "task", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    said = [first[name] for name in ("level", "role", "task", "logger", "message")]
    assert said == ["WARNING", "web", "t1", "x", "3 frames"]
    assert second["trace"].startswith("Traceback") and second["trace"].endswith("ZeroDivisionError: division by zero")
    shown = done.stderr.splitlines()
    assert shown[0] == f"{first['time']} web WARNING x: 3 frames"
    assert shown[2] == "  Traceback (most recent call last):"


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_ends_a_line_or_reaches_the_terminal(text: str) -> None:
    there = record("%s", text)
    line = JsonFormatter("web").format(there)
    assert json.loads(line)["message"] == text
    shown = TextFormatter("web").format(there)
    for one in (line, shown):
        assert len(one.splitlines()) == 1
        assert not re.search("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff]", one)
        assert one.isprintable()


def test_a_traceback_cannot_forge_a_line_for_people() -> None:
    try:
        raise ValueError("x\n2026-11-20T10:41:05.000Z web INFO x: all is well")
    except ValueError:
        there = record("so")
        there.exc_info = sys.exc_info()
    assert [line[:2] for line in TextFormatter("web").format(there).splitlines()[1:]] == ["  "] * 5
    assert "\n" not in JsonFormatter("web").format(there)


@pytest.mark.parametrize("name", ["t1", "it's", 'say "x"', "a\n'b", "é\\", "\x1b[m"], ids=ascii)
def test_a_message_about_a_task_says_which_in_a_key_of_its_own(name: str) -> None:
    line = json.loads(JsonFormatter("supervisor").format(record("task %r (0123): RUNNING", name)))
    assert line["task"] == name
    for other in ("a task 'x'", "task 'a\nb' not by %r", "task '\\x***' a secret hidden in an escape"):
        line = json.loads(JsonFormatter("supervisor").format(logging.makeLogRecord({"msg": other})))
        assert (line["task"], line["message"]) == ("", other)


def test_a_secret_that_json_would_split_is_hidden_before(tmp_path: Path) -> None:
    script = (
        "start(console=True, settings={'log_console': 'json'})\n"
        "secrets.register_secret('ab\"cd\\\\ef\\u00fcgh')\n"
        "log.info('it is ab\"cd\\\\ef\\u00fcgh, quoted %r', 'ab\"cd\\\\ef\\u00fcgh')\n"
    )
    done = run(script, tmp_path)
    (line,) = lines_of(tmp_path)
    assert line["message"] == "it is ***, quoted '***'"
    assert json.loads(done.stderr) == line


def test_a_long_message_is_cut_and_a_long_traceback_keeps_its_end() -> None:
    try:
        raise ValueError(100_000 * "y" + "end")
    except ValueError:
        there = record(100_000 * "x")
        there.exc_info = sys.exc_info()
    line = json.loads(JsonFormatter("web").format(there))
    assert len(line["message"]) < 20_010 and len(line["trace"]) == 20_000 and line["trace"].endswith("end")


@pytest.mark.parametrize("options", ["", "hold_repeats=True"], ids=["plain", "repeats held"])
def test_what_cannot_be_formatted_does_not_show_its_arguments(options: str, tmp_path: Path) -> None:
    done = run(f"start({options})\nlog.warning('%d and %s', 'hunter2')\nlog.info('next')\n", tmp_path)
    first, second = lines_of(tmp_path)
    assert first["message"].startswith("a line of the log could not be written: <string>:")
    assert second["message"] == "next"
    assert "hunter2" not in json.dumps(first) + done.stderr


def test_errors_that_nobody_can_catch_and_warnings_are_logged(tmp_path: Path) -> None:
    script = (
        "import warnings\nstart()\n"
        "class Odd:\n    def __del__(self):\n        raise ValueError('rtsp://u:hunter2@h/')\n"
        "del_me = Odd()\ndel del_me\nwarnings.warn('rtsp://u:hunter2@h/', RuntimeWarning)\n"
    )
    done = run(script, tmp_path)
    first, second = lines_of(tmp_path)
    assert first["trace"].endswith("ValueError: rtsp://***@h/")
    assert "RuntimeWarning: rtsp://***@h/" in second["message"]
    assert done.stderr == ""


def test_files_rotate_by_size_and_only_so_many_are_kept(tmp_path: Path) -> None:
    script = "start(settings={'log_max_mb': 0.1, 'log_backups': 2})\nfor n in range(4000):\n    log.info('%d', n)\n"
    run(script, tmp_path)
    found = sorted((tmp_path / "logs").iterdir())
    assert [path.name for path in found] == ["web.log", "web.log.1", "web.log.2"]
    assert all(path.stat().st_size <= 100_000 for path in found)
    numbers = [int(line["message"]) for path in reversed(found) for line in lines_of(tmp_path, path.name)]
    assert numbers == list(range(numbers[0], 4000))


def test_processes_that_write_the_same_file_lose_no_line(tmp_path: Path) -> None:
    script = (
        "start(settings={'log_max_mb': 0.1, 'log_backups': 50})\n"
        "for n in range(1500):\n    log.info('%s %d', sys.argv[2], n)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", HEAD + script, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [one.wait(120) for one in started] == [0, 0, 0]
    lines = [line for path in (tmp_path / "logs").iterdir() for line in lines_of(tmp_path, path.name)]
    assert sorted(line["message"] for line in lines) == sorted(f"{name} {n}" for name in "abc" for n in range(1500))


def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    script = (
        "start()\nlog.info('1')\n(folder / 'logs/web.log').rename(folder / 'away')\nlog.info('2')\n"
        "(folder / 'logs/web.log').unlink()\nlog.info('3')\n"
    )
    run(script, tmp_path)
    assert [line["message"] for line in lines_of(tmp_path)] == ["3"]


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "web.log").write_text('{"time": "2026')
    run("start()\nlog.info('1')\nlog.info('2')\n", tmp_path)
    first, *others = (tmp_path / "logs" / "web.log").read_text().splitlines()
    assert first == '{"time": "2026'
    assert [json.loads(line)["message"] for line in others] == ["1", "2"]


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "web.log").symlink_to("/dev/full")
    script = (
        "start()\nlog.info('1')\nlog.error('2')\n"
        "(folder / 'logs/web.log').unlink()\nlog.info('3')\nlogging.shutdown()\n"
    )
    done = run(script, tmp_path)
    assert done.stderr == ""
    assert [line["message"] for line in lines_of(tmp_path)] == [
        "2 lines are missing here: they could not be written",
        "3",
    ]


def test_without_a_place_for_the_file_all_goes_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")
    done = run("start()\nlog.info('there')\n", tmp_path)
    assert "logs/web.log: no log can be written there" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("web INFO x: there")


@pytest.mark.parametrize("make", [os.pipe, os.openpty], ids=["pipe", "terminal"])
def test_a_console_that_takes_nothing_stops_nobody(make: Callable[[], tuple[int, int]], tmp_path: Path) -> None:
    reader, writer = make()
    script = "start(console=True)\nfor n in range(3000):\n    log.info('%d %s', n, 50 * 'x')\n"
    try:
        subprocess.run([sys.executable, "-c", HEAD + script, str(tmp_path)], check=True, stderr=writer, timeout=120)
        os.set_blocking(reader, False)
        shown = os.read(reader, 1_000_000)
    finally:
        os.close(reader)
        os.close(writer)
    assert len(lines_of(tmp_path)) == 3000
    assert 0 < shown.count(b"\n") < 3000


def test_only_the_owner_can_read_a_log_whatever_umask_and_past(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "web.log").touch(0o666)
    run("os.umask(0o022)\nstart()\nlog.info('x')\n", tmp_path)
    assert stat.S_IMODE((tmp_path / "logs" / "web.log").stat().st_mode) == 0o600


def test_a_hardened_process_leaves_no_core_and_makes_private_files(tmp_path: Path) -> None:
    script = (
        "import os, resource, sys\nfrom pathlib import Path\nfrom streamserver.core.processes import harden\n"
        "os.umask(0o022)\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "harden()\nPath('made').touch()\nos.abort()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = -os.WTERMSIG(status)
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status)
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()] == [("made", 0o600)]


def test_json_lines_of_others_are_as_safe() -> None:
    line = json_line({"a": "\x9b\n\u2028", "b": [1, None]})
    assert line == '{"a": "\\u009b\\n\\u2028", "b": [1, null]}'
    assert callable(logs.configure)
