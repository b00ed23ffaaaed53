"""The part of the OpenAPI document for who watches the server: /livez, /readyz and /metrics."""

from __future__ import annotations

from typing import Any

LIVE_TEXT = "Says that the web process answers; asks neither the database nor the supervisor."
READY_TEXT = (
    "200 when tasks can be accepted and run, else 503 with the reason: the task database answers, the disk has room "
    "(disk_reserve_mb), the supervisor works. The check outbox is always Ok: its Reason tells of alarms that wait for "
    "long, for a receiver that is away takes no server out of service. Notes names files that were found damaged "
    "lately and what was restored."
)

METRICS_TEXT = (
    "Prometheus' text format; docs/monitoring.md lists the names. At most a second old, however many ask; the sums of "
    "tasks are those that the supervisor wrote last, two seconds ago (more with thousands of tasks)."
)

_TEXT_SCHEMA = {"type": "string"}
_GOOD = {"Ok": True, "Reason": ""}
_CHECKS = {"store": _GOOD, "disk": _GOOD, "supervisor": _GOOD, "outbox": _GOOD}
_READY = {"Ready": True, "Checks": _CHECKS, "Notes": []}
_LIVE_SCHEMA = {"type": "object", "required": ["Alive"], "properties": {"Alive": {"type": "boolean"}}}
_CHECK_SCHEMA = {
    "type": "object",
    "required": ["Ok"],
    "properties": {"Ok": {"type": "boolean"}, "Reason": {"type": "string"}},
}
_READY_SCHEMA = {
    "type": "object",
    "required": ["Ready"],
    "properties": {
        "Ready": {"type": "boolean"},
        "Checks": {"type": "object", "additionalProperties": _CHECK_SCHEMA},
        "Notes": {"type": "array", "items": {"type": "string"}},
    },
}
_FULL = {
    "Ok": False,
    "Reason": "the disk of /var/lib/stream-server is nearly full: 12 MB of 7000 MB are free, below the 64 MB of "
    "disk_reserve_mb; make room there, then try again",
}
_NOT_READY = {"Ready": False, "Checks": _CHECKS | {"disk": _FULL}, "Notes": []}


def health_paths() -> dict[str, Any]:
    """The three paths; the HTTP status is the answer, for that is all that most who ask look at."""
    return {
        "/livez": {
            "get": {
                "summary": "Is it alive",
                "description": LIVE_TEXT,
                "responses": {"200": _answer("it answers", {"Alive": True}, _LIVE_SCHEMA)},
            }
        },
        "/readyz": {
            "get": {
                "summary": "Is it ready",
                "description": READY_TEXT,
                "responses": {
                    "200": _answer("ready", _READY, _READY_SCHEMA),
                    "503": _answer("not ready", _NOT_READY, _READY_SCHEMA),
                },
            }
        },
        "/metrics": {
            "get": {
                "summary": "Figures for Prometheus",
                "description": METRICS_TEXT,
                "responses": {"200": {"description": "metrics", "content": {"text/plain": {"schema": _TEXT_SCHEMA}}}},
            }
        },
    }


def _answer(meaning: str, example: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": meaning, "content": {"application/json": {"schema": schema, "example": example}}}
