"""The part of the OpenAPI document about access: who may ask what, and how refusals look."""

from __future__ import annotations

from typing import Any

from streamserver.web.access_rules import Role, needed

ACCESS_TEXT = (
    "API keys are needed unless the server listens on a loopback address, auth is off or the caller's address is one "
    "of trusted_networks. A key that may only read looks; one that may write also creates, changes and deletes."
)

_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": f"The token of an API key. {ACCESS_TEXT}"},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The token as password, with any user; counts as role read, for browsers and pictures.",
    },
}
_NOTHING: dict[str, list[str]] = {}
_BEARER: dict[str, list[str]] = {"bearer": []}
_BASIC: dict[str, list[str]] = {"basic": []}
_SECURITY = {Role.NONE: [], Role.READ: [_NOTHING, _BEARER, _BASIC], Role.WRITE: [_NOTHING, _BEARER]}
_RETRY = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_CHALLENGE = {"WWW-Authenticate": {"description": "what to send", "schema": {"type": "string"}}}
_UNKNOWN = {
    "Code": 4010,
    "Msg": "this API key is not valid; send a token, 'ss_…', in the header Authorization (as Bearer)",
}
_FORBIDDEN = {"Code": 4030, "Msg": "API key 0f1e2d3c4b5a may only look; use one that may write"}
_TOO_MANY = {"Code": 4290, "Msg": "more than 100 requests a second; ask less often"}
_NO_BOOK = {"Code": 5021, "Msg": "the book of API keys cannot be read; the log of the web process says more"}


def secured(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` with what each operation needs, and the replies of a refusal where it has none of its own."""
    document["components"]["securitySchemes"] = _SCHEMES
    for path, item in document["paths"].items():
        for method, operation in item.items():
            role = needed(path, method.upper())
            if role is not None:
                item[method] = _secured(operation, path, role)
    return document


def _secured(operation: dict[str, Any], path: str, role: Role) -> dict[str, Any]:
    replies = {"403": _reply("refused", _FORBIDDEN)}
    if path != "/livez":
        replies["429"] = _reply("asked too often", _TOO_MANY, _RETRY)
    if role is not Role.NONE:
        replies["401"] = _reply("an API key is needed", _UNKNOWN, _CHALLENGE)
        replies["503"] = _reply("the book of API keys cannot be read", _NO_BOOK)
    responses = {**replies, **operation["responses"]}
    return {**operation, "security": _SECURITY[role], "responses": dict(sorted(responses.items()))}


def _reply(description: str, example: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {
        "schema": {"$ref": "#/components/schemas/Reply"},
        "examples": {f"Code {example['Code']}": {"value": example}},
    }
    reply = {"description": description, "content": {"application/json": content}}
    return {**reply, "headers": headers} if headers else reply
