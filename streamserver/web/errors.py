"""The one place that builds the envelope of an error reply.

On ``/task/*`` and ``/alarm/*`` every error is HTTP 200 with ``Code`` and ``Msg``: application-web throws any other
reply away and shows nothing. Elsewhere, and where pictures are asked for, the HTTP status says it too: an ``<img>``
knows nothing else. So it does everywhere when access is refused: who needs a key and has none is no application-web.
"""

from __future__ import annotations

import logging
import math

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from streamserver.core.errors import (
    AccessError,
    BadRequestError,
    BodyTooLargeError,
    DiskFullError,
    KeyBookError,
    KeyNeededError,
    LicenceError,
    PreviewError,
    SourceError,
    StoreDamagedError,
    StoreError,
    StreamServerError,
    TaskNotFoundError,
    TaskNotRunningError,
    TooManyRequestsError,
)
from streamserver.core.replies import QueryReply, Reply, TaskEntry
from streamserver.core.secrets import hide
from streamserver.supervise import lock
from streamserver.web import services

log = logging.getLogger(__name__)

PICTURE_PATHS = ("/task/preview", "/task/snapshot")
"""Where the answer is a picture, and the HTTP status tells that it is none."""

_REALM = 'realm="stream-server"'

_STATUSES: tuple[tuple[type[StreamServerError], int], ...] = (
    (KeyNeededError, 401),
    (TooManyRequestsError, 429),
    (KeyBookError, 503),
    (AccessError, 403),
    (BodyTooLargeError, 413),
    (BadRequestError, 400),
    (TaskNotFoundError, 404),
    (TaskNotRunningError, 409),
    (LicenceError, 403),
    (SourceError, 502),
    (PreviewError, 503),
    (DiskFullError, 503),
    (StoreDamagedError, 503),
)


def register(app: Flask) -> None:
    """Gives ``app`` its error handlers."""
    app.register_error_handler(StreamServerError, _our_own)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unexpected)


def failure(error: StreamServerError, *, result: TaskEntry | None = None) -> Response:
    """The reply for an error that has a number; ``result`` says more where there is more to say."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    always_200 = _is_always_200() and not isinstance(error, AccessError)
    return _envelope(error.code, str(error), http_status=200 if always_200 else status, result=result)


def refusal(error: AccessError) -> Response:
    """The reply for who may not ask this, with what HTTP wants to go with it."""
    reply = failure(error)
    if isinstance(error, KeyNeededError):
        reply.headers.add("WWW-Authenticate", f"Bearer {_REALM}")
        if request.method in ("GET", "HEAD"):
            reply.headers.add("WWW-Authenticate", f"Basic {_REALM}")
    if isinstance(error, TooManyRequestsError):
        reply.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return reply


def _our_own(error: StreamServerError) -> Response:
    if isinstance(error, AccessError):
        return refusal(error)  # who refused has logged it
    if isinstance(error, StoreDamagedError):
        lock.tell_of_damage(services.current().settings.state_path)
    if isinstance(error, StoreError | DiskFullError):
        log.error("%s %s: %s", request.method, request.path, error)
    else:
        log.info("%s %s refused: %s", request.method, request.path, error)
    return failure(error)


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect of the router
        return Response(
            response=error.get_response(request.environ).get_data(), status=status, headers=error.get_headers()
        )
    code = StreamServerError.code if status >= 500 else BadRequestError.code
    reply = _envelope(code, _http_message(status, error), http_status=200 if _is_always_200() else status)
    allowed = error.get_response(request.environ).headers.get("Allow")
    if allowed:
        reply.headers["Allow"] = allowed
    return reply


def _http_message(status: int, error: HTTPException) -> str:
    if status == 404:
        return f"there is no {_shown_path()}; see /docs"
    if status == 405:
        allowed = ", ".join(sorted({"GET", "POST"} & set(getattr(error, "valid_methods", None) or ())))
        return f"{_shown_path()} does not answer {request.method}; use {allowed}"
    return f"the request cannot be answered: {error.name}; see /docs"


def _unexpected(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    message = "internal error; the log of the web process says more"
    return _envelope(StreamServerError.code, message, http_status=200 if _is_always_200() else 500)


def _envelope(code: int, message: str, *, http_status: int, result: TaskEntry | None = None) -> Response:
    text = hide(message)
    reply = QueryReply(Code=code, Msg=text, Result=result) if result else Reply(Code=code, Msg=text)
    response = jsonify(reply.model_dump(by_alias=True))
    response.status_code = http_status
    return response


def _is_always_200() -> bool:
    of_api = request.path in ("/task", "/alarm") or request.path.startswith(("/task/", "/alarm/"))
    return of_api and request.path not in PICTURE_PATHS


def _shown_path() -> str:
    return request.path if len(request.path) <= 80 else f"{request.path[:80]}…"
