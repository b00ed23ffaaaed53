"""Every route answers every mistake in one shape."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from streamserver.core.errors import StoreError
from streamserver.core.settings import Settings
from streamserver.store import TaskStore
from streamserver.web import create_app
from streamserver.web.errors import PICTURE_PATHS
from tests.web.conftest import TYPES, body

_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]
_READABLE = ("/docs", "/openapi.json", "/task/list", "/alarm/dead", "/livez", "/readyz", "/metrics")


def _check_shape(response: Any, *, status: int | None = None) -> dict[str, Any]:
    reply: dict[str, Any] = response.get_json()
    assert set(reply) == {"Code", "Msg"}
    assert isinstance(reply["Code"], int) and reply["Code"] != 0
    assert isinstance(reply["Msg"], str) and reply["Msg"]
    assert response.mimetype == "application/json"
    if status is not None:
        assert response.status_code == status
    return reply


def test_every_route_answers_every_method_and_nonsense_in_one_shape(app: Flask, client: FlaskClient) -> None:
    routes = sorted({rule.rule for rule in app.url_map.iter_rules()})
    assert {
        "/task/create",
        "/task/delete",
        "/task/list",
        "/task/query",
        "/alarm/dead",
        "/alarm/replay",
        *PICTURE_PATHS,
        "/openapi.json",
        "/docs",
        "/",
    } <= set(routes)
    for route in routes:
        for method in _METHODS:
            response = client.open(route, method=method, data=b"\xff{")
            if response.status_code == 302 or (route in _READABLE and method == "GET"):
                continue
            if (route, method) == ("/task/list", "POST"):
                continue
            if route in PICTURE_PATHS:
                asked = method in ("GET", "POST") and (route, method) != ("/task/preview", "POST")
                _check_shape(response, status=400 if asked else 405)
                continue
            if (route, method) == ("/license", "POST"):
                _check_shape(response, status=400)
                continue
            _check_shape(response, status=200 if route.startswith(("/task/", "/alarm/")) else 405)


@pytest.mark.parametrize(
    "path", ["/task/nope", "/task/create/", "/task/", "/task", "/task/list/1", "/alarm", "/alarm/", "/alarm/dead/1"]
)
def test_what_is_not_there_under_task_or_alarm_is_still_200(client: FlaskClient, path: str) -> None:
    assert f"there is no {path}" in _check_shape(client.post(path), status=200)["Msg"]


@pytest.mark.parametrize("path", ["/nope", "/tasks", "/alarms", "/static/x", "/docs/x"])
def test_elsewhere_the_status_says_it_too(client: FlaskClient, path: str) -> None:
    _check_shape(client.get(path), status=404)


def test_a_path_with_a_doubled_slash_is_sent_to_the_right_one(client: FlaskClient) -> None:
    response = client.get("/task//list")
    assert (response.status_code, response.headers["Location"]) == (308, "http://localhost/task/list")
    assert client.get("/task//list", follow_redirects=True).get_json()["Code"] == 0


def test_a_wrong_method_is_told_the_right_one(client: FlaskClient) -> None:
    assert _check_shape(client.get("/task/create"))["Msg"] == "/task/create does not answer GET; use POST"
    assert "use GET, POST" in _check_shape(client.put("/task/list"))["Msg"]


@pytest.mark.parametrize(
    "path", ["/task/create", "/task/delete", "/task/query", "/task/list", "/alarm/dead", "/alarm/replay"]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_told_so(client: FlaskClient, path: str, chunked: bool) -> None:
    environ: dict[str, Any] = {"wsgi.input_terminated": True} if chunked else {}
    stream = io.BytesIO(b" " * 1_000_001)
    response = client.post(
        path, input_stream=stream, content_length=None if chunked else 1_000_001, environ_overrides=environ
    )
    reply = _check_shape(response, status=200)
    assert (reply["Code"], "larger than 1000000 bytes" in reply["Msg"]) == (4001, True)
    assert stream.read() == b""


def test_a_body_that_breaks_off_is_told_so(client: FlaskClient) -> None:
    response = client.post("/task/create", input_stream=io.BytesIO(b"{"), content_length=500)
    assert _check_shape(response, status=200)["Code"] == 4000


def test_the_unexpected_is_logged_and_shows_nothing_of_the_inside(
    settings: Settings, store: TaskStore, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(request: dict[str, Any], settings: Settings) -> None:
        raise RuntimeError("secret inside")

    app = create_app(settings, store=store, check=explode, known_types=lambda: TYPES)
    with caplog.at_level(logging.ERROR):
        reply = _check_shape(app.test_client().post("/task/create", json=body()), status=200)
    assert reply["Code"] == 5000
    assert "secret" not in reply["Msg"]
    (record,) = caplog.records
    assert record.exc_info and "secret inside" in str(record.exc_info[1])


def test_a_store_that_fails_has_a_number_of_its_own(
    client: FlaskClient, store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoreError("task database x: disk I/O error", cure="check the disk")

    monkeypatch.setattr(store, "list", fail)
    reply = _check_shape(client.get("/task/list"), status=200)
    assert (reply["Code"], reply["Msg"]) == (5008, "task database x: disk I/O error; check the disk")
