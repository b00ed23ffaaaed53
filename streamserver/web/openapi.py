"""The OpenAPI document of the server, made from the models that validate and answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from streamserver import __version__
from streamserver.core.alarm_requests import DeadRequest, ReplayRequest
from streamserver.core.errors import StreamServerError
from streamserver.core.examples import NEW_TASK_BODY, edited_body, line_only_body, without_drawings_body
from streamserver.core.extend_options import ExtendOptions
from streamserver.core.license_request import LicenseRequest
from streamserver.core.list_request import ListRequest
from streamserver.core.log_request import LogRequest
from streamserver.core.messages import CreateRequest, TaskIdRequest
from streamserver.core.replies import (
    DeadReply,
    LicenseReply,
    ListReply,
    LogReply,
    PageReply,
    QueryReply,
    ReplayReply,
    Reply,
    UpdateReply,
    WarnedReply,
)
from streamserver.core.rule_options import RuleOptions
from streamserver.core.snapshot_request import SnapshotRequest
from streamserver.core.task_schema import with_nulls
from streamserver.core.update_requests import UpdateRequest
from streamserver.web.openapi_access import secured
from streamserver.web.openapi_alarms import alarm_paths
from streamserver.web.openapi_health import health_paths
from streamserver.web.openapi_license import license_paths
from streamserver.web.openapi_list import list_paths
from streamserver.web.openapi_log import log_paths
from streamserver.web.openapi_pictures import picture_paths

_INTRODUCTION = (
    "Tasks for video streams. Every reply on /task/* and /alarm/* is HTTP 200 with Code and Msg, but for pictures "
    "(preview, snapshot) and their errors; Code 0 is success, and Msg says what is wrong, where in the body, and what "
    "to do. Bodies are JSON in UTF-8, whatever the content type says. "
    "Optional keys may be null, which is the same as leaving them out; unknown keys are accepted."
)

_ENTRY_EXAMPLE: dict[str, Any] = {
    "TaskID": "t1",
    "Status": 1,
    "State": "RUNNING",
    "Reason": "",
    "Source": "streaming",
    "SourceSince": "2026-11-20T10:41:07Z",
    "FrameAge": 0.1,
    "Reconnects": 0,
    "Stalls": 0,
    "BrokenPackets": 0,
    "Stream": "h264 1920x1080 25 fps",
    "Gate": "",
    "Fps": 8.33,
    "Frames": 2500,
    "Dropped": 0,
    "Events": 6,
    "Pending": 0,
    "Delivered": 6,
    "Dead": 0,
    "Lost": 0,
    "Restarts": 0,
    "Since": "2026-11-20T10:41:05Z",
    "Revision": 1,
    "Detector": "yolox_nano.onnx on CPUExecutionProvider",
    "Algorithms": [
        {
            "Type": 1,
            "Name": "tripwire",
            "Port": 10001,
            "Path": "/flask_test/0",
            "Events": 6,
            "Totals": None,
            "LeftOut": "",
        }
    ],
}
_SUCCESS: dict[str, Any] = {"Code": 0, "Msg": "success"}
_REQUESTS = (
    *(CreateRequest, UpdateRequest, TaskIdRequest, ListRequest, LogRequest, ExtendOptions, RuleOptions),
    *(SnapshotRequest, DeadRequest, ReplayRequest, LicenseRequest),
)


def error_table() -> list[dict[str, Any]]:
    """Every error number of the server: ``Code``, ``Name`` and ``Meaning``, sorted by number."""
    rows = [
        {"Code": kind.code, "Name": kind.__name__, "Meaning": (kind.__doc__ or "").partition("\n")[0]}
        for kind in _with_subclasses(StreamServerError)
    ]
    rows[0]["Meaning"] = "Anything unexpected; the log of the web process says more."
    return sorted(rows, key=lambda row: int(row["Code"]))


def build_document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    document = {
        "openapi": "3.1.0",
        "info": {"title": "stream-server", "version": __version__, "description": _INTRODUCTION},
        "paths": _paths(),
        "components": {"schemas": _schemas()},
        "x-error-codes": error_table(),
    }
    return secured(document)


def published_document() -> dict[str, Any]:
    """The same, as programs get it: says of each optional key of a request that it may be ``null``."""
    document = build_document()
    _, requests = models_json_schema([(model, "validation") for model in _REQUESTS])
    schemas = document["components"]["schemas"]
    changed = {name: with_nulls(node) for name, node in schemas.items() if name in requests["$defs"]}
    return {**document, "components": {**document["components"], "schemas": schemas | changed}}


def _with_subclasses(kind: type[StreamServerError]) -> Iterator[type[StreamServerError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == StreamServerError.__module__:
            yield from _with_subclasses(child)


def _schemas() -> dict[str, Any]:
    incoming = [(model, "validation") for model in _REQUESTS]
    of_tasks = (Reply, WarnedReply, UpdateReply, QueryReply, ListReply, PageReply)
    outgoing = [(model, "serialization") for model in (*of_tasks, LogReply, DeadReply, ReplayReply, LicenseReply)]
    _, content = models_json_schema([*incoming, *outgoing], ref_template="#/components/schemas/{model}")  # type: ignore[list-item]
    schemas: dict[str, Any] = content["$defs"]
    extend = schemas["Algorithm"]["properties"]["Extend"]
    extend["anyOf"] = [{"$ref": f"#/components/schemas/{name}"} for name in ("ExtendOptions", "RuleOptions")] + [{}]
    return schemas


def _paths() -> dict[str, Any]:
    create_examples = {
        "new": _example("a new task of application-web", NEW_TASK_BODY),
        "edited": _example("an ability added by editing", edited_body()),
        "line": _example("a line with a direction, no area", line_only_body()),
        "everywhere": _example("no drawings: the whole picture", without_drawings_body()),
    }
    name = {"t1": _example("", {"TaskID": "t1"})}
    done = [_SUCCESS]
    queried = [_SUCCESS | {"Result": _ENTRY_EXAMPLE}, {"Code": 1, "Msg": "no task has the TaskID 't2'; see /task/list"}]
    query = _operation("How one task is doing", QUERY_TEXT, "QueryReply", queried)
    parameter = {"name": "TaskID", "in": "query", "required": True, "schema": {"type": "string"}, "example": "t1"}
    refused = {"Code": 4002, "Msg": "$.Algorithm[0].Type: no algorithm has the number 9; this server has: 1 tripwire"}
    updated = _SUCCESS | {"Result": {"Revision": 2}, "Warnings": []}
    fixed = {
        "Code": 4003,
        "Msg": "$.Algorithm[0].DetectInterval: cannot be changed while the task runs; use /task/create, which starts "
        "it anew",
    }
    updates = {
        "rules": _example("other rules", {key: NEW_TASK_BODY[key] for key in ("TaskID", "Algorithm")}),
        "addresses": _example("other report addresses", {key: NEW_TASK_BODY[key] for key in ("TaskID", "Reporting")}),
    }
    unknown = {"Code": -1, "Msg": "no task has the TaskID or the SrcID 'x'; see /task/list"}
    return {
        "/task/create": {
            "post": _operation("Run a task", CREATE_TEXT, "WarnedReply", [*done, refused])
            | {"requestBody": _body("CreateRequest", create_examples)}
        },
        "/task/update": {
            "post": _operation("Change a running task", UPDATE_TEXT, "UpdateReply", [updated, fixed])
            | {"requestBody": _body("UpdateRequest", updates)}
        },
        "/task/delete": {
            "post": _operation("Delete a task", DELETE_TEXT, "Reply", [*done, unknown])
            | {"requestBody": _body("TaskIdRequest", name)}
        },
        "/task/query": {
            "post": query | {"requestBody": _body("TaskIdRequest", name)},
            "get": query | {"parameters": [parameter]},
        },
        **list_paths(_ENTRY_EXAMPLE),
        **log_paths(),
        **picture_paths(),
        **alarm_paths(),
        **license_paths(),
        **health_paths(),
    }


CREATE_TEXT = (
    "Answers as soon as the task is accepted, without waiting for camera or model. A TaskID that exists: the same "
    "request changes nothing while the task has not ended; another request, or a task that has ended, starts anew."
)
UPDATE_TEXT = (
    "Changes rules, thresholds, schedules and report addresses of a task while it runs; source, processes, counters "
    "and what unchanged rules remember stay. Answers as soon as the new content is on the disk; it is in force when "
    "the task's Revision is the one of the answer. The same content changes nothing."
)
DELETE_TEXT = (
    "Works in every state. A TaskID that is unknown is tried as SrcID, and works when exactly one task has it. Alarms "
    "that were raised are still delivered."
)
QUERY_TEXT = "Code is 0 while the task is meant to run, and 1 when it has ended (with Result) or is unknown (without)."


def _operation(summary: str, description: str, reply: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    content = {
        "schema": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in dict.fromkeys((reply, "Reply"))]},
        "examples": {f"Code {example['Code']}": {"value": example} for example in examples},
    }
    return {
        "summary": summary,
        "description": description,
        "responses": {"200": {"description": "success and every error", "content": {"application/json": content}}},
    }


def _body(schema: str, examples: Mapping[str, Any]) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": examples}
    return {"required": True, "content": {"application/json": content}}


def _example(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "value": value} if summary else {"value": value}
