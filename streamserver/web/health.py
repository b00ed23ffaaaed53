"""For who watches the server: ``/livez`` (does it answer?) and ``/readyz`` (does it take tasks?)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from streamserver.core.errors import StoreDamagedError, StoreError
from streamserver.core.secrets import hide
from streamserver.durable import recent_damage
from streamserver.durable.disk import shortage
from streamserver.supervise import lock
from streamserver.web import services
from streamserver.web.services import Services
from streamserver.web.task_status import utc_text

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def live() -> Response:
    """200 as long as the process answers; asks nobody else."""
    return jsonify({"Alive": True})


@blueprint.get("/readyz")
def ready() -> Response:
    """200 when tasks can be accepted and run, else 503; either way with each check and what was damaged lately."""
    at_hand = services.current()
    checks = {name: _entry(check(at_hand)) for name, check in _CHECKS.items()}
    is_ready = all(entry["Ok"] for entry in checks.values())
    damages = recent_damage(at_hand.settings.state_path)
    notes = [hide(f"{utc_text(damage.at)}: {damage}") for damage in damages]
    response = jsonify({"Ready": is_ready, "Checks": checks, "Notes": notes})
    response.status_code = 200 if is_ready else 503
    return response


def _entry(reason: str) -> dict[str, Any]:
    return {"Ok": not reason, "Reason": hide(reason)}


def _store(at_hand: Services) -> str:
    try:
        at_hand.store.version()
    except StoreDamagedError as e:
        lock.tell_of_damage(at_hand.settings.state_path)
        return str(e)
    except StoreError as e:
        return str(e)
    return ""


def _disk(at_hand: Services) -> str:
    return shortage(at_hand.settings.state_path, at_hand.settings.disk_reserve_mb)


def _supervisor(at_hand: Services) -> str:
    settings = at_hand.settings
    if lock.beats(lock.lock_file(settings.state_path), settings.heartbeat_timeout_s):
        return ""
    return (
        f"no supervisor has worked in {settings.state_path} for {settings.heartbeat_timeout_s:g} s: tasks are neither "
        "started nor ended; start.py starts one by itself, without it start 'python -m streamserver.supervise'"
    )


_CHECKS: dict[str, Callable[[Services], str]] = {"store": _store, "disk": _disk, "supervisor": _supervisor}
