"""``/task/log``: both processes' lines by time, masked, and harmless to whoever reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from streamserver.core.settings import Settings
from streamserver.store import TaskStore
from tests.web.conftest import body

PASSWORD = "hunt@r/2-and-more"


def entry(second: int, role: str, message: str, **more: Any) -> str:
    head = {"time": f"2026-11-20T10:41:{second:02d}.000Z", "level": "INFO", "role": role, "pid": 7, "task": "t1"}
    return json.dumps({**head, "logger": "x", "message": message, **more}) + "\n"


@pytest.fixture
def folder(client: FlaskClient, settings: Settings, store: TaskStore) -> Path:
    """The log folder of a task ``t1`` that was created and has not run yet."""
    request = body(TaskID="t1")
    request["InputSrc"]["StreamSrc"]["Address"] = f"rtsp://u:{PASSWORD}@10.0.0.1/1"
    assert client.post("/task/create", json=request).get_json()["Code"] == 0
    record = store.find("t1")
    assert record is not None
    return settings.state_path / "tasks" / record.key / "logs"


def write(folder: Path, engine: str, client_lines: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "engine.log").write_text(engine)
    (folder / "client.log").write_text(client_lines)


def lines_of(reply: Any) -> list[dict[str, Any]]:
    content = reply.get_json()
    assert (content["Code"], content["Result"]["TaskID"]) == (0, "t1"), content
    found: list[dict[str, Any]] = content["Result"]["Lines"]
    return found


def test_a_task_that_has_not_run_has_no_lines(client: FlaskClient, folder: Path) -> None:
    assert lines_of(client.get("/task/log?TaskID=t1")) == []
    assert client.get("/task/log?TaskID=t1&format=text").data == b""


def test_both_logs_come_by_time_and_the_newest_are_kept(client: FlaskClient, folder: Path) -> None:
    write(folder, entry(1, "engine", "a") + entry(3, "engine", "c"), entry(2, "client", "b") + entry(4, "client", "d"))
    assert [line["Message"] for line in lines_of(client.get("/task/log?TaskID=t1"))] == ["a", "b", "c", "d"]
    for reply in (
        client.get("/task/log?TaskID=t1&lines=2"),
        client.post("/task/log", json={"TaskID": "t1", "lines": 2}),
    ):
        assert [(line["Role"], line["Message"]) for line in lines_of(reply)] == [("engine", "c"), ("client", "d")]
    assert lines_of(client.get("/task/log?TaskID=t1&lines=1"))[0] == {
        "Time": "2026-11-20T10:41:04.000Z", "Level": "INFO", "Role": "client", "Pid": 7, "Logger": "x",
        "Message": "d", "Trace": "",
    }  # fmt: skip


def test_secrets_that_the_process_wrote_all_the_same_are_hidden(client: FlaskClient, folder: Path) -> None:
    write(folder, entry(1, "engine", f"by itself {PASSWORD}", trace=f"ValueError: {PASSWORD}") + f"raw {PASSWORD}\n")
    for address in ("/task/log?TaskID=t1", "/task/log?TaskID=t1&format=text"):
        text = client.get(address).get_data(as_text=True)
        assert text.count("***") == 3 and "hunt" not in text


def test_as_text_a_line_is_one_line_and_moves_no_cursor(client: FlaskClient, folder: Path) -> None:
    write(folder, entry(1, "engine", "a\x1b[2J\nb\u202e", trace="one\ntwo\x07") + "no \x1b]0;JSON\n")
    reply = client.get("/task/log?TaskID=t1&format=text")
    assert reply.content_type == "text/plain; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.get_data(as_text=True) == (
        "2026-11-20T10:41:01.000Z engine INFO x: a\\x1b[2J\\nb\\u202e\n  one\n  two\\x07\nno \\x1b]0;JSON\n"
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "TaskID: is missing"),
        ("TaskID=nobody", "no task has the TaskID 'nobody'"),
        ("TaskID=../../t1", "no task has the TaskID '../../t1'"),
        ("TaskID=t1&lines=0", "from 1 to 2000"),
        ("TaskID=t1&lines=2001", "from 1 to 2000"),
        ("TaskID=t1&lines=many", "lines"),
        ("TaskID=t1&format=html", "format"),
        ("TaskID=a%0Ab", "control character"),
    ],
    ids=["none", "unknown", "path", "zero", "too many", "word", "form", "newline"],
)
def test_what_is_wrong_is_said(client: FlaskClient, folder: Path, query: str, said: str) -> None:
    reply = client.get(f"/task/log?{query}").get_json()
    assert reply["Code"] not in (0, 5000) and said in reply["Msg"]


def test_a_task_named_like_a_number_keeps_its_zeros(client: FlaskClient, folder: Path) -> None:
    assert client.post("/task/create", json=body(TaskID="007")).get_json()["Code"] == 0
    assert client.get("/task/log?TaskID=007").get_json()["Result"]["TaskID"] == "007"
