"""The book of keys: ``keys.sqlite`` of the state folder. It holds no secret, only what proves one.

Application keys (``AppKey``) give licences; API keys (``keys.api``) let somebody use the HTTP API.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from streamserver import durable
from streamserver.core.errors import LicenceError, StoreError
from streamserver.core.licences import utc_text
from streamserver.keys import api
from streamserver.keys.api import SECRET_BYTES, ApiKey, NewApiKey, Row, checksum, hash_of, is_sound

DATABASE = "keys.sqlite"

_log = logging.getLogger(__name__)

_DAY_S = 86_400
_COLUMNS = ("app_key", "name", "service", "service_key", "secret_hash", "created", "expires", "revoked")
_CREATE = f"""
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    app_key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    service TEXT NOT NULL,
    service_key TEXT NOT NULL UNIQUE,
    secret_hash TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
{api.CREATE}
"""
_INSERT = f"INSERT INTO keys ({', '.join(_COLUMNS)}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of ours, values are bound  # nosec B608
_REVOKE = "UPDATE keys SET revoked = ?, checksum = ? WHERE app_key = ? AND revoked = 0"
_SELECT = f"SELECT {', '.join(_COLUMNS)}, checksum FROM keys"  # noqa: S608 - names of ours, values are bound  # nosec B608


@dataclass(frozen=True, slots=True, kw_only=True)
class AppKey:
    """One application's key; times are in seconds since the epoch.

    Attributes:
        app_key: names the application; no secret.
        name: what people call it.
        service: what it may use.
        service_key: names this use of the service; no secret.
        created: when it was made.
        expires: from when on it gives no licence; licences end then too.
        revoked: when it was revoked; 0 when it was not.
    """

    app_key: str
    name: str
    service: str
    service_key: str
    secret_hash: str = field(repr=False)
    created: int
    expires: int
    revoked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made, with its secret, which is kept nowhere."""

    key: AppKey
    app_secret: str = field(repr=False)


