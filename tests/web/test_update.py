"""``/task/update`` as its users call it; what an engine can take over is in tests/supervise/test_update.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.errors import NotUpdatableError
from streamserver.core.settings import Settings
from streamserver.core.states import TaskState
from streamserver.core.status import CLIENT_FILE, ENGINE_FILE, ClientStatus, EngineStatus
from streamserver.store import TaskStore
from streamserver.web import create_app
from tests.web.conftest import TYPES, body

Checked = list[tuple[dict[str, Any], dict[str, Any]]]


@pytest.fixture
def checked() -> Checked:
    """What was asked whether a running engine can take it over: requests before and after."""
    return []


@pytest.fixture
def app(settings: Settings, store: TaskStore, checked: Checked) -> Flask:
    return create_app(
        settings,
        store=store,
        check=lambda request, settings: None,
        known_types=lambda: TYPES,
        check_update=lambda old, new, settings: checked.append((old, new)),
    )


def post(client: FlaskClient, content: Any, path: str = "/task/update") -> Any:
    response = client.post(path, data=content if isinstance(content, bytes) else json.dumps(content))
    assert response.status_code == 200
    return response.json


def revised(number: int) -> dict[str, Any]:
    return {"Code": 0, "Msg": "success", "Result": {"Revision": number}, "Warnings": []}


@pytest.fixture
def task(client: FlaskClient) -> dict[str, Any]:
    """The body of a task that was created."""
    created = body()
    assert post(client, created, "/task/create")["Code"] == 0
    return created


def test_only_what_is_sent_changes(
    client: FlaskClient, store: TaskStore, task: dict[str, Any], checked: Checked
) -> None:
    before = store.list()[0]
    urls = ["http://127.0.0.1:9/other"]
    assert post(client, {"TaskID": "t1", "Reporting": {"ReportUrlList": urls}, "Algorithm": None}) == revised(2)
    (after,) = store.list()
    assert after.key == before.key
    assert after.request == before.request | {"Reporting": {"ReportUrlList": urls}}
    algorithm = {**task["Algorithm"][0], "threshold": 0.7}
    assert post(client, {**task, "Algorithm": [algorithm]})["Result"] == {"Revision": 3}
    (last,) = store.list()
    assert last.request["Algorithm"][0]["threshold"] == 70.0
    assert last.request["Reporting"] == before.request["Reporting"]
    assert checked == [(before.request, after.request), (after.request, last.request)]


def test_what_is_probably_misspelt_is_told(client: FlaskClient, task: dict[str, Any]) -> None:
    reply = post(client, {"TaskID": "t1", "Algorithm": [{"Type": 1, "DetectInterval": 3, "treshold": 60}]})
    assert reply["Code"] == 0 and "threshold" in " ".join(reply["Warnings"])


def test_the_same_content_is_a_success_and_changes_nothing(
    client: FlaskClient, store: TaskStore, task: dict[str, Any], checked: Checked
) -> None:
    version = store.version()
    assert post(client, task) == post(client, {"TaskID": "t1"}) == revised(1)
    assert (store.version(), checked) == (version, [])


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        (b"[", 4000, "the body is not JSON"),
        ({}, 4000, "$.TaskID: is missing"),
        ({"TaskID": "t2"}, -1, "no task has the TaskID 't2'; see /task/list"),
        ({"TaskID": "cam1"}, -1, "no task has the TaskID 'cam1'"),
        ({"TaskID": "t1", "Algorithm": []}, 4000, "$.Algorithm: expected a list of 1"),
        ({"TaskID": "t1", "Algorithm": [{"Type": 99}]}, 4002, "$.Algorithm[0].Type: no algorithm has the number 99"),
        ({"TaskID": "t1", "Algorithm": [{"Type": 1, "threshold": 0}]}, 4000, "$.Algorithm[0].threshold: expected"),
        (
            {"TaskID": "t1", "Algorithm": [{"Type": 1, "Extend": {"Classes": []}}]},
            4000,
            "$.Algorithm[0].Extend.Classes: expected a list of class numbers or names",
        ),
        ({"TaskID": "t1", "Reporting": {"ReportUrlList": []}}, 4000, "$.Reporting.ReportUrlList: there is no address"),
        ({"TaskID": "t1", "Reporting": {"ReportUrlList": ["x"]}}, 4000, "$.Reporting.ReportUrlList[0]: "),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_told_and_changes_nothing(
    client: FlaskClient, store: TaskStore, task: dict[str, Any], sent: Any, code: int, message: str
) -> None:
    version = store.version()
    reply = post(client, sent)
    assert (reply["Code"], set(reply)) == (code, {"Code", "Msg"})
    assert message in reply["Msg"]
    assert store.version() == version


def test_what_the_engine_cannot_take_over_is_not_stored(settings: Settings, store: TaskStore) -> None:
    def refuse(old: dict[str, Any], new: dict[str, Any], settings: Settings) -> None:
        raise NotUpdatableError("no", path="$.Algorithm[0].Type", cure="use /task/create, which starts it anew")

    app = create_app(settings, store=store, check=lambda *_: None, known_types=lambda: TYPES, check_update=refuse)
    client = app.test_client()
    post(client, body(), "/task/create")
    reply = post(client, {"TaskID": "t1", "Algorithm": [{"Type": 6}]})
    assert reply == {"Code": 4003, "Msg": "$.Algorithm[0].Type: no; use /task/create, which starts it anew"}
    assert store.list()[0].revision == 1


@pytest.mark.parametrize("state", [TaskState.FINISHED, TaskState.FAILED, TaskState.STOPPED])
def test_a_task_that_is_over_cannot_be_updated(
    client: FlaskClient, store: TaskStore, task: dict[str, Any], state: TaskState
) -> None:
    store.set_state(store.list()[0].key, state, reason="because")
    reply = post(client, {"TaskID": "t1", "Algorithm": [{"Type": 1}]})
    assert reply["Code"] == 1
    assert f"task 't1' is {state} since" in reply["Msg"] and "because; create it to run it again" in reply["Msg"]


def test_an_update_that_came_between_is_not_lost(
    client: FlaskClient, store: TaskStore, task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = ["http://127.0.0.1:9/other"]
    update = store.update
    between = [lambda: post(client, {"TaskID": "t1", "Reporting": {"ReportUrlList": urls}})]

    def late(*arguments: Any) -> Any:
        while between:
            between.pop()()
        return update(*arguments)

    monkeypatch.setattr(store, "update", late)
    assert post(client, {"TaskID": "t1", "Algorithm": [{"Type": 1, "threshold": 80}]}) == revised(3)
    request = store.list()[0].request
    assert (request["Reporting"]["ReportUrlList"], request["Algorithm"][0]["threshold"]) == (urls, 80.0)


def test_the_revision_in_force_is_the_one_that_both_processes_run(
    client: FlaskClient, store: TaskStore, settings: Settings, task: dict[str, Any]
) -> None:
    def shown() -> tuple[int, str]:
        entry = post(client, {"TaskID": "t1"}, "/task/query")["Result"]
        return entry["Revision"], entry["Reason"]

    assert shown() == (0, "")
    key = store.list()[0].key
    folder = settings.state_path / "tasks" / key
    (folder / "run").mkdir(parents=True)
    problem = "revision 2 is not in force: engine.json: rtsp://u:secret@h is wrong"
    for engine, who, told in ((2, "", ""), (1, problem, problem.replace("u:secret", "***"))):
        EngineStatus(run=key, revision=engine, update_problem=who).write(
            settings.state_path / "tasks" / key / ENGINE_FILE
        )
        ClientStatus(run=key, revision=2).write(folder / CLIENT_FILE)
        assert shown() == (engine, told)


def test_what_a_page_of_another_site_posts_changes_nothing(client: FlaskClient, task: dict[str, Any]) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
    reply = client.post("/task/update", data=json.dumps({"TaskID": "t1"}), headers=headers).json
    assert reply is not None and reply["Code"] == 4030
