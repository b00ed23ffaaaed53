"""The server's description of itself: /openapi.json for programs, /docs for people."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, render_template
from werkzeug.wrappers import Response as AnyResponse

from streamserver.core.wire_errors import expected_text
from streamserver.web.openapi import build_document, published_document

blueprint = Blueprint("pages", __name__, template_folder="templates")

_POLICY = "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_SHOWN = ("CreateRequest", "ExtendOptions", "RuleOptions", "TaskEntry", "DeadRequest", "ReplayRequest", "DeadAlarm")
"""The schemas whose keys the page lists."""

_document = cache(build_document)
_published = cache(published_document)


@dataclass(frozen=True, slots=True)
class Row:
    """One key of a message, for a table."""

    key: str
    depth: int
    kind: str
    default: str
    meaning: str


@blueprint.get("/")
def root() -> AnyResponse:
    """There is nothing here but the way to the manual."""
    return redirect("/docs")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI document."""
    return jsonify(_published())


@blueprint.get("/docs")
def docs() -> Response:
    """The document as a page that needs nothing from elsewhere."""
    document = _document()
    schemas = document["components"]["schemas"]
    tables = {name: list(rows_of(schemas[name], schemas)) for name in _SHOWN}
    nonce = secrets.token_urlsafe(16)
    page = Response(render_template("docs.html", document=document, tables=tables, nonce=nonce), mimetype="text/html")
    page.headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
    return page


def rows_of(node: Mapping[str, Any], schemas: Mapping[str, Any], *, depth: int = 0) -> Iterator[Row]:
    """The keys of a schema and of the objects in it, parents first."""
    for key, described in node.get("properties", {}).items():
        inner = _resolve(described.get("items", described), schemas)
        is_list = "items" in described
        required = key in node.get("required", ())
        yield Row(
            key=key,
            depth=depth,
            kind=expected_text(described if is_list else {**inner, **described}),
            default="required" if required else _default(described),
            meaning=described.get("description", ""),
        )
        yield from rows_of(inner, schemas, depth=depth + 1)


def _resolve(node: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    name = node.get("$ref", "").rpartition("/")[2]
    resolved: Mapping[str, Any] = schemas[name] if name else node
    return resolved


def _default(node: Mapping[str, Any]) -> str:
    value = node.get("default")
    return "" if value is None or isinstance(value, dict | list) else str(value)
