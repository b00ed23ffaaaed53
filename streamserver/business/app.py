"""The client's HTTP interface: an engine posts frames to ``/flask_test/<index>`` (docs/architecture.md, CONTRACT 4)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from streamserver.business.session import AlgorithmSession
from streamserver.core.errors import StoreError
from streamserver.core.wire_json import from_json

_log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64_000_000
"""The largest message: a picture of 8K, its crops and its objects."""

Answer = tuple[int, bytes]
"""Status and JSON of a reply."""

App = Callable[[str, str, bytes], Answer]
"""Method, path and body of a request to its answer."""

_PATH = "/flask_test"
_TAKEN = "Request received and processed successfully"


def create_app(sessions: Sequence[AlgorithmSession]) -> App:
    """The application; ``sessions[i]`` takes what is posted to ``/flask_test/i``, the first also ``/flask_test/``."""
    paths = {f"{_PATH}/{index}": session for index, session in enumerate(sessions)}
    paths |= {path: session for session in sessions[:1] for path in (_PATH, f"{_PATH}/")}

    def answer(method: str, path: str, body: bytes) -> Answer:
        session = paths.get(path)
        if session is None:
            return _answer(404, f"{method} {path}: no such algorithm; this task has {len(sessions)}", response=0)
        if method != "POST":
            return _answer(405, f"{method} {path}: only POST", response=0)
        try:
            return _take(session, body)
        except Exception as e:  # noqa: BLE001  the engine waits for an answer, whatever happens here
            _log.exception("%s: unexpected error", path)
            return _answer(500, f"unexpected error: {type(e).__name__}; see the log", response=0)

    return answer


def _take(session: AlgorithmSession, body: bytes) -> Answer:
    try:
        message = from_json(body)
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
    return _answer(200, _TAKEN, response=1, **({} if pictures is None else {"pictures": pictures}))


def _note_engine_error(name: Any) -> Answer:
    """What a sophon-stream binary says of itself; ``SUCCESS`` comes twice for each graph at every start."""
    level = logging.DEBUG if name == "SUCCESS" else logging.WARNING
    _log.log(level, "the engine reports %r", str(name)[:200])
    return _answer(200, "error", response=-1)


def _answer(status: int, message: str, *, response: int, **more: Any) -> Answer:
    return status, json.dumps({"message": message, "response": response, **more}).encode()
