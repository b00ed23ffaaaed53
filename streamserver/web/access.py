"""Who may ask what: decides before every view, and says why not (docs/architecture.md, "Running it")."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, g, request

from streamserver.core.errors import (
    AccessError,
    KeyBookError,
    KeyNeededError,
    StoreError,
    TooManyRequestsError,
)
from streamserver.core.networks import Address, network_of, parse_networks
from streamserver.core.settings import Settings
from streamserver.web import access_rules as rules
from streamserver.web.access_rules import Role
from streamserver.web.audit import AuditLog
from streamserver.web.limits import Buckets, LockOut

if TYPE_CHECKING:
    from streamserver.keys import ApiKey, KeyRing

log = logging.getLogger(__name__)

_MAKE_ONE = "python -m streamserver.keys create --role write"
_NEEDED = "this needs an API key"
_REFUSED = "this API key is not valid"
_HOW = (
    "send a token, 'ss_…', in the header Authorization (as Bearer); the operator makes one with "
    "'python -m streamserver.keys create --role read', or write"
)
_ALWAYS_ANSWERED = "/livez"
"""The guard asks it, and a flood of requests is no reason to start the server anew."""

_BURST_S = 4.0
_ROLES = {"read": Role.READ, "write": Role.WRITE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes:
        role: what they may do.
        address: where the connection comes from; "unix socket" where it has none.
        key_id: the API key that they have; empty without.
        name: what that key is called.
    """

    role: Role
    address: str
    key_id: str = ""
    name: str = ""


def register(app: Flask, settings: Settings) -> None:
    """Puts the decision before every view of ``app`` and the audit log behind it, and says in the log what holds.

    Raises:
        ConfigError: ``trusted_networks`` cannot be read.
    """
    audit = AuditLog(settings.state_path)
    gate = Gate(settings, audit)
    app.before_request(gate.decide)
    app.after_request(audit.note_change)
    gate.announce()


def caller() -> Caller:
    """Who sent the current request."""
    found: Caller = g.caller
    return found


class Gate:
    """The settings of access, and what is remembered of callers.

    Raises:
        ConfigError: ``trusted_networks`` cannot be read.
    """

    def __init__(self, settings: Settings, audit: AuditLog) -> None:
        self._settings = settings
        self._audit = audit
        self._trusted = parse_networks(settings.trusted_networks, setting="trusted_networks")
        own = socket.gethostname().lower()
        named = (name.strip().lower() for name in settings.host_names.split(","))
        self._names = frozenset({own, f"{own}.local", *named})
        self._local = settings.auth == "auto" and rules.is_loopback(settings.host)
        self._buckets = Buckets(settings.rate_per_s, settings.rate_per_s * _BURST_S)
        self._lock_out = LockOut()
        self._ring: KeyRing | None = None

    def announce(self) -> None:
        """One line for who starts the server."""
        where = self._settings.host or "every interface"
        if self._settings.auth == "off" and not rules.is_loopback(self._settings.host):
            log.warning(
                "auth is off: whoever reaches %s port %d can start and end tasks; set auth: auto, or trusted_networks",
                where,
                self._settings.port,
            )
        elif self._settings.auth == "off" or self._local:
            log.info("no API keys are needed: the API listens on %s", where)
        else:
            log.info("%s", self._state_of_keys())

    def decide(self) -> None:
        """Before a view: lets it be called, or raises.

        Raises:
            AccessError: the caller may not do this.
        """
        rule = request.url_rule.rule if request.url_rule is not None else ""
        role = rules.needed(rule, request.method) if rule else Role.READ  # what is not there is told to who may look
        address = rules.address_of(request.environ)
        g.caller = Caller(role=Role.NONE, address=str(address or "unix socket"))
        if rule == _ALWAYS_ANSWERED:
            return
        try:
            self._decide(role, address)
        except AccessError as e:
            self._audit.note_refusal(e, caller())
            raise

    def _decide(self, needed: Role | None, address: Address | None) -> None:
        if request.method not in rules.SAFE_METHODS and rules.is_from_other_site(request.environ):
            raise AccessError("a web page of another site sent this", cure="send it from a program, or from this site")
        is_free = self._is_free(address)
        refusal = self._require_own_name() if is_free else self._require_key(address)
        found = caller()
        if not is_free:
            self._require_pace(found.key_id or rules.caller_network(address))
        if needed is None:
            raise AccessError("nobody may do this", cure="see /docs")
        if found.role >= needed:
            return
        if refusal is not None:
            raise refusal
        raise AccessError(f"API key {found.key_id} may only look", cure=f"use one that may write: {_MAKE_ONE}")

    def _require_own_name(self) -> AccessError | None:
        """Who needs no key may do all, unless a web page sent them here; returns why they may not."""
        host = request.environ.get("HTTP_HOST", "")
        if rules.is_own_host(host, self._names):
            g.caller = Caller(role=Role.WRITE, address=caller().address)
            return None
        return AccessError(
            f"{host[:80]!r} is no name of this machine",
            cure="ask by its address, or add the name to the setting host_names",
        )

    def _require_key(self, address: Address | None) -> AccessError | None:
        """Makes the caller the one that the key says; returns why it does not."""
        given = rules.credentials(request.environ.get("HTTP_AUTHORIZATION", ""))
        if given is None:
            return KeyNeededError(_NEEDED, cure=_HOW)
        token, as_password = given
        key = self._prove(token, rules.caller_network(address))
        if isinstance(key, AccessError):
            return key
        role = Role.READ if as_password else _ROLES[key.role]
        g.caller = Caller(role=role, address=caller().address, key_id=key.id, name=key.name)
        return None

    def _is_free(self, address: Address | None) -> bool:
        """True for who needs no key."""
        if self._settings.auth == "off":
            return True
        if address is None:
            return False
        if network_of(address, self._trusted) is not None:
            return True
        return self._local and address.is_loopback and not rules.is_forwarded(request.environ)

    def _prove(self, token: str, network: str) -> ApiKey | AccessError:
        key_id = token[3:15]
        try:
            who = f"{network} {key_id}" if self._keys().knows(key_id) else network
            if wait_s := self._lock_out.wait_s(who, key_id):
                return TooManyRequestsError(
                    "too many API keys that are not valid came from here", cure="try again later", retry_after_s=wait_s
                )
            key, problem = self._keys().prove(token)
        except StoreError as e:
            g.refusal_detail = f"nobody is let in, for {e}"
            return KeyBookError("the book of API keys cannot be read", cure="the log of the web process says more")
        if key is None or problem:
            self._lock_out.note_failure(who)
            g.refusal_detail = problem
            return KeyNeededError(_REFUSED, cure=_HOW)
        self._lock_out.note_success(who, key.id)
        return key

    def _require_pace(self, who: str) -> None:
        if wait_s := self._buckets.wait_s(who):
            raise TooManyRequestsError(
                f"more than {self._settings.rate_per_s:g} requests a second",
                cure="ask less often",
                retry_after_s=wait_s,
            )

    def _keys(self) -> KeyRing:
        if self._ring is None:
            from streamserver.keys import KeyRing

            self._ring = KeyRing(self._settings.state_path)
        return self._ring

    def _state_of_keys(self) -> str:
        try:
            if self._keys().has_keys():
                return "API keys are needed"
        except StoreError as e:
            return f"API keys are needed, and their book cannot be read: {e}"
        return f"API keys are needed; none exists yet: {_MAKE_ONE}"
