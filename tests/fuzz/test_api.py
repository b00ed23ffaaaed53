"""Every endpoint keeps to its own description; ``python -m bench.fuzz_api`` asks the real server 5,000 times."""

from __future__ import annotations

from typing import Any

import schemathesis
from flask import Flask, jsonify

from tests.fuzz.api import ask_everything
from tests.web.conftest import app, settings, store

__all__ = ["app", "settings", "store"]  # pytest's fixtures

EXAMPLES = 4


def test_every_reply_is_as_described(app: Flask) -> None:
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start: inner(environ | {"REMOTE_ADDR": "127.0.0.1"}, start)  # type: ignore[method-assign]
    findings = ask_everything(schemathesis.openapi.from_wsgi("/openapi.json", app), examples=EXAMPLES, seed=5)
    assert findings.failures == []
    assert "200 0" in findings.outcomes["POST /task/create"], "none was accepted: nothing behind the parser was asked"
    rules = {(method, rule.rule) for rule in app.url_map.iter_rules() for method in rule.methods or ()}
    asked = {tuple(label.split(" ", 1)) for label in findings.outcomes}
    assert {rule for rule in rules if rule[0] in ("GET", "POST")} - asked == _PAGES


_PAGES = {("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json")}
"""What describes the others."""


def test_a_reply_that_is_not_as_described_is_found() -> None:
    """The judge itself: a crash, a wrong type, a status and a success that nobody described."""
    judged = Flask("judged")
    replies: dict[str, Any] = {
        "/crash": ({"Code": 5000, "Msg": "x"}, 500),
        "/type": ({"Code": "0", "Msg": "x"}, 200),
        "/status": ({"Code": 1, "Msg": "x"}, 418),
        "/lenient": ({"Code": 0, "Msg": "success"}, 200),
    }
    for path, (content, status) in replies.items():
        judged.add_url_rule(path, path, lambda c=content, s=status: (jsonify(c), s), methods=["POST"])
    judged.add_url_rule("/openapi.json", "document", lambda: jsonify(_document(replies)))
    findings = ask_everything(schemathesis.openapi.from_wsgi("/openapi.json", judged), examples=1, seed=1)
    assert {failure.split(":")[0].removeprefix("POST ") for failure in findings.failures} == set(replies)


def _document(paths: dict[str, Any]) -> dict[str, Any]:
    reply = {"type": "object", "properties": {"Code": {"type": "integer"}, "Msg": {"type": "string"}}}
    described = {"description": "", "content": {"application/json": {"schema": reply}}}
    schema = {"type": "object", "required": ["TaskID"], "properties": {"TaskID": {"type": "string"}}}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    post = {"requestBody": body, "responses": {"200": described, "500": described}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "judged", "version": "1"},
        "paths": {path: {"post": post} for path in paths},
    }
