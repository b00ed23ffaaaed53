"""The part of the OpenAPI document about dead letters: /alarm/dead and /alarm/replay."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from streamserver.core.alarm_requests import DeadRequest

DEAD_TEXT = (
    "Alarms that every receiver refused five times for their own sake, e.g. because it cannot use the picture; they "
    "wait for a replay for as long as alarms are kept (retention_h). Those of deleted tasks are listed too. Alarms "
    "that only wait for a receiver are not here but in Pending of the task."
)
REPLAY_TEXT = (
    "Sends dead letters again, with the ids they had: those of AlarmIDs, or with All every one, of one task or of all. "
    "They are delivered by the task's own process, or by another when the task is over or deleted."
)

_ID = "019a9f3e-6c1a-7b43-9d55-0f2a1c3b4d5e"
_DEAD: dict[str, Any] = {
    "Code": 0,
    "Msg": "success",
    "Result": [
        {
            "AlarmID": _ID,
            "TaskID": "t1",
            "Type": 1,
            "Created": "2026-11-20T10:41:05Z",
            "Attempts": 5,
            "Reason": "http://127.0.0.1:8089/api/upload: answered code -1: 参数错误",
            "Bytes": 61234,
        }
    ],
    "More": False,
    "Problems": [],
}
_REPLAYED: dict[str, Any] = {"Code": 0, "Msg": "success", "Replayed": 1, "Problems": []}
_NONE = {"Code": -1, "Msg": "none of these alarms is a dead letter of task 't1'; see /alarm/dead"}
_UNNAMED = {
    "Code": 4000,
    "Msg": '$.AlarmIDs: no alarm is named; name some, as /alarm/dead gives them, or send "All": true',
}
_UNKNOWN = {"Code": -1, "Msg": "no task has the TaskID 't2', nor has a deleted one dead letters"}


def alarm_paths() -> dict[str, Any]:
    """The two paths."""
    dead = _operation("Dead letters", DEAD_TEXT, "DeadReply", [_DEAD, _UNKNOWN])
    again = {
        "some": {"summary": "some of one task", "value": {"TaskID": "t1", "AlarmIDs": [_ID]}},
        "task": {"summary": "all of one task", "value": {"TaskID": "t1", "All": True}},
        "all": {"summary": "all there are", "value": {"All": True}},
    }
    listing = {"task": {"value": {"TaskID": "t1", "Limit": 100}}}
    return {
        "/alarm/dead": {
            "post": dead | {"requestBody": _body("DeadRequest", listing, required=False)},
            "get": dead | {"parameters": parameters_of(DeadRequest)},
        },
        "/alarm/replay": {
            "post": _operation("Send dead letters again", REPLAY_TEXT, "ReplayReply", [_REPLAYED, _UNNAMED, _NONE])
            | {"requestBody": _body("ReplayRequest", again, required=True)}
        },
    }


def parameters_of(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The keys of a request that are all optional, as a query of the address."""
    properties = model.model_json_schema(by_alias=True)["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {key: node[key] for key in ("type", "enum", "minimum", "maximum", "default") if key in node},
            "description": node["description"],
            "example": node["examples"][0],
        }
        for name, node in properties.items()
    ]


def _operation(summary: str, description: str, reply: str, examples: list[dict[str, Any]]) -> dict[str, Any]:
    content = {
        "schema": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in (reply, "Reply")]},
        "examples": {f"Code {example['Code']}": {"value": example} for example in examples},
    }
    return {
        "summary": summary,
        "description": description,
        "responses": {"200": {"description": "success and every error", "content": {"application/json": content}}},
    }


def _body(schema: str, examples: dict[str, Any], *, required: bool) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "examples": examples}
    return {"required": required, "content": {"application/json": content}}
