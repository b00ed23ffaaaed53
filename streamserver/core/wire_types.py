"""The vocabulary of the API's JSON: numbers, names, and the object that all messages are.

Optional keys may be ``null``, which is the same as leaving them out. Unknown keys are accepted and kept, for old
clients send more than we know.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict, model_validator
from pydantic.fields import ComputedFieldInfo, FieldInfo

from streamserver.core.wire_errors import fault

MAX_NAME = 256
LOW_COORDINATE = -100
"""A little outside of the picture is a shaky hand, not a mistake."""
HIGH_COORDINATE = 100_000

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _whole(value: Any) -> Any:
    """3.0 is 3: some clients write every number with a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rounded(value: Any) -> Any:
    return round(value) if isinstance(value, float) else value


def _name(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def without_controls(text: str) -> str:
    """Control characters forge log lines and break HTTP headers."""
    odd = _CONTROLS.search(text)
    if odd:
        raise fault(f"the control character U+{ord(odd[0]):04X} is not allowed", cure="leave it out")
    return text


Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
Coordinate = Annotated[
    int,
    Strict(),
    Field(ge=LOW_COORDINATE, le=HIGH_COORDINATE, json_schema_extra={"type": "number"}),
    BeforeValidator(_rounded),
]
TaskName = Annotated[
    str,
    Strict(),
    Field(min_length=1, max_length=MAX_NAME),
    BeforeValidator(_name),
    AfterValidator(without_controls),
]
SourceName = Annotated[
    str, Strict(), Field(max_length=MAX_NAME), BeforeValidator(_name), AfterValidator(without_controls)
]


def alias_of(name: str, field: FieldInfo | ComputedFieldInfo) -> str:
    """The title of a field in the schema: what it is called on the wire."""
    return field.alias or name


def without_default(node: dict[str, Any]) -> None:
    """For keys whose absence means something that no value says."""
    node.pop("default", None)


class Wire(BaseModel):
    """A JSON object of the API."""

    model_config = ConfigDict(frozen=True, extra="allow", field_title_generator=alias_of)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        optional = {field.alias for field in cls.model_fields.values() if not field.is_required()}
        return {key: value for key, value in content.items() if value is not None or key not in optional}
