"""Reads a request's body as JSON, whatever its content type says, without ever holding more than is allowed."""

from __future__ import annotations

from typing import IO

from flask import request
from werkzeug.wsgi import get_input_stream

from streamserver.core.errors import BadRequestError
from streamserver.core.strict_json import too_large

_CHUNK = 65_536

_DRAINED_AT_MOST = 32_000_000
"""A larger rest is not read: the client then may see a closed connection instead of the reply."""


def read_body(*, max_bytes: int) -> bytes:
    """The body of the current request, chunked or not.

    A body that is too large is read to its end and forgotten, for most clients read no reply before they have sent all.

    Raises:
        BodyTooLargeError: there is more than ``max_bytes``.
        BadRequestError: the connection or its chunks broke.
    """
    stream = get_input_stream(request.environ)
    try:
        body = _read(stream, max_bytes + 1)
        if len(body) <= max_bytes:
            return body
        left = _DRAINED_AT_MOST
        while left > 0 and (chunk := stream.read(_CHUNK)):
            left -= len(chunk)
    except OSError as e:
        raise BadRequestError(f"the body could not be read: {e}", cure="send it whole") from e
    raise too_large(max_bytes)


def _read(stream: IO[bytes], size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        parts.append(chunk)
        size -= len(chunk)
    return b"".join(parts)
