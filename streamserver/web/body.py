"""Reads a request's body as JSON, whatever its content type says, without ever holding more than is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

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
        BadRequestError: the connection or its chunks broke.
    """
    stream = get_input_stream(request.environ)
    try:
        body = _read(stream, max_bytes + 1)
        if len(body) <= max_bytes:
            _refuse_part(body)
            return body
        left = _DRAINED_AT_MOST
        while left > 0 and (chunk := stream.read(_CHUNK)):
            left -= len(chunk)
    except (OSError, ParseException, ClientDisconnected) as e:
        raise BadRequestError(f"the body could not be read: {e}", cure="send it whole") from e
    raise too_large(max_bytes)


def read_address(names: Iterable[str]) -> dict[str, Any]:
    """What the address of the current request says under ``names``; whole numbers as such."""
    given = {name: request.args[name] for name in names if name in request.args}
    return {name: int(text) if _is_number(text) else text for name, text in given.items()}


def _is_number(text: str) -> bool:
    """Not so with zeros in front: 007 is a name."""
    return text.isascii() and text.isdigit() and len(text) <= 9 and (text == "0" or text[0] != "0")


def _refuse_part(body: bytes) -> None:
    """A connection that broke may have left a part that looks whole."""
    announced = request.content_length
    if announced is not None and len(body) < announced:
        raise BadRequestError(f"the body ended after {len(body)} of {announced} bytes", cure="send it whole")


def _read(stream: IO[bytes], size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (chunk := stream.read(min(size, _CHUNK))):
        parts.append(chunk)
        size -= len(chunk)
    return b"".join(parts)
