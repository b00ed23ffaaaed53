"""The server's description of itself agrees with what it does and with the manual in docs/."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from streamserver.core import errors
from streamserver.core.alarm_requests import DeadRequest, ReplayRequest
from streamserver.core.extend_options import ExtendOptions
from streamserver.core.list_request import ListRequest
from streamserver.core.messages import CreateRequest
from streamserver.core.replies import DeadAlarm, DeadReply, PageReply, ReplayReply, TaskEntry
from streamserver.web.openapi import error_table

_PAGES = ("/", "/docs", "/openapi.json")
_MANUAL = Path(__file__).parents[2] / "docs" / "http_api.md"


def _document(client: FlaskClient) -> dict[str, Any]:
    document = client.get("/openapi.json").get_json()
    assert isinstance(document, dict)
    return document


def _keys(schema: dict[str, Any]) -> set[str]:
    nodes = [schema, *schema.get("$defs", {}).values()]
    return {key for node in nodes for key in node.get("properties", {})}


def test_the_document_describes_every_route_but_the_pages(client: FlaskClient) -> None:
    document = _document(client)
    assert document["openapi"].startswith("3.1")
    described = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.rule not in _PAGES]
    served = {(rule.rule, method) for rule in rules for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert described == served


def test_every_reference_of_the_document_resolves(client: FlaskClient) -> None:
    document = _document(client)
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_ranges_of_the_document_are_those_that_are_enforced(client: FlaskClient) -> None:
    schemas = _document(client)["components"]["schemas"]
    interval = schemas["Algorithm"]["properties"]["DetectInterval"]
    number, null = interval["anyOf"]
    assert (number["minimum"], number["maximum"], interval["default"]) == (0, 100_000, 3)
    assert null == {"type": "null"}, "as if it were left out"
    assert schemas["CreateRequest"]["required"] == ["TaskID", "InputSrc", "Algorithm"]


def test_every_error_has_a_number_of_its_own_and_is_in_the_table() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    numbers = [row["Code"] for row in error_table()]
    assert sorted(numbers) == sorted(kind.code for kind in kinds)  # type: ignore[attr-defined]
    assert len(set(numbers)) == len(numbers)
    assert all(row["Meaning"] for row in error_table())


def test_the_page_shows_every_path_key_and_error_and_needs_nothing_from_elsewhere(client: FlaskClient) -> None:
    response = client.get("/docs")
    assert response.mimetype == "text/html"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
    loads = _Loads()
    loads.feed(response.text)
    assert loads.found == []
    for path in _document(client)["paths"]:
        assert f"<code>{path}</code>" in response.text
    models = (CreateRequest, ExtendOptions, DeadRequest, ReplayRequest, TaskEntry, DeadAlarm)
    for key in set().union(*(_keys(model.model_json_schema(by_alias=True)) for model in models)):
        assert f"<code>{key}</code>" in response.text
    for row in error_table():
        assert f"<td>{row['Code']}</td>" in response.text


class _Loads(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object") or any(name == "src" for name, _ in attrs):
            self.found.append(tag)


def test_examples_of_an_entry_have_every_key_and_no_other(client: FlaskClient) -> None:
    for path in ("/task/query", "/task/list"):
        reply = _document(client)["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
        result = reply["examples"]["Code 0"]["value"]["Result"]
        entry = result[0] if isinstance(result, list) else result
        assert entry == TaskEntry.model_validate(entry).model_dump()


def test_the_root_leads_to_the_manual(client: FlaskClient) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["Location"]) == (302, "/docs")


def test_the_written_manual_names_every_key_and_every_error() -> None:
    text = _MANUAL.read_text("utf-8")
    models = (CreateRequest, ExtendOptions, ListRequest, PageReply, DeadRequest, DeadReply, ReplayRequest, ReplayReply)
    for key in set().union(*(_keys(model.model_json_schema(by_alias=True)) for model in models)):
        assert f"`{key}`" in text, key
    for row in error_table():
        assert f"| {row['Code']} |" in text, row
