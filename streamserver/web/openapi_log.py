"""The part of the OpenAPI document about /task/log."""

from __future__ import annotations

from typing import Any

from streamserver.core.log_request import LogRequest
from streamserver.web.openapi_alarms import parameters_of

LOG_TEXT = (
    "The last lines that engine and client of a task have logged, by time, oldest first, without secrets; in every "
    "state of the task, also once it has ended. With format=text they come as plain text, one a line with the lines of "
    "a traceback indented behind it. Of a sophon-stream program there are only the client's."
)
_LINE = {
    "Time": "2026-11-20T10:41:07.123Z",
    "Level": "WARNING",
    "Role": "engine",
    "Pid": 4711,
    "Logger": "streamserver.media.live",
    "Message": "rtsp://***@192.0.2.1:554/stream: the connection was refused; trying again in 2 s",
    "Trace": "",
}
_ANSWER: dict[str, Any] = {"Code": 0, "Msg": "success", "Result": {"TaskID": "t1", "Lines": [_LINE]}}
_UNKNOWN = {"Code": -1, "Msg": "no task has the TaskID 't2'; see /task/list"}


def log_paths() -> dict[str, Any]:
    """The path."""
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("LogReply", "Reply")]}
    examples = {"Code 0": {"value": _ANSWER}, "Code -1": {"value": _UNKNOWN}}
    content = {
        "application/json": {"schema": schema, "examples": examples},
        "text/plain": {"schema": {"type": "string"}, "example": f"{_LINE['Time']} engine WARNING …: …\n"},
    }
    operation = {
        "summary": "What a task has logged",
        "description": LOG_TEXT,
        "responses": {"200": {"description": "success and every error", "content": content}},
    }
    parameters = [one | {"required": one["name"] == "TaskID"} for one in parameters_of(LogRequest)]
    body = {
        "schema": {"$ref": "#/components/schemas/LogRequest"},
        "examples": {"t1": {"value": {"TaskID": "t1", "lines": 100}}},
    }
    return {
        "/task/log": {
            "post": operation | {"requestBody": {"required": True, "content": {"application/json": body}}},
            "get": operation | {"parameters": parameters},
        }
    }
