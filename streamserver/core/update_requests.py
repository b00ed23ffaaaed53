"""The request of ``/task/update``: what a running task is to do from now on (docs/http_api.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from streamserver.core.messages import MAX_ALGORITHMS, Algorithm, InputSrc, Reporting, TaskIdRequest
from streamserver.core.size_limits import check_sizes
from streamserver.core.strict_json import parse_object
from streamserver.core.wire_errors import validate
from streamserver.core.wire_types import without_default


class UpdateRequest(TaskIdRequest):
    """What changes in a running task; what is left out stays as it is, so only ``model_fields_set`` says anything."""

    input_src: InputSrc | None = Field(
        default=None,
        alias="InputSrc",
        description="may be sent along, but must be the task's own source",
        json_schema_extra=without_default,
    )
    algorithms: list[Algorithm] = Field(
        default=[],
        alias="Algorithm",
        min_length=1,
        max_length=MAX_ALGORITHMS,
        description="the whole list, in the order of the task; Type, DetectInterval and the keys of Extend that hold "
        "for the whole task (Loop, Fps, Detector, Transport) must be the task's own",
        json_schema_extra=without_default,
    )
    reporting: Reporting = Field(
        default=Reporting(),
        alias="Reporting",
        description="the whole list of report addresses",
        json_schema_extra=without_default,
    )


def parse_update(body: bytes, *, max_bytes: int) -> UpdateRequest:
    """The request in a body of ``/task/update``, checked as far as it goes by itself.

    Raises:
        BadRequestError: of the first thing that is wrong, with its JSON path.
        BodyTooLargeError: the body is larger than ``max_bytes``.
    """
    content = parse_object(body, max_bytes=max_bytes)
    check_sizes(content)
    return validate(UpdateRequest, content)


def merged(stored: Mapping[str, Any], update: UpdateRequest) -> bytes:
    """The body of a create that asks for the updated task; ``parse_create`` has to check it.

    Args:
        stored: the request in force, canonical.
        update: what changes.
    """
    content = {**stored, **update.model_dump(by_alias=True, exclude_unset=True)}
    return json.dumps(content, ensure_ascii=False).encode()
