"""The requests of ``/alarm/dead`` and ``/alarm/replay``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, Strict

from streamserver.core.errors import BadRequestError
from streamserver.core.strict_json import parse_object
from streamserver.core.wire_errors import validate
from streamserver.core.wire_types import TaskName, Whole, Wire, without_controls, without_default

MAX_LETTERS = 1000
_DEFAULT_LETTERS = 100
_LONGEST_ID = 64

AlarmId = Annotated[str, Strict(), Field(min_length=1, max_length=_LONGEST_ID), AfterValidator(without_controls)]


class DeadRequest(Wire):
    """Which dead letters to list; everything is optional."""

    task_id: TaskName = Field(
        default="",
        alias="TaskID",
        description="only those of this task, which may be deleted; of all tasks unless given",
        examples=["t1"],
        json_schema_extra=without_default,
    )
    limit: Whole = Field(
        default=_DEFAULT_LETTERS, alias="Limit", ge=1, le=MAX_LETTERS, description="how many at most", examples=[100]
    )
    after: AlarmId = Field(
        default="",
        alias="After",
        description="only those after this AlarmID, the last one of the page before",
        examples=["019a9f3e-6c1a-7b43-9d55-0f2a1c3b4d5e"],
        json_schema_extra=without_default,
    )


class ReplayRequest(Wire):
    """Which dead letters to deliver again: those named, or all."""

    task_id: TaskName = Field(
        default="",
        alias="TaskID",
        description="only those of this task, which may be deleted; of all tasks unless given",
        examples=["t1"],
        json_schema_extra=without_default,
    )
    alarm_ids: list[AlarmId] = Field(
        default=[],
        alias="AlarmIDs",
        max_length=MAX_LETTERS,
        description="their ids, as /alarm/dead gives them",
        examples=[["019a9f3e-6c1a-7b43-9d55-0f2a1c3b4d5e"]],
    )
    all: Annotated[bool, Strict()] = Field(
        default=False, alias="All", description="true for all of them, instead of AlarmIDs"
    )


def parse_dead(body: bytes, *, max_bytes: int) -> DeadRequest:
    """The request in a body of ``/alarm/dead``; no body at all asks for everything.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    return validate(DeadRequest, parse_object(body or b"{}", max_bytes=max_bytes))


def parse_replay(body: bytes, *, max_bytes: int) -> ReplayRequest:
    """The request in a body of ``/alarm/replay``.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path; also for both ways to choose, or none.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    request = validate(ReplayRequest, parse_object(body, max_bytes=max_bytes))
    if request.all and request.alarm_ids:
        raise BadRequestError("All is true and AlarmIDs is not empty", path="$.All", cure="send one of them")
    if not request.all and not request.alarm_ids:
        raise BadRequestError(
            "no alarm is named", path="$.AlarmIDs", cure='name some, as /alarm/dead gives them, or send "All": true'
        )
    return request
