"""The request of ``/task/list``: nothing for all tasks, or which page of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from streamserver.core.states import TaskState
from streamserver.core.strict_json import parse_object
from streamserver.core.wire_errors import fault, validate
from streamserver.core.wire_types import SourceName, Whole, Wire, without_default

MAX_PAGE = 1000
_DEFAULT_PAGE = 100
_STATES = tuple(state.value for state in TaskState)


def _known_state(value: Any) -> Any:
    if value not in _STATES:
        raise fault("there is no such state", cure=f"use one of {', '.join(_STATES)}")
    return value


def _is_state(node: dict[str, Any]) -> None:
    without_default(node)
    node["enum"] = list(_STATES)


class ListRequest(Wire):
    """Which tasks to list, in the order of their TaskIDs; everything is optional."""

    limit: Whole = Field(
        default=_DEFAULT_PAGE, alias="Limit", ge=1, le=MAX_PAGE, description="how many at most", examples=[100]
    )
    after: SourceName = Field(
        default="",
        alias="After",
        description="only those after this TaskID, the last one of the page before; it need not exist any more",
        examples=["t1"],
        json_schema_extra=without_default,
    )
    prefix: SourceName = Field(
        default="",
        alias="TaskIDPrefix",
        description="only TaskIDs that begin so",
        examples=["hall-"],
        json_schema_extra=without_default,
    )
    state: Annotated[str, Strict(), BeforeValidator(_known_state)] = Field(
        default="",
        alias="State",
        description="only tasks in this State",
        examples=["FAILED"],
        json_schema_extra=_is_state,
    )


LIST_KEYS = tuple(str(field.alias) for field in ListRequest.model_fields.values())
"""One of them that is not null asks for a page."""


def parse_list(body: bytes, *, max_bytes: int) -> ListRequest | None:
    """The request in a body of ``/task/list``; ``None`` for all tasks.

    So it is for everything that holds none of ``LIST_KEYS``, JSON or not: the old server ignored its body.

    Raises:
        BadRequestError: of the first of the keys that is wrong, with its JSON path.
    """
    if not any(f'"{key}"'.encode() in body for key in LIST_KEYS):
        return None
    return list_request(parse_object(body, max_bytes=max_bytes))


def list_request(content: dict[str, Any]) -> ListRequest | None:
    """As ``parse_list`` for what was parsed already."""
    if all(content.get(key) is None for key in LIST_KEYS):
        return None
    return validate(ListRequest, content)
