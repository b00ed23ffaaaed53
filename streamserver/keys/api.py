"""API keys: what lets somebody use the HTTP API. Application keys never stand in for them."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Any

SECRET_BYTES = 32
"""So many random bytes are beyond guessing: a plain hash keeps them, and nobody has to be slowed down."""

ROLES = ("read", "write")

TOKEN = re.compile(r"ss_([0-9a-f]{12})_([0-9a-f]{64})")
"""A token as it travels: the key's id and its secret."""

COLUMNS = ("id", "name", "role", "secret_hash", "created", "expires", "revoked")
CREATE = """
CREATE TABLE api_keys (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL,
    checksum INTEGER NOT NULL
)
"""
INSERT = f"INSERT INTO api_keys ({', '.join(COLUMNS)}, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - names of ours, values are bound  # nosec B608
SELECT = f"SELECT {', '.join(COLUMNS)}, checksum FROM api_keys"  # noqa: S608 - names of ours, values are bound  # nosec B608
REVOKE = "UPDATE api_keys SET revoked = ?, checksum = ? WHERE id = ? AND revoked = 0"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One API key; times are in seconds since the epoch.

    Attributes:
        id: names the key; no secret.
        name: what people call it.
        role: ``read`` or ``write``.
        created: when it was made.
        expires: from when on it is refused; 0 for never.
        revoked: when it was revoked; 0 when it was not.
    """

    id: str
    name: str
    role: str
    secret_hash: str = field(repr=False)
    created: int
    expires: int
    revoked: int = 0

    def problem(self, now_s: float) -> str:
        """Why it is refused at ``now_s``; empty while it is not."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now_s else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApiKey:
    """A key that was just made, with its token, which is kept nowhere."""

    key: ApiKey
    token: str = field(repr=False)


def new_api_key(*, name: str, role: str, days: int | None, now_s: float) -> NewApiKey:
    """A fresh key that holds for ``days`` days, or until it is revoked."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(SECRET_BYTES)
    key = ApiKey(
        id=key_id,
        name=name,
        role=role,
        secret_hash=hash_of(secret),
        created=int(now_s),
        expires=0 if days is None else int(now_s) + days * 86_400,
    )
    return NewApiKey(key=key, token=f"ss_{key_id}_{secret}")


def hash_of(secret: str) -> str:
    """What the book holds of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def row_of(key: ApiKey, *, revoked: int | None = None) -> Row:
    """The row of ``key`` with its checksum, revoked at ``revoked`` unless that is ``None``."""
    values = tuple(getattr(key, name) for name in COLUMNS)
    values = values if revoked is None else (*values[:-1], revoked)
    return (*values, checksum(values))


def key_of(row: Row) -> ApiKey:
    """The key of a sound row."""
    return ApiKey(**dict(zip(COLUMNS, row[:-1], strict=True)))


def is_sound(row: Row) -> bool:
    """True for a row as we wrote it."""
    return bool(row[-1] == checksum(row[:-1]))


def checksum(values: Row) -> int:
    """Of the columns of a row."""
    return zlib.crc32(repr(values).encode("utf-8", "backslashreplace"))
