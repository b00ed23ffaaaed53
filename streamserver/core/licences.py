"""What a licence says, how it is signed and how it is checked: what the server and the SDK have in common.

A licence is a JSON object of texts: what it allows, to whom and until when, and an Ed25519 signature over all of that.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from streamserver.core.errors import LicenceError

PRODUCT = "stream-server"
PUBLIC_KEY_BYTES = 32

_DOMAIN = b"stream-server licence\n"
"""Stands before what is signed, so that no signature of the same key over anything else is one of a licence."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KEYS = ("license_id", "product", "service", "app_key", "service_key", "issued", "expires", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """What a licence says; times are in seconds since the epoch."""

    license_id: str
    service: str
    app_key: str
    service_key: str
    issued: int
    expires: int


def signed(licence: Licence, sign: Callable[[bytes], bytes]) -> dict[str, str]:
    """``licence`` as it travels and is kept; ``sign`` gives the Ed25519 signature of bytes."""
    content = _payload(licence)
    return content | {"signature": base64.b64encode(sign(_message(content))).decode()}


def verified(content: object, public_key: bytes) -> Licence:
    """What a signed licence says, once its signature is right.

    Args:
        content: the parsed JSON of a licence.
        public_key: 32 bytes; whoever has its other half made the licence, or it is none.

    Raises:
        LicenceError: it was altered, or another key signed it.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    texts = _texts(content)
    licence = _parse(texts)
    try:
        signature = base64.b64decode(texts["signature"], validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, _message(_payload(licence)))
    except (InvalidSignature, ValueError) as e:
        raise LicenceError("its signature is wrong: it was altered, or another server signed it") from e
    if base64.b64encode(signature).decode() != texts["signature"]:  # bits that Base64 does not use
        raise LicenceError("it was altered")
    return licence


def to_file(content: Mapping[str, str]) -> bytes:
    """The bytes in which a signed licence is kept."""
    return json.dumps({key: content[key] for key in _KEYS}, indent=2).encode() + b"\n"


def from_file(data: bytes, public_key: bytes) -> Licence:
    """As ``verified`` for the bytes of a file; every one of them has to be as ``to_file`` wrote it.

    Raises:
        LicenceError: something is different.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise LicenceError("it is no JSON") from e
    licence = verified(content, public_key)
    if to_file(content) != data:
        raise LicenceError("it was altered")
    return licence


def public_key_from_text(text: str) -> bytes:
    """The 32 bytes of a public key that is written in Base64.

    Raises:
        LicenceError: the text is none.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != PUBLIC_KEY_BYTES:
        raise LicenceError(
            f"expected {PUBLIC_KEY_BYTES} bytes in Base64 as a public key",
            cure="'python -m streamserver.keys public' on the licence server prints it",
        )
    return key


def public_key_to_text(key: bytes) -> str:
    """A public key in Base64."""
    return base64.b64encode(key).decode()


def _payload(licence: Licence) -> dict[str, str]:
    return {
        "license_id": licence.license_id,
        "product": PRODUCT,
        "service": licence.service,
        "app_key": licence.app_key,
        "service_key": licence.service_key,
        "issued": utc_text(licence.issued),
        "expires": utc_text(licence.expires),
    }


def _message(payload: Mapping[str, str]) -> bytes:
    return _DOMAIN + json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()


def _texts(content: object) -> dict[str, str]:
    if not isinstance(content, dict) or set(content) != set(_KEYS):
        raise LicenceError(f"it is no licence: expected the keys {', '.join(_KEYS)}")
    if not all(isinstance(value, str) for value in content.values()):
        raise LicenceError("it is no licence: every value is a text")
    return content


def _parse(texts: Mapping[str, str]) -> Licence:
    try:
        licence = Licence(
            license_id=texts["license_id"],
            service=texts["service"],
            app_key=texts["app_key"],
            service_key=texts["service_key"],
            issued=_seconds(texts["issued"]),
            expires=_seconds(texts["expires"]),
        )
    except (ValueError, OverflowError) as e:
        raise LicenceError("it is no licence: issued or expires is no time") from e
    if _payload(licence) != {key: text for key, text in texts.items() if key != "signature"}:
        raise LicenceError("it was altered, or is for another product")
    return licence


def utc_text(seconds: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
