"""Every name of a task is only a name: it works in every endpoint, and nothing outside the state folder changes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from streamserver.core.examples import NEW_TASK_BODY
from tests.chaos.world import FEW_FRAMES, alarm_task, clip
from tests.e2e.harness import PROJECT, ledger, server, wait_for
from tests.hostile.names import ACCEPTED, REFUSED
from tests.hostile.web import Web, web

pytestmark = pytest.mark.e2e

_PARTS = ("streamserver", "samples", "configs")
_HALF_WRITTEN = "*.pyc.*"
"""Compiled modules are copied, too, or each process would compile them all; others may write some meanwhile."""


class _Api:
    """One connection to a web process."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        return self._answer("POST", path, json.dumps(content).encode())

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return self._answer("GET", f"{path}?{urlencode(query)}", None)

    def _answer(self, method: str, path: str, content: bytes | None) -> dict[str, Any]:
        self._connection.request(method, path, content)
        reply: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return reply


def _body(name: str) -> dict[str, Any]:
    address = {"SrcID": name, "StreamSrc": {"Address": "rtsp://127.0.0.1:9/stream"}}
    return NEW_TASK_BODY | {"TaskID": name, "InputSrc": address}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in a folder where nobody else writes, so that any change is the server's."""
    folder = tmp_path_factory.mktemp("house")
    for part in _PARTS:
        shutil.copytree(PROJECT / part, folder / "project" / part, ignore=shutil.ignore_patterns(_HALF_WRITTEN))
    for file in PROJECT.glob("*.py"):
        shutil.copy(file, folder / "project")
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    return folder


