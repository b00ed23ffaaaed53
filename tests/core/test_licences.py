"""The form of a licence: everything of it is signed, and every byte of its file counts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streamserver.core.errors import LicenceError
from streamserver.core.licences import (
    Licence,
    from_file,
    public_key_from_text,
    public_key_to_text,
    signed,
    to_file,
    verified,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
LICENCE = Licence(
    license_id="l1", service="passflow", app_key="a", service_key="s", issued=1_800_000_000, expires=1_900_000_000
)
SIGNED = signed(LICENCE, KEY.sign)
FILE = to_file(SIGNED)


def test_what_was_signed_comes_back() -> None:
    assert verified(SIGNED, PUBLIC) == from_file(FILE, PUBLIC) == LICENCE


def test_no_byte_of_the_file_can_be_changed_left_out_or_added() -> None:
    for at in range(len(FILE)):
        for changed in (FILE[at] ^ 1, FILE[at] ^ 0x20, FILE[at] ^ 0x80):
            with pytest.raises(LicenceError):
                from_file(FILE[:at] + bytes([changed]) + FILE[at + 1 :], PUBLIC)
        with pytest.raises(LicenceError):
            from_file(FILE[:at] + FILE[at + 1 :], PUBLIC)
        with pytest.raises(LicenceError):
            from_file(FILE[:at] + b" " + FILE[at:], PUBLIC)


def test_the_bits_of_the_signature_that_base64_does_not_use_count_too() -> None:
    signature = SIGNED["signature"]
    assert signature.endswith("==")
    twins = [
        signature[:-3] + letter + "==" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    ]
    same = [twin for twin in twins if base64.b64decode(twin) == base64.b64decode(signature)]
    assert len(same) == 16
    accepted = []
    for twin in same:
        try:
            accepted.append(verified(SIGNED | {"signature": twin}, PUBLIC))
        except LicenceError:
            continue
    assert len(accepted) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("license_id", "l2"), ("service", "x"), ("app_key", "x"), ("service_key", "x"), ("issued", 7), ("expires", 7)],
)
def test_every_field_is_signed(field: str, value: Any) -> None:
    other = signed(replace(LICENCE, **{field: value}), KEY.sign)
    with pytest.raises(LicenceError, match="signature is wrong"):
        verified(other | {"signature": SIGNED["signature"]}, PUBLIC)


def test_another_server_cannot_sign_it() -> None:
    with pytest.raises(LicenceError, match="another server signed it"):
        verified(SIGNED, Ed25519PrivateKey.generate().public_key().public_bytes_raw())


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        SIGNED | {"more": "x"},
        SIGNED | {"issued": 7},
        SIGNED | {"issued": "yesterday"},
        SIGNED | {"expires": "2030-3-17T17:46:40Z"},
        SIGNED | {"product": "another"},
        SIGNED | {"signature": ""},
        SIGNED | {"signature": "ä"},
    ],
    ids=["null", "list", "empty", "more", "number", "no time", "short time", "product", "unsigned", "no base64"],
)
def test_what_is_no_licence_is_said_to_be_none(content: Any) -> None:
    with pytest.raises(LicenceError):
        verified(content, PUBLIC)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[" * 60_000, b'{"a":' * 20_000], ids=["none", "no text", "deep", "deeper"]
)
def test_a_file_that_is_no_json_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(LicenceError):
        from_file(data, PUBLIC)


def test_the_same_in_another_order_is_another_file() -> None:
    backwards = dict(reversed(SIGNED.items()))
    assert verified(backwards, PUBLIC) == LICENCE
    with pytest.raises(LicenceError, match="altered"):
        from_file(json.dumps(backwards, indent=2).encode() + b"\n", PUBLIC)
    assert to_file(backwards) == FILE


@pytest.mark.parametrize("text", ["", "x", "AAAA", "ä", "A" * 100])
def test_a_public_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(LicenceError, match="32 bytes in Base64"):
        public_key_from_text(text)


def test_a_public_key_is_written_and_read() -> None:
    assert public_key_from_text(f" {public_key_to_text(PUBLIC)}\n") == PUBLIC
