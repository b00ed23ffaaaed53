"""The part of the OpenAPI document about pictures: /task/preview and /task/snapshot."""

from __future__ import annotations

from typing import Any

from streamserver.core.preview import (
    DEFAULT_FPS,
    DEFAULT_WIDTH,
    HIGH_FPS,
    HIGH_WIDTH,
    LOW_FPS,
    LOW_WIDTH,
)

PREVIEW_TEXT = (
    "A row of JPEGs (multipart/x-mixed-replace) that an <img> shows: the analysed frames of a running task with what "
    "was found in them (class, score, number of the track), zones, lines, directions. Made only while somebody "
    "watches. While the stream is away, the last picture comes again once a second with the reason over it. Ends with "
    "the task. At most 16 previews of the server and 8 of one task at a time."
)
SNAPSHOT_TEXT = (
    "One JPEG of the next frame that a running task analyses, in full size; waits for it for up to 10 seconds."
)
ADDRESS_TEXT = (
    "One JPEG in full size of what an address shows now, without a task, so that zones can be drawn first. The body "
    "may also be a create request: only InputSrc.StreamSrc.Address is looked at. Takes as long as the camera takes to "
    "connect, at most 15 seconds; two at a time."
)

_NO_PICTURE = {
    "400": {"Code": 4000, "Msg": "Fps: expected a number from 1 to 25, got '99'"},
    "404": {"Code": -1, "Msg": "no task has the TaskID 't2'; see /task/list"},
    "409": {
        "Code": 1,
        "Msg": "task 't1' is STARTING since 2026-11-20T10:41:05Z; ask again when /task/query says RUNNING",
    },
    "503": {"Code": 5015, "Msg": "16 previews are being watched already; close one, or try again later"},
}
_NO_ADDRESS = {
    "400": {"Code": 4000, "Msg": "$.Address: unknown kind of address, got 'ftp://192.0.2.1/'; use rtsp(s), rtmp(s), …"},
    "502": {
        "Code": 5005,
        "Msg": "no picture of this address: the connection was refused",
    },
    "503": {"Code": 5015, "Msg": "2 snapshots of addresses are being taken already; try again in a while"},
}
_MEANINGS = {
    "400": "the request is wrong",
    "404": "there is no such task",
    "409": "the task does not run",
    "502": "the address gives no picture",
    "503": "too many ask, or the engine gives no picture",
}


def picture_paths() -> dict[str, Any]:
    """The two paths. Errors have an HTTP status here, for whoever shows a picture looks at nothing else."""
    jpeg: dict[str, Any] = {"image/jpeg": {}}
    row: dict[str, Any] = {"multipart/x-mixed-replace": {}}
    task = _parameter("TaskID", {"type": "string"}, "name of the task", example="t1", required=True)
    algorithm = _parameter("Algorithm", _limits("integer", 0, None, 0), "which of the task's algorithms, from 0")
    fps = _parameter("Fps", _limits("number", LOW_FPS, HIGH_FPS, DEFAULT_FPS), "pictures a second at most")
    width = _parameter(
        "Width",
        _limits("integer", LOW_WIDTH, HIGH_WIDTH, DEFAULT_WIDTH),
        "of the picture in pixels; a smaller one is not made larger",
    )
    drawn = _parameter("Drawn", _limits("integer", 0, 1, 0), "1: with what the preview draws; 0: the plain picture")
    address = {"Address": "rtsp://192.0.2.1:554/stream"}
    examples = {"address": {"value": address}, "create": {"value": {"InputSrc": {"StreamSrc": address}}}}
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("StreamSrc", "SnapshotRequest")]}
    return {
        "/task/preview": {
            "get": _operation("Watch a task", PREVIEW_TEXT, row, _NO_PICTURE)
            | {"parameters": [task, algorithm, fps, width]}
        },
        "/task/snapshot": {
            "post": _operation("A picture of an address", ADDRESS_TEXT, jpeg, _NO_ADDRESS)
            | {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": schema, "examples": examples}},
                }
            },
            "get": _operation("A picture of a task", SNAPSHOT_TEXT, jpeg, _NO_PICTURE)
            | {"parameters": [task, algorithm, drawn]},
        },
    }


def _operation(summary: str, description: str, content: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    reply = {"$ref": "#/components/schemas/Reply"}
    responses = {
        status: {
            "description": _MEANINGS[status],
            "content": {"application/json": {"schema": reply, "examples": {f"Code {one['Code']}": {"value": one}}}},
        }
        for status, one in errors.items()
    }
    return {
        "summary": summary,
        "description": description,
        "responses": {"200": {"description": "pictures", "content": content}, **responses},
    }


def _parameter(
    name: str, schema: dict[str, Any], description: str, *, example: Any = None, required: bool = False
) -> dict[str, Any]:
    shown = schema.get("default") if example is None else example
    return {
        "name": name,
        "in": "query",
        "required": required,
        "schema": schema,
        "description": description,
        "example": shown,
    }


def _limits(kind: str, low: float, high: float | None, default: float) -> dict[str, Any]:
    limits = {"type": kind, "minimum": low, "default": default}
    return limits if high is None else limits | {"maximum": high}
