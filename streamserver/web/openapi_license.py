"""The part of the OpenAPI document about licences: /license."""

from __future__ import annotations

from typing import Any

LICENSE_TEXT = (
    "Exchanges the keys that 'python -m streamserver.keys create' printed for a licence that is signed with Ed25519 "
    "and holds until the keys expire; who has it needs no network. The package passflow does this by itself "
    "(Authorizer). The keys travel as they are: across a network use TLS. Nobody is slowed down who guesses, for a "
    "secret is 32 random bytes."
)

_KEYS = {
    "app_key": "08c2245afbff8310636c72d2",
    "app_secret": "73bcddd6360b32e9b216e2a02ab42f449a5e55acd22fa82db3f88a836cc2e508",  # nosec B105 - an example
    "service_key": "b92ca9bad1e5400b670293d6",
}
_GRANTED: dict[str, Any] = {
    "Code": 0,
    "Msg": "success",
    "Result": {
        "License": {
            "license_id": "5f0c2c9be0a94b66b8f0d1aa",
            "product": "stream-server",
            "service": "passflow",
            "app_key": _KEYS["app_key"],
            "service_key": _KEYS["service_key"],
            "issued": "2026-11-20T10:41:05Z",
            "expires": "2027-11-20T10:41:05Z",
            "signature": "lV3Yw…==",
        },
        "PublicKey": "lqIFzKCz32bb603BBqusA2Y21eowOQ8X4r5DQrc6Jwg=",
    },
}
_REFUSED = {
    "Code": 5019,
    "Msg": "app_key, app_secret and service_key do not belong together, or there is no such key; send all three as "
    "'python -m streamserver.keys create' printed them",
}
_MISSING = {"Code": 4000, "Msg": '$.app_key: is missing; add "app_key": "08c2245afbff8310636c72d2"'}
_STATUSES = {
    "200": ("the licence", "LicenseReply", _GRANTED),
    "400": ("the body is not as it should be", "Reply", _MISSING),
    "403": ("the keys are unknown, wrong, revoked or expired", "Reply", _REFUSED),
}


def license_paths() -> dict[str, Any]:
    """The path."""
    responses = {
        status: {
            "description": description,
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{schema}"},
                    "examples": {f"Code {example['Code']}": {"value": example}},
                }
            },
        }
        for status, (description, schema, example) in _STATUSES.items()
    }
    body = {"schema": {"$ref": "#/components/schemas/LicenseRequest"}, "examples": {"keys": {"value": _KEYS}}}
    post = {
        "summary": "A licence for application keys",
        "description": LICENSE_TEXT,
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": responses,
    }
    return {"/license": {"post": post}}
