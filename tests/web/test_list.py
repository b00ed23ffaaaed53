"""/task/list with pages, and without them as ever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from streamserver.core.states import TaskState
from streamserver.store import TaskStore
from tests.web.conftest import body

NAMES = ("a1", "a10", "a2", "b", "线")


@pytest.fixture
def filled(client: FlaskClient, store: TaskStore) -> FlaskClient:
    for name in ("b", "a2", "线", "a10", "a1"):
        assert client.post("/task/create", data=json.dumps(body(TaskID=name))).json == {"Code": 0, "Msg": "success"}
    failed = store.find("a2")
    assert failed
    store.set_state(failed.key, TaskState.FAILED, reason="no such file")
    return client


def _list(client: FlaskClient, **wanted: Any) -> dict[str, Any]:
    reply: dict[str, Any] = client.post("/task/list", data=json.dumps(wanted)).json or {}
    return reply


def _names(reply: dict[str, Any]) -> list[str]:
    return [entry["TaskID"] for entry in reply["Result"]]


def test_without_keys_it_is_everything_oldest_first(filled: FlaskClient) -> None:
    for wanted in ({}, {"Limit": None, "After": None, "State": None, "TaskIDPrefix": None}, {"PageSize": 2}):
        reply = _list(filled, **wanted)
        assert set(reply) == {"Code", "Msg", "Result"}
        assert _names(reply) == ["b", "a2", "线", "a10", "a1"]


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
def test_pages_joined_are_the_whole_list(filled: FlaskClient, limit: int) -> None:
    entries: list[dict[str, Any]] = []
    more = True
    while more:
        wanted = {"After": entries[-1]["TaskID"]} if entries else {}
        reply = _list(filled, Limit=limit, **wanted)
        assert (reply["Code"], reply["Total"]) == (0, 5) and 1 <= len(reply["Result"]) <= limit
        entries += reply["Result"]
        more = reply["More"]
    assert [entry["TaskID"] for entry in entries] == list(NAMES)
    assert sorted(entries, key=str) == sorted(_list(filled)["Result"], key=str)


@pytest.mark.parametrize(
    ("wanted", "names", "total", "more"),
    [
        ({"Limit": 2.0}, ["a1", "a10"], 5, True),
        ({"After": ""}, list(NAMES), 5, False),
        ({"After": "a1\u0020gone"}, ["a10", "a2", "b", "线"], 5, False),
        ({"After": "线"}, [], 5, False),
        ({"After": 7}, list(NAMES), 5, False),
        ({"TaskIDPrefix": "a1"}, ["a1", "a10"], 2, False),
        ({"TaskIDPrefix": "a", "After": "a1", "Limit": 1}, ["a10"], 3, True),
        ({"TaskIDPrefix": "none"}, [], 0, False),
        ({"State": "FAILED"}, ["a2"], 1, False),
        ({"State": "PENDING", "TaskIDPrefix": "a", "Limit": 1}, ["a1"], 2, True),
        ({"State": "RUNNING"}, [], 0, False),
    ],
    ids=str,
)
def test_what_is_asked_for_is_on_the_page(
    filled: FlaskClient, wanted: dict[str, Any], names: list[str], total: int, more: bool
) -> None:
    reply = _list(filled, **wanted)
    assert (_names(reply), reply["Total"], reply["More"]) == (names, total, more)
    assert list(reply) == ["Code", "Msg", "Result", "Total", "More"]
    if all(isinstance(value, str | int) for value in wanted.values()):
        assert filled.get("/task/list", query_string=wanted).json == reply


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"Limit": 0}, "$.Limit: expected an integer from 1 to 1000, got 0; e.g. 100"),
        ({"Limit": 1001}, "$.Limit: expected an integer from 1 to 1000, got 1001; e.g. 100"),
        ({"Limit": "ten"}, '$.Limit: expected an integer from 1 to 1000, got "ten"; e.g. 100'),
        ({"Limit": True}, "$.Limit: expected an integer from 1 to 1000, got true; e.g. 100"),
        ({"After": ["a"]}, "$.After: expected text"),
        ({"After": "a" * 257}, "$.After: expected text"),
        ({"TaskIDPrefix": "a\nb"}, "$.TaskIDPrefix: the control character U+000A is not allowed"),
        ({"State": "failed"}, '$.State: there is no such state, got "failed"; use one of PENDING, STARTING, RUNNING,'),
        ({"State": 1}, "$.State: there is no such state, got 1; use one of PENDING"),
        ({"State": ["FAILED"]}, "$.State: there is no such state, got a list of 1; use one of PENDING"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_values_are_told(filled: FlaskClient, wanted: dict[str, Any], message: str) -> None:
    reply = _list(filled, **wanted)
    assert set(reply) == {"Code", "Msg"} and reply["Code"] == 4000
    assert message in reply["Msg"]


@pytest.mark.parametrize("text", ["-1", "0", "1001", "", "1.5", "9" * 400, "²"])
def test_a_wrong_limit_in_the_address_is_told(filled: FlaskClient, text: str) -> None:
    reply: Any = filled.get("/task/list", query_string={"Limit": text}).json
    assert reply["Code"] == 4000 and "$.Limit: expected an integer from 1 to 1000" in reply["Msg"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_address_asks_for_a_page_whatever_the_method(filled: FlaskClient, method: str) -> None:
    reply: dict[str, Any] = filled.open("/task/list?Limit=1&TaskIDPrefix=a", method=method).json or {}
    assert (_names(reply), reply["Total"], reply["More"]) == (["a1"], 3, True)


@pytest.mark.parametrize("sent", [b'{"Limit": 2', b'{"Limit": 2, "Limit": 3}', b'{"Limit": NaN}', b'["Limit"]'])
def test_a_body_that_speaks_of_pages_has_to_be_sound(filled: FlaskClient, sent: bytes) -> None:
    reply: Any = filled.post("/task/list", data=sent).json
    assert reply["Code"] == 4000 and "Result" not in reply
