"""Puts who changed what, and who was refused, into the audit log (``core.audit``)."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Response, g, request

from streamserver.core import audit
from streamserver.core.errors import AccessError
from streamserver.web.limits import Buckets

if TYPE_CHECKING:
    from streamserver.web.access import Caller

log = logging.getLogger(__name__)

ACTIONS = {
    "/task/create": "create",
    "/task/update": "update",
    "/task/delete": "delete",
    "/alarm/replay": "replay",
    "/license": "license",
}
"""What is recorded, by rule; of a licence only that it was given."""

_REFUSALS_PER_S, _REFUSALS_AT_ONCE = 0.2, 50.0
"""So that nobody without a key can push the changes out of the files: at most 5 MB a day."""


class AuditLog:
    """Records changes before their replies leave, and refusals as far as there is room for them.

    Args:
        state_path: the state folder.
    """

    def __init__(self, state_path: Path) -> None:
        self._state_path = state_path
        self._room = Buckets(_REFUSALS_PER_S, _REFUSALS_AT_ONCE)
        self._lock = threading.Lock()
        self._left_out = 0

    def note_change(self, response: Response) -> Response:
        """After a view: records what it was asked for and how it answered; the reply stays as it is."""
        action = ACTIONS.get(request.url_rule.rule) if request.url_rule is not None else None
        if action and request.method == "POST" and not g.get("is_refused") and not g.get("is_unchanged"):
            code, message = _answer_of(response)
            if action != "license" or code == 0:
                entry = {"action": action, **_who(g.caller), "subject": g.get("subject"), "code": code}
                self._append(entry if code == 0 else {**entry, "detail": message})
        return response

    def note_refusal(self, error: AccessError, caller: Caller) -> None:
        """Records that access was refused; a flood of refusals is counted, not written."""
        g.is_refused = True
        with self._lock:
            if self._room.wait_s(""):
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
        detail = g.get("refusal_detail") or error.message
        asked = f"{request.method} {request.path[:100]}"
        more = f" ({left_out} more left out before)" if left_out else ""
        log.warning("%r of %s refused: %s%s", asked, caller.address, detail, more)
        entry = {"action": "refused", **_who(caller), "subject": asked, "code": error.code}
        self._append({**entry, "detail": detail, "left_out": left_out})

    def _append(self, entry: dict[str, Any]) -> None:
        """A disk that is full must keep nobody from deleting a task; creates are refused there anyway."""
        try:
            audit.append(self._state_path, entry)
        except OSError as e:
            path = audit.audit_file(self._state_path)
            log.error("%s cannot be written: %s; what is missing there: %s", path, e.strerror, entry)


def about(subject: str, *, unchanged: bool = False) -> None:
    """Says what the current request changes (a TaskID), or that it left it as it was, which is not recorded."""
    g.subject, g.is_unchanged = subject, unchanged


def _who(caller: Caller) -> dict[str, Any]:
    by = f"key {caller.key_id}" if caller.key_id else "no key"
    return {"by": by, "name": caller.name, "address": caller.address}


def _answer_of(response: Response) -> tuple[int | None, str]:
    """``Code`` and ``Msg`` of a reply."""
    try:
        content = json.loads(response.get_data())
        return int(content["Code"]), str(content["Msg"])
    except (ValueError, TypeError, KeyError):
        return None, ""
