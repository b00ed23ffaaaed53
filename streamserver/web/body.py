"""Reads a request's body as JSON, whatever its content type says, without ever holding more than is allowed."""

from __future__ import annotations

from typing import IO

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected
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
        BadRequestError: the connection or its chunks broke, or a page of another site sent it.
    """
    stream = get_input_stream(request.environ)
    try:
        body = _read(stream, max_bytes + 1)
        if len(body) <= max_bytes:
            _refuse_part(body)
            _refuse_other_sites()
            return body
        left = _DRAINED_AT_MOST
        while left > 0 and (chunk := stream.read(_CHUNK)):
            left -= len(chunk)
    except (OSError, ParseException, ClientDisconnected) as e:
        raise BadRequestError(f"the body could not be read: {e}", cure="send it whole") from e
    raise too_large(max_bytes)


def _refuse_part(body: bytes) -> None:
    """A connection that broke may have left a part that looks whole."""
    announced = request.content_length
    if announced is not None and len(body) < announced:
        raise BadRequestError(f"the body ended after {len(body)} of {announced} bytes", cure="send it whole")


def _refuse_other_sites() -> None:
    """A page that somebody opens on this machine can post to 127.0.0.1; browsers say so, programs say nothing."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise BadRequestError("a web page of another site sent this", cure="send it from a program, or from this site")


def _read(stream: IO[bytes], size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        parts.append(chunk)
        size -= len(chunk)
    return b"".join(parts)
