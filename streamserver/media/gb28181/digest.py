"""Digest authentication as SIP uses it (RFC 2617, 3261, 8760): the answer to a platform's challenge."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_HASHES: Mapping[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "SHA-256": lambda data: hashlib.sha256(data).hexdigest(),
}
_SESSION = "-SESS"
_PARAMETER = re.compile(
    r"(?P<name>[A-Za-z0-9_-]{1,64})\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<token>[^\s,\"]+))\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a platform wants to be told.

    Attributes:
        realm: where the password is good for.
        nonce: what the answer has to be made with.
        opaque: to be sent back; empty if there is none.
        algorithm: as the platform writes it; empty for MD5.
        qop: whether a nonce of ours and a count go into the answer (``auth``).
        stale: the last answer was right, but for an old nonce.
    """

    realm: str
    nonce: str
    opaque: str = ""
    algorithm: str = ""
    qop: bool = False
    stale: bool = False

    @property
    def with_session(self) -> bool:
        """True for MD5-sess and its like."""
        return self.algorithm.upper().endswith(_SESSION)

    @property
    def hash(self) -> Callable[[bytes], str]:
        """The hash function, to hexadecimal digits; KeyError for one that we have not got."""
        return _HASHES[(self.algorithm or "MD5").upper().removesuffix(_SESSION)]


def parse_challenge(header: str) -> Challenge | None:
    """Reads a WWW-Authenticate or Proxy-Authenticate header; ``None`` if we cannot answer it."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(rest):
        value = found["token"] if found["quoted"] is None else re.sub(r"\\(.)", r"\1", found["quoted"])
        parameters.setdefault(found["name"].lower(), value)
    qops = {qop.strip().lower() for qop in parameters.get("qop", "").split(",")} - {""}
    challenge = Challenge(
        realm=parameters.get("realm", ""),
        nonce=parameters.get("nonce", ""),
        opaque=parameters.get("opaque", ""),
        algorithm=parameters.get("algorithm", ""),
        qop="auth" in qops,
        stale=parameters.get("stale", "").lower() == "true",
    )
    known = challenge.algorithm.upper().removesuffix(_SESSION) in {"", *_HASHES}
    return challenge if known and challenge.nonce and (challenge.qop or not qops) else None


def answer(challenge: Challenge, *, username: str, password: str, method: str, uri: str, cnonce: str = "") -> str:
    """The value of the Authorization header; ``cnonce`` is made up where none is given."""
    cnonce = cnonce or secrets.token_hex(8)
    count = "00000001"

    def hashed(*parts: str | bytes) -> str:
        return challenge.hash(b":".join(p if isinstance(p, bytes) else p.encode("latin-1") for p in parts))

    secret = hashed(username.encode(), challenge.realm, password.encode())
    if challenge.with_session:
        secret = hashed(secret, challenge.nonce, cnonce)
    between = [count, cnonce, "auth"] if challenge.qop else []
    response = hashed(secret, challenge.nonce, *between, hashed(method, uri))
    fields = {
        "username": username, "realm": challenge.realm, "nonce": challenge.nonce, "uri": uri, "response": response,
    }  # fmt: skip
    if challenge.opaque:
        fields["opaque"] = challenge.opaque
    if challenge.qop or challenge.with_session:
        fields["cnonce"] = cnonce
    parts = [f"{name}={_quoted(value)}" for name, value in fields.items()]
    parts.append(f"algorithm={challenge.algorithm or 'MD5'}")
    if challenge.qop:
        parts += ["qop=auth", f"nc={count}"]
    return f"Digest {', '.join(parts)}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
