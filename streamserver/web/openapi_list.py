"""The part of the OpenAPI document about lists of tasks: /task/list."""

from __future__ import annotations

from typing import Any

from streamserver.core.list_request import ListRequest
from streamserver.web.openapi_alarms import parameters_of

LIST_TEXT = (
    "All tasks, oldest first; those that ended stay in the list until they are deleted. With any of the keys below: "
    "one page of them in the order of TaskID, which stays whatever comes and goes, with Total and More. A body without "
    "these keys is ignored, whatever it is."
)

_REFUSED = {"Code": 4000, "Msg": "$.Limit: expected an integer from 1 to 1000, got 0; e.g. 100"}


def list_paths(entry: dict[str, Any]) -> dict[str, Any]:
    """The path; ``entry`` is an example of a task."""
    everything = {"Code": 0, "Msg": "success", "Result": [entry]}
    replies = {
        "Code 0": {"summary": "all tasks", "value": everything},
        "Code 0, a page": {"summary": "a page", "value": everything | {"Total": 1, "More": False}},
        "Code 4000": {"value": _REFUSED},
    }
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("ListReply", "PageReply", "Reply")]}
    content = {"application/json": {"schema": schema, "examples": replies}}
    operation = {
        "summary": "How tasks are doing",
        "description": LIST_TEXT,
        "responses": {"200": {"description": "success and every error", "content": content}},
    }
    requests = {
        "all": {"summary": "all tasks", "value": {}},
        "first": {"summary": "the first page", "value": {"Limit": 100}},
        "next": {"summary": "the page after it", "value": {"Limit": 100, "After": "t1"}},
        "failed": {"summary": "tasks that failed, of one hall", "value": {"State": "FAILED", "TaskIDPrefix": "hall-"}},
    }
    body = {"schema": {"$ref": "#/components/schemas/ListRequest"}, "examples": requests}
    return {
        "/task/list": {
            "post": operation
            | {
                "parameters": parameters_of(ListRequest),
                "requestBody": {"required": False, "content": {"application/json": body}},
            },
            "get": operation | {"parameters": parameters_of(ListRequest)},
        }
    }
