"""The part of the OpenAPI document for who watches the server: /livez and /readyz."""

from __future__ import annotations

from typing import Any

LIVE_TEXT = "Says that the web process answers; asks neither the database nor the supervisor."
READY_TEXT = (
    "200 when tasks can be accepted and run, else 503 with the reason: the task database answers, the disk has room "
    "(disk_reserve_mb), the supervisor works. Notes names files that were found damaged lately and what was restored."
)

_GOOD = {"Ok": True, "Reason": ""}
_READY = {"Ready": True, "Checks": {"store": _GOOD, "disk": _GOOD, "supervisor": _GOOD}, "Notes": []}
_FULL = {
    "Ok": False,
    "Reason": "the disk of /var/lib/stream-server is nearly full: 12 MB of 7000 MB are free, below the 64 MB of "
    "disk_reserve_mb; make room there, then try again",
}
_NOT_READY = {"Ready": False, "Checks": {"store": _GOOD, "disk": _FULL, "supervisor": _GOOD}, "Notes": []}


def health_paths() -> dict[str, Any]:
    """The two paths; the HTTP status is the answer, for that is all that most who ask look at."""
    return {
        "/livez": {
            "get": {
                "summary": "Is it alive",
                "description": LIVE_TEXT,
                "responses": {"200": _answer("it answers", {"Alive": True})},
            }
        },
        "/readyz": {
            "get": {
                "summary": "Is it ready",
                "description": READY_TEXT,
                "responses": {"200": _answer("ready", _READY), "503": _answer("not ready", _NOT_READY)},
            }
        },
    }


def _answer(meaning: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"description": meaning, "content": {"application/json": {"example": example}}}
