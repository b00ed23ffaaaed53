"""The request of ``/task/log``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from streamserver.core.messages import TaskIdRequest
from streamserver.core.strict_json import parse_object
from streamserver.core.wire_errors import validate
from streamserver.core.wire_types import Whole

MAX_LINES = 2000
_DEFAULT_LINES = 100


class LogRequest(TaskIdRequest):
    """Which task's log, how much of it, and in what form."""

    lines: Whole = Field(
        default=_DEFAULT_LINES, ge=1, le=MAX_LINES, description="how many lines at most, the newest", examples=[100]
    )
    format: Annotated[str, Strict(), Field(pattern="^(json|text)$")] = Field(
        default="json", description="json, or text for plain lines without an envelope", examples=["text"]
    )


def parse_log(body: bytes, *, max_bytes: int) -> LogRequest:
    """The request in a body of ``/task/log``.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    return validate(LogRequest, parse_object(body, max_bytes=max_bytes))
