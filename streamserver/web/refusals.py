"""Replies to what never becomes a request: the connection is all there is to say them on."""

from __future__ import annotations

import json
from http import HTTPStatus

from streamserver.core.errors import BadRequestError


def reply(status: int, message: str) -> bytes:
    """A whole HTTP reply in the usual envelope, after which the connection ends."""
    body = json.dumps({"Code": BadRequestError.code, "Msg": message}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