def _environment(house: Path) -> dict[str, str]:
    return {
        "HOME": str(house / "home"),
        "TMPDIR": str(house / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GUNICORN_CMD_ARGS": "--keep-alive=600",  # else a test that stands still loses its connection
        "STREAMSERVER_RATE_PER_S": "0",
        "STREAMSERVER_DETECTOR": "motion",
        "STREAMSERVER_FILE_DIRS": "/",
    }


def _files(house: Path) -> dict[str, tuple[int, int] | None]:
    """Every file, folder and link outside the state folders; of files and links size and time, too."""
    found: dict[str, tuple[int, int] | None] = {}
    for folder, folders, files in os.walk(house):
        if Path(folder) == house:
            folders[:] = [name for name in folders if not name.startswith("state")]
        found |= dict.fromkeys([str(Path(folder, name)) for name in folders])
        for path in (Path(folder, name) for name in files):
            found[str(path)] = (path.lstat().st_size, path.lstat().st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def web_process(house: Path) -> Iterator[Web]:
    before = _files(house)
    with web(house / "state", _environment(house), project=house / "project") as one:
        yield one
    assert _files(house) == before


@pytest.fixture
def api(house: Path, web_process: Web) -> Iterator[_Api]:
    """Without a task, at first and afterwards."""
    before = _files(house)
    with closing(HTTPConnection("127.0.0.1", web_process.port, timeout=90)) as connection:
        one = _Api(connection)
        yield one
        for entry in one.post("/task/list", {})["Result"]:
            one.post("/task/delete", {"TaskID": entry["TaskID"]})
    assert _files(house) == before


def test_every_name_is_only_a_name(api: _Api, house: Path) -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 200
    for name in ACCEPTED:
        assert api.post("/task/create", _body(name))["Code"] == 0, name
    assert [entry["TaskID"] for entry in api.post("/task/list", {})["Result"]] == list(ACCEPTED)
    for number, name in enumerate(ACCEPTED):
        _ask_about(api, name, also=number % 8)
    for name in ACCEPTED:
        assert api.post("/task/delete", {"TaskID": name}) == {"Code": 0, "Msg": "success"}, name
    assert api.post("/task/list", {})["Result"] == []
    _check_logs(house / "state")


def _ask_about(api: _Api, name: str, also: int) -> None:
    assert api.post("/task/query", {"TaskID": name})["Result"]["TaskID"] == name
    log = api.get("/task/log", TaskID=name)
    assert (log["Code"], log["Result"]["TaskID"]) == (0, name)
    page = api.post("/task/list", {"TaskIDPrefix": name, "Limit": 1000})["Result"]
    assert name in [entry["TaskID"] for entry in page]
    assert all(entry["TaskID"].startswith(name) for entry in page), "a pattern instead of a beginning"
    if also == 0:
        assert api.get("/task/query", TaskID=name)["Result"]["TaskID"] == name
    elif also == 1:
        assert api.get("/task/preview", TaskID=name)["Code"] == 1
    elif also == 2:
        assert api.post("/alarm/dead", {"TaskID": name})["Result"] == []
    elif also == 3:
        assert api.post("/task/update", {"TaskID": name, "Reporting": _ELSEWHERE})["Code"] == 0


_ELSEWHERE = {"ReportUrlList": ["http://127.0.0.1:9/elsewhere"]}


def _check_logs(state: Path) -> None:
    """One object a line and no control characters: nobody's name has begun a line of its own."""
    lines = [line for file in (state / "logs").glob("*.log") for line in file.read_text().split("\n") if line]
    assert len(lines) > len(ACCEPTED)
    for line in lines:
        assert isinstance(json.loads(line), dict)
        assert line.isprintable() or not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    console = (state / "web.out").read_text()
    assert "\x1b" not in console
    assert not [line for line in console.splitlines() if line.startswith(("2026-01-01", "forged"))]


def test_a_number_with_zeros_in_front_is_a_name(api: _Api) -> None:
    for name in ("007", "7", "0", "00"):
        assert api.post("/task/create", _body(name))["Code"] == 0
    for name in ("007", "7", "0", "00"):
        assert name in [entry["TaskID"] for entry in api.get("/task/list", TaskIDPrefix=name)["Result"]]
        assert api.get("/alarm/dead", TaskID=name)["Code"] == 0
    assert "007" not in [entry["TaskID"] for entry in api.get("/task/list", TaskIDPrefix="7")["Result"]]


def test_what_no_name_may_be_is_refused_with_its_path(api: _Api) -> None:
    for name in REFUSED:
        for path in ("/task/create", "/task/query", "/task/delete", "/task/update", "/task/log"):
            reply = api.post(path, _body("cam1") | {"TaskID": name})
            assert (reply["Code"], reply["Msg"][:8]) == (4000, "$.TaskID"), (name, reply)
    assert api.post("/task/list", {})["Result"] == []


RUNNING = ("../../$(touch owned)'; DROP TABLE tasks; -- %s{0}\u202e😀",)


def test_names_that_run_reach_the_receiver_and_nothing_else(house: Path, tmp_path: Path) -> None:
    film = clip(tmp_path, rate=FEW_FRAMES)
    before = _files(house)
    one_task = _environment(house) | {"STREAMSERVER_NURSERIES": "false"}
    options: dict[str, Any] = {"project": house / "project", "environment": one_task}
    with ledger() as receiver, server(house / "state of all", **options) as one:
        for name in RUNNING:
            assert one.create(alarm_task(name, film, [receiver.url], loops=1))["Code"] == 0
        for name in RUNNING:
            assert one.wait_state(name, "FINISHED", "FAILED")["State"] == "FINISHED"
            wait_for(lambda name=name: receiver.reports(name), f"alarms of {name}")
            assert {report["TaskID"] for report in receiver.reports(name)} == {name}
            lines = one.post("/task/log", {"TaskID": name})["Result"]["Lines"]
            assert lines
        for folder in (one.state_dir / "tasks").iterdir():
            assert folder.name.isalnum() or folder.name.replace("-", "").isalnum(), folder
        for name in RUNNING:
            assert one.post("/task/delete", {"TaskID": name})["Code"] == 0
        wait_for(lambda: not list((one.state_dir / "tasks").iterdir()), "the folders are gone")
    assert _files(house) == before