class KeyBook:
    """The keys of one state folder. For one thread at a time; several processes may have it open.

    Args:
        state_path: the state folder; it is made if need be.
        clock: wall time in seconds since the epoch.

    Raises:
        StoreError: from the constructor and every method, when the file cannot be read or written.
    """

    def __init__(self, state_path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = state_path / DATABASE
        self._clock = clock
        with self._wrapped():
            state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = durable.open_database(self._path, _SCHEMA, salvage=_salvage).connection

    def create(self, *, name: str, service: str, days: int) -> NewKey:
        """Makes a key that gives licences for ``service`` for ``days`` days."""
        secret = secrets.token_hex(SECRET_BYTES)
        now = int(self._clock())
        key = AppKey(
            app_key=secrets.token_hex(12),
            name=name,
            service=service,
            service_key=secrets.token_hex(12),
            secret_hash=hash_of(secret),
            created=now,
            expires=now + days * _DAY_S,
        )
        with self._wrapped(), durable.transaction(self._connection):
            self._connection.execute(_INSERT, _row_of(key))
        self._back_up()
        return NewKey(key=key, app_secret=secret)

    def all(self) -> list[AppKey]:
        """All of them, oldest first; revoked and expired ones too. Spoilt rows are left out, with a warning."""
        with self._wrapped():
            rows = self._connection.execute(f"{_SELECT} ORDER BY id").fetchall()
        for row in rows:
            if not is_sound(row):
                _log.warning("%s: the row of app_key %r has a wrong checksum", self._path, row[0])
        return [_key_of(row) for row in rows if is_sound(row)]

    def revoke(self, app_key: str) -> AppKey | None:
        """From now on ``app_key`` gives no licence; a second time changes nothing. ``None`` for an unknown key."""
        with self._wrapped(), durable.transaction(self._connection):
            found = self._find(app_key)
            if found is None or found.revoked:
                return found
            row = _row_of(found, revoked=int(self._clock()))
            self._connection.execute(_REVOKE, (row[-2], row[-1], app_key))
        self._back_up()
        return _key_of(row)

    def create_api_key(self, *, name: str, role: str, days: int | None = None) -> NewApiKey:
        """Makes a key for the HTTP API, with the role ``read`` or ``write``, for ``days`` days or for ever."""
        new = api.new_api_key(name=name, role=role, days=days, now_s=self._clock())
        with self._wrapped(), durable.transaction(self._connection):
            self._connection.execute(api.INSERT, api.row_of(new.key))
        self._back_up()
        return new

    def api_keys(self) -> list[ApiKey]:
        """All keys for the HTTP API, oldest first; revoked ones too. Spoilt rows are left out, with a warning."""
        with self._wrapped():
            rows = self._connection.execute(f"{api.SELECT} ORDER BY number").fetchall()
        for row in rows:
            if not is_sound(row):
                _log.warning("%s: the row of API key %r has a wrong checksum", self._path, row[0])
        return [api.key_of(row) for row in rows if is_sound(row)]

    def revoke_api_key(self, key_id: str) -> ApiKey | None:
        """From now on the API refuses this key; a second time changes nothing. ``None`` for an unknown key."""
        with self._wrapped(), durable.transaction(self._connection):
            row = self._connection.execute(f"{api.SELECT} WHERE id = ?", (key_id,)).fetchone()
            if row is None:
                return None
            found = api.key_of(row)
            if found.revoked:
                return found
            changed = api.row_of(found, revoked=int(self._clock()))
            self._connection.execute(api.REVOKE, (changed[-2], changed[-1], key_id))
        self._back_up()
        return api.key_of(changed)

    def prove(self, *, app_key: str, app_secret: str, service_key: str) -> AppKey:
        """The key whose three parts these are, when it may be used now.

        Raises:
            LicenceError: it may not. What is wrong with a key is told only to who has its secret.
        """
        with self._wrapped():
            found = self._find(app_key)
        known = found or _NOBODY
        right = hmac.compare_digest(known.secret_hash, hash_of(app_secret))
        right &= hmac.compare_digest(known.service_key.encode(), service_key.encode("utf-8", "replace"))
        if found is None or not right:
            raise LicenceError(
                "app_key, app_secret and service_key do not belong together, or there is no such key",
                cure="send all three as 'python -m streamserver.keys create' printed them",
            )
        if found.revoked:
            raise LicenceError(f"app_key {app_key} was revoked at {utc_text(found.revoked)}", cure=_ANOTHER)
        if found.expires <= self._clock():
            raise LicenceError(f"app_key {app_key} expired at {utc_text(found.expires)}", cure=_ANOTHER)
        return found

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _find(self, app_key: str) -> AppKey | None:
        row = self._connection.execute(f"{_SELECT} WHERE app_key = ?", (app_key,)).fetchone()
        return None if row is None else _key_of(row)

    def _back_up(self) -> None:
        """At once, for keys change seldom: a file that is restored from an older backup would forget a revocation."""
        try:
            durable.back_up(self._path, check=_SCHEMA)
        except StoreError as e:
            _log.warning("the keys are kept, but there is no new backup of them: %s", e)

    @contextmanager
    def _wrapped(self) -> Iterator[None]:
        try:
            yield
        except durable.TROUBLE as e:
            error = durable.store_error(self._path, e)
            raise StoreError(error.message, cure=error.cure) from e  # damage is no reason to start the server anew


_ANOTHER = "create another with 'python -m streamserver.keys create'"


def _row_of(key: AppKey, *, revoked: int | None = None) -> Row:
    values = tuple(getattr(key, name) for name in _COLUMNS)
    values = values if revoked is None else (*values[:-1], revoked)
    return (*values, checksum(values))


def _key_of(row: Row) -> AppKey:
    if not is_sound(row):
        raise StoreError(
            f"{DATABASE}: the row of app_key {row[0]!r} has a wrong checksum",
            cure=f"create another key, or stop the server and put {DATABASE}.backup in the place of {DATABASE}",
        )
    return AppKey(**dict(zip(_COLUMNS, row[:-1], strict=True)))


def _salvage(source: sqlite3.Connection, target: sqlite3.Connection) -> int:
    """Takes over sound rows; a key that is revoked in either file is revoked."""
    source.text_factory = target.text_factory = durable.tolerant_text
    taken = 0
    for table, columns, insert, revoke in _TABLES:
        for row in durable.readable_rows(source, table, (*columns, "checksum")):
            if not is_sound(row):
                continue
            taken += target.execute(insert.replace("INSERT", "INSERT OR IGNORE", 1), row).rowcount
            if row[-2]:
                target.execute(revoke, (row[-2], row[-1], row[0]))
    return taken


def _rows_sound(connection: sqlite3.Connection) -> str:
    wrong = sum(not is_sound(row) for select in (_SELECT, api.SELECT) for row in connection.execute(select))
    return f"{wrong} keys have a wrong checksum" if wrong else ""


def _add_api_keys(connection: sqlite3.Connection) -> None:
    connection.execute(api.CREATE)


_TABLES = (("keys", _COLUMNS, _INSERT, _REVOKE), ("api_keys", api.COLUMNS, api.INSERT, api.REVOKE))
_SCHEMA = durable.Schema(version=2, create=_CREATE, migrations={1: _add_api_keys}, rows_sound=_rows_sound)
_NOBODY = AppKey(
    app_key="", name="", service="", service_key=secrets.token_hex(12), secret_hash="0" * 64, created=0, expires=0
)
"""Whom an unknown key is compared with, so that it takes as long as a wrong secret."""
