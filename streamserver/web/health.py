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
from streamserver.web import access, services
from streamserver.web.access_rules import Role
from streamserver.web.services import Services
from streamserver.web.sums import read_sums, waiting
from streamserver.web.task_status import utc_text

WAITS_LONG_S = 300.0
"""An outbox whose oldest alarm has waited for so long is told of."""

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def live() -> Response:
    """200 as long as the process answers; asks nobody else."""
    return jsonify({"Alive": True})


@blueprint.get("/readyz")
def ready() -> Response:
    """200 when tasks can be accepted and run, else 503; for who may read, with why and what was damaged lately."""
    at_hand = services.current()
    found = problems(at_hand)
    body: dict[str, Any] = {"Ready": not any(found.values())}
    if access.caller().role >= Role.READ:
        checks = {name: {"Ok": not reason, "Reason": hide(reason)} for name, reason in found.items()}
        damages = recent_damage(at_hand.settings.state_path)
        notes = [hide(f"{utc_text(damage.at)}: {damage}") for damage in damages]
        body |= {"Checks": checks | {"outbox": {"Ok": True, "Reason": _outbox(at_hand)}}, "Notes": notes}
    response = jsonify(body)
    response.status_code = 200 if body["Ready"] else 503
    return response


def problems(at_hand: Services) -> dict[str, str]:
    """What keeps the server from taking and running tasks, by check; an empty text where all is well."""
    return {name: check(at_hand) for name, check in _CHECKS.items()}


def _outbox(at_hand: Services) -> str:
    """Alarms that wait for long: told, but no reason to take tasks elsewhere, for the receiver is what is away."""
    pending, oldest_age_s = waiting(read_sums(at_hand.settings.state_path))
    if oldest_age_s < WAITS_LONG_S:
        return ""
    return (
        f"{pending} alarms wait for a receiver, the oldest for {oldest_age_s:.0f} s; nothing is lost before "
        f"{at_hand.settings.retention_h:g} h (retention_h); /task/list says in Reason which address takes none and why"
    )


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
