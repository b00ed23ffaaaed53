"""The client's HTTP interface: an engine posts frames to ``/flask_test/<index>`` (docs/architecture.md, CONTRACT 4)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from streamserver.business.session import AlgorithmSession
from streamserver.core.errors import StoreError

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64_000_000
"""The largest message: a picture of 8K, its crops and its objects."""

_TAKEN = "Request received and processed successfully"


def create_app(sessions: Sequence[AlgorithmSession]) -> Flask:
    """The application; ``sessions[i]`` takes what is posted to ``/flask_test/i``, the first also ``/flask_test/``."""
    app = Flask("streamserver.client", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.post("/flask_test")
    @app.post("/flask_test/")
    @app.post("/flask_test/<index>")
    def take(index: str = "0") -> Response:
        position = int(index) if index.isascii() and index.isdigit() and len(index) < 6 else len(sessions)
        if position >= len(sessions):
            return _answer(404, f"no algorithm {index!r}; this task has {len(sessions)}", response=0)
        return _take(sessions[position], request.get_data(cache=False))

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        return _answer(error.code or 500, f"{request.method} {request.path}: {error.name}", response=0)

    @app.errorhandler(Exception)
    def fail(error: Exception) -> Response:
        _log.error("%s: unexpected error", request.path, exc_info=error)
        return _answer(500, f"unexpected error: {type(error).__name__}; see the log", response=0)

    return app


def _take(session: AlgorithmSession, body: bytes) -> Response:
    try:
        message = json.loads(body)
        if not isinstance(message, dict):
            raise ValueError(f"$: expected an object, got {type(message).__name__}")
        if "error" in message and "mFrame" not in message:
            return _note_engine_error(message["error"])
        pictures = session.handle(message)
    except (ValueError, RecursionError) as e:
        return _answer(400, f"cannot be used: {e}", response=0)
    except StoreError as e:
        _log.error("an alarm could not be kept, the engine will post its frame again: %s", e)
        return _answer(503, str(e), response=0)
    return _answer(200, _TAKEN, response=1, **({"pictures": True} if pictures else {}))


def _note_engine_error(name: Any) -> Response:
    """What a sophon-stream binary says of itself; ``SUCCESS`` comes twice for each graph at every start."""
    level = logging.DEBUG if name == "SUCCESS" else logging.WARNING
    _log.log(level, "the engine reports %r", str(name)[:200])
    return _answer(200, "error", response=-1)


def _answer(status: int, message: str, *, response: int, **more: Any) -> Response:
    body = json.dumps({"message": message, "response": response, **more})
    return Response(body, status=status, mimetype="application/json")
