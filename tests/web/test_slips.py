"""A key that is probably misspelt is told in the reply to create."""

from __future__ import annotations

import json
from typing import Any

from flask.testing import FlaskClient

from tests.web.conftest import body


def _created(client: FlaskClient, extend: dict[str, Any]) -> Any:
    sent = body()
    sent["Algorithm"][0]["Extend"] = extend
    return client.post("/task/create", data=json.dumps(sent)).json


def test_slips_are_told_and_the_task_is_accepted(client: FlaskClient) -> None:
    assert _created(client, {"Cooldwon": 10, "loop": 0}) == {
        "Code": 0,
        "Msg": "success",
        "Warnings": [
            "$.Algorithm[0].Extend.Cooldwon is no key of this server; did you mean 'Cooldown'?",
            "$.Algorithm[0].Extend.loop is no key of this server; did you mean 'Loop'?",
        ],
    }


def test_keys_that_stand_where_nobody_looks_are_told(client: FlaskClient) -> None:
    sent = body() | {"Extend": {"Cooldown": 3, "Fps": -1}, "ReportUrlList": []}
    sent["Algorithm"][0] |= {"Schedule": None, "Extend": {"threshold": 30, "Type": "mine"}}
    reply: Any = client.post("/task/create", data=json.dumps(sent)).json
    assert reply["Warnings"] == [
        "$.ReportUrlList says nothing there; its place is $.Reporting",
        "$.Algorithm[0].Schedule says nothing there; its place is $.Algorithm[].Extend",
        "$.Extend.Cooldown says nothing there; its place is $.Algorithm[].Extend",
        "$.Algorithm[0].Extend.threshold says nothing there; its place is $.Algorithm[]",
    ]


def test_keys_of_rules_and_of_samples_are_none(client: FlaskClient) -> None:
    known = {"Lines": None, "DetectRoi": False, "Plates": "cn", "Cooldown": 10, "Mine": 1}
    assert _created(client, known) == {"Code": 0, "Msg": "success"}
