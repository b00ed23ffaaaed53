"""What the command line says without a server: help, wrong words, keys that others can read, the doctor's lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamserver import __version__
from streamserver.cli.connection import Connection, UsageError, default_url, find_key
from streamserver.cli.machine import folders
from streamserver.cli.output import show_table
from streamserver.cli.packages import findings
from streamserver.core.settings import Settings
from tests.cli.conftest import run_cli
from tests.e2e.harness import PROJECT

TOKEN = "ss_0123456789ab_" + 64 * "0"


@pytest.mark.parametrize("area", ["models", "keys", "graph", "settings"])
def test_the_doors_lead_to_the_modules(area: str, tmp_path: Path) -> None:
    said = run_cli(area, "--help", home=tmp_path)
    assert said.returncode == 0 and f"python -m streamserver.{area}" in said.stdout


def test_the_version_is_told(tmp_path: Path) -> None:
    told = run_cli("--version", home=tmp_path)
    started = subprocess.run([sys.executable, "start.py", "--version"], cwd=PROJECT, capture_output=True, text=True)
    assert (told.stdout, started.stdout) == (f"stream-server {__version__}\n",) * 2


def test_help_and_a_plain_table_load_no_library() -> None:
    code = (
        "import sys\nfrom streamserver.cli import doctor, program, tasks\n"
        "program._parser()\nprint(sorted({'rich', 'yaml', 'pydantic', 'requests', 'numpy'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert said.stdout == "[]\n", said.stderr


def test_the_doctor_works_where_no_package_is_installed(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "STREAMSERVER_STATE_DIR": str(tmp_path)}
    code = (
        "import sys, runpy\nfrom pathlib import Path\n"
        "from streamserver.core import settings\nfrom streamserver.cli import doctor\n"
        "doctor._take_the_servers_python = lambda: None\n"
        "sys.argv = ['x', 'check', '--json']\n"
        "from streamserver.cli.program import main\nsys.exit(main())"
    )
    said = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    found = [(one["what"], one["level"]) for one in json.loads(said.stdout)]
    assert said.returncode == 1 and ("packages", "fail") in found and ("settings", "fail") in found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tasks"], "required"),
        (["tasks", "create"], "--id, --stream, --type is missing"),
        (["tasks", "create", "x.json", "--id", "t"], "FILE holds the whole task"),
        (["tasks", "create", "/nowhere/x.json"], "cannot be read"),
        (["tasks", "list", "--limit", "0"], "from 1"),
        (["tasks", "list", "--url", "ftp://x"], "write http://host:port"),
        (["tasks", "list", "--key-file", "/nowhere"], "there is no file"),
        (["tasks", "lst"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_code_2_and_says_how(words: list[str], expected: str, tmp_path: Path) -> None:
    said = run_cli(*words, home=tmp_path)
    assert said.returncode == 2 and expected in said.stderr and "Traceback" not in said.stderr


def test_a_key_comes_from_a_file_of_the_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "stream-server" / "key"
    file.parent.mkdir()
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o640)
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(UsageError, match="chmod 600"):
        find_key(home, None)
    file.chmod(0o600)
    assert find_key(home, None) == find_key({}, file) == TOKEN
    assert find_key(home | {"STREAMSERVER_KEY": "other"}, None) == "other"
    assert find_key(home | {"STREAMSERVER_KEY": "other"}, file) == TOKEN
    file.write_text("two\nlines")
    with pytest.raises(UsageError, match="holds no API key"):
        find_key(home, None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), "http://127.0.0.1:8001"),
        (Settings(host="0.0.0.0", port=9, tls_cert="c", tls_key="k"), "https://127.0.0.1:9"),
        (Settings(host="::"), "http://[::1]:8001"),
        (Settings(host="10.0.0.5"), "http://10.0.0.5:8001"),
    ],
    ids=["loopback", "every interface", "every interface, IPv6", "one interface"],
)
def test_the_server_of_the_settings_is_found(settings: Settings, expected: str) -> None:
    assert default_url(settings) == expected


@pytest.mark.parametrize(
    "url", ["", "host:1", "http://", "http://h:x", "http://u@h", "http://h/path", "http://[::1"], ids=repr
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        Connection(url)


def test_a_table_in_a_pipe_is_whole_lines_without_commands_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("a", "b"), [("x" * 300, "\x1b[31mred\nline"), ("y", "")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].endswith(r"\x1b[31mred\nline") and lines[2] == "y"


def test_a_password_in_the_options_is_warned_of(tmp_path: Path) -> None:
    words = ["--id", "t", "--stream", "rtsp://u:secret@127.0.0.1/", "--type", "1", "--url", "http://127.0.0.1:1"]
    said = run_cli("tasks", "create", *words, home=tmp_path)
    assert "standard input" in said.stderr and "secret" not in said.stderr


def test_packages_are_compared_with_their_pins() -> None:
    assert [one.level for one in findings()] == ["ok"]


def test_folders_that_others_can_read_or_nobody_can_write_are_told_of(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    blocked = tmp_path / "file"
    blocked.touch()
    settings = Settings(state_dir=str(state), model_cache=str(blocked / "cache"))
    found = {one.what: one for one in folders(settings)}
    assert found["state_dir"].level == "warn" and "chmod 700" in found["state_dir"].cure
    assert found["model_cache"].level == "fail"
    assert found["fsync"].level in ("ok", "warn") and os.listdir(state) == []


def test_whoever_stops_reading_gets_no_traceback(tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m streamserver settings show | head -1"
    said = subprocess.run(command, shell=True, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert said.stdout.startswith("name") and said.stderr == ""
