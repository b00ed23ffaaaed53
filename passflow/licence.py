"""Authorisation: application keys become a signed licence once, which is then checked without a network."""

from __future__ import annotations

import http.client
import json
import logging
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streamserver.core.errors import ConfigError, LicenceError, StreamServerError
from streamserver.core.files import sync_folder, write_atomically
from streamserver.core.licences import (
    Licence,
    from_file,
    public_key_from_text,
    public_key_to_text,
    to_file,
    utc_text,
    verified,
)
from streamserver.core.secrets import hide, register_secret
from streamserver.core.settings import Settings, load
from streamserver.core.urls import is_http_url, masked

SERVICE = "passflow"
"""What a licence has to be for."""

_ANSWER_S = 10.0
_MAX_BYTES = 65_536
_CLOCK_DIFFERENCE_S = 300
"""The clocks of two machines may differ by so much; a clock that is further behind a licence's date was set back."""

_log = logging.getLogger(__name__)


class Authorizer:
    """The right of this program to count, by keys that ``python -m streamserver.keys create`` made.

    The first ``authorization()`` fetches a licence from the server (setting ``license_server``) and keeps it; later
    ones only read it. One that has expired is asked for again.

    Args:
        app_key: names the application.
        app_secret: proves that the keys are yours; sent to the licence server only.
        service_key: names what the keys are for.
        license_path: the file where the licence is kept; its folder is made.
        clock: wall time in seconds since the epoch.

    Attributes:
        reason: why ``authorization()`` was last refused, with the cure; empty when it was granted.
    """

    def __init__(
        self,
        app_key: str,
        app_secret: str,
        service_key: str,
        license_path: str | os.PathLike[str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reason = "authorization() was not called"
        self._keys = {"app_key": app_key, "app_secret": app_secret, "service_key": service_key}
        self._license_path = license_path
        self._clock = clock
        self._lock = threading.Lock()

    def authorization(self) -> bool:
        """Whether this program may count; ``reason`` and the log say why not. Never raises."""
        with self._lock:
            self.reason = self._trouble(may_ask=True)
        _latest.set(self)
        if self.reason:
            _log.error("not authorised: %s", self.reason)
        return not self.reason

    def recheck(self) -> str:
        """Why the licence that was granted holds no longer, by what is on this machine; empty when it does."""
        with self._lock:
            return self.reason or self._trouble(may_ask=False)

    def _trouble(self, *, may_ask: bool) -> str:
        try:
            self._authorise(may_ask=may_ask)
        except OSError as e:
            return hide(f"license_path: {e}; name a file that this user may read and write")
        except (StreamServerError, ValueError, RuntimeError) as e:
            return hide(str(e)) or type(e).__name__
        return ""

    def _authorise(self, *, may_ask: bool) -> None:
        path = self._checked_path()
        settings = load()
        trusted, origin = _trusted_key(settings, path)
        data = _read(path)
        if data is None:
            if not may_ask:
                raise LicenceError(f"there is no licence at {path} any more", cure="call authorization() again")
            self._fetch(settings, path, trusted)
            return
        if trusted is None:
            raise LicenceError(
                f"the key that signed {path} is not known: {_pin_of(path)} is gone",
                cure="set license_public_key, or remove the licence to fetch another",
            )
        try:
            licence = from_file(data, trusted)
        except LicenceError as e:
            raise LicenceError(f"licence {path}: {e} (checked with {origin})", cure="remove it to fetch another") from e
        if licence.expires <= self._clock() and may_ask:
            self._renew(settings, path, trusted, licence)
            return
        self._require_ours(licence, f"licence {path}")

    def _renew(self, settings: Settings, path: Path, trusted: bytes, old: Licence) -> None:
        try:
            self._fetch(settings, path, trusted)
        except LicenceError as e:
            raise LicenceError(f"licence {path} expired at {utc_text(old.expires)}; {e}") from e

    def _checked_path(self) -> Path:
        for name, value in self._keys.items():
            if not isinstance(value, str) or not value:
                raise LicenceError(f"{name}: expected a text", cure="'python -m streamserver.keys create' makes one")
        register_secret(self._keys["app_secret"])
        path = self._license_path
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise LicenceError("license_path: expected the path of a file", cure="name a file that may be written")
        return Path(os.fsdecode(path)).expanduser().absolute()

    def _fetch(self, settings: Settings, path: Path, trusted: bytes | None) -> None:
        """Asks the server and keeps what it gives: the key first, so that no licence stands here without one."""
        result = _ask(settings.license_server, self._keys)
        key = trusted or public_key_from_text(str(result.get("PublicKey", "")))
        licence = verified(result.get("License"), key)
        self._require_ours(licence, "the licence that the server gave")
        path.parent.mkdir(parents=True, exist_ok=True)
        if trusted is None:
            write_atomically(_pin_of(path), f"{public_key_to_text(key)}\n".encode(), sync=True, private=True)
        write_atomically(path, to_file(result["License"]), sync=True, private=True)
        sync_folder(path.parent)
        _log.info("licence %s until %s is kept at %s", licence.license_id, utc_text(licence.expires), path)

    def _require_ours(self, licence: Licence, name: str) -> None:
        now = self._clock()
        for key in ("app_key", "service_key"):
            if getattr(licence, key) != self._keys[key]:
                raise LicenceError(f"{name} is for another {key}", cure="give each its own license_path")
        if licence.service != SERVICE:
            raise LicenceError(f"{name} is for '{licence.service}', not for {SERVICE}", cure="create other keys")
        if licence.expires <= now:
            raise LicenceError(f"{name} expired at {utc_text(licence.expires)}", cure="create new keys")
        if now < licence.issued - _CLOCK_DIFFERENCE_S:
            raise LicenceError(
                f"{name} was issued at {utc_text(licence.issued)}, which is in the future", cure="set the clock"
            )


def unauthorised() -> str:
    """Why counting is not authorised now; empty when it is.

    The Authorizer that was last used decides. Where none was, counting is free unless ``license: required``.
    """
    latest = _latest.get()
    if latest is not None:
        return latest.recheck()
    try:
        required = load().license == "required"
    except ConfigError as e:
        return hide(str(e))
    return "a licence is required here; call Authorizer(…).authorization() first" if required else ""


class _Latest:
    """The Authorizer that this process used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._authorizer: Authorizer | None = None

    def set(self, authorizer: Authorizer | None) -> None:
        """From now on ``authorizer`` decides."""
        with self._lock:
            self._authorizer = authorizer

    def get(self) -> Authorizer | None:
        """Who decides; ``None`` before anybody was used."""
        with self._lock:
            return self._authorizer


_latest = _Latest()


def _trusted_key(settings: Settings, path: Path) -> tuple[bytes | None, str]:
    """The public key that is trusted and where it comes from; ``None`` while there is none."""
    if settings.license_public_key:
        return public_key_from_text(settings.license_public_key), "the setting license_public_key"
    for file in (settings.state_path / "license.pub", _pin_of(path)):
        data = _read(file)
        if data is not None:
            try:
                return public_key_from_text(data.decode("ascii", "replace")), str(file)
            except LicenceError as e:
                raise LicenceError(f"{file}: {e.message}", cure="restore it, or remove it") from e
    return None, ""


def _pin_of(path: Path) -> Path:
    """Where the key is kept that came with the first licence."""
    return path.with_name(f"{path.name}.pub")


def _at_once(path: str, flags: int) -> int:
    """Opens a pipe without waiting for its other end: it is no licence."""
    return os.open(path, flags | os.O_NONBLOCK)


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb", opener=_at_once) as file:
            return file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None


class _AnyAnswer(urllib.request.HTTPErrorProcessor):
    """Takes an answer as it is, whatever its status; follows no redirect."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


def _ask(server: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """The ``Result`` of POST /license; no proxy and no redirect gets to see the secret.

    Raises:
        LicenceError: the server refuses, cannot be reached or answers something else.
    """
    if not is_http_url(server):
        raise LicenceError(f"license_server '{masked(server)}' is no http or https address")
    url = f"{server.rstrip('/')}/license"
    body = json.dumps(dict(keys)).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310 - an address of the operator  # nosec B310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyAnswer())
    try:
        with opener.open(request, timeout=_ANSWER_S) as answer:
            text = answer.read(_MAX_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise LicenceError(
            f"the licence server {masked(server)} cannot be asked: {e}",
            cure="start stream-server there, or correct the setting license_server",
        ) from e
    return _result_of(text, server)


def _result_of(text: bytes, server: str) -> dict[str, Any]:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        reply = None
    if isinstance(reply, dict) and reply.get("Code") == 0 and isinstance(reply.get("Result"), dict):
        result: dict[str, Any] = reply["Result"]
        return result
    if isinstance(reply, dict) and isinstance(reply.get("Msg"), str) and reply.get("Code"):
        raise LicenceError(f"the licence server {masked(server)} refuses: {reply['Msg'][:500]}")
    raise LicenceError(f"{masked(server)} answered as no stream-server does", cure="correct license_server")
