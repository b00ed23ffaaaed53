"""From pydantic's errors to ours: the JSON path, the value that came, what was expected and the cure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from streamserver.core.errors import BadRequestError
from streamserver.core.slips import nearest
from streamserver.core.strict_json import JsonPath, describe, path_text

ModelT = TypeVar("ModelT", bound=BaseModel)


def fault(message: str, *, cure: str = "", show: bool = True) -> PydanticCustomError:
    """What a validator raises: ``message`` and ``cure`` reach the user.

    Args:
        message: what is wrong, without the value.
        cure: what to send instead.
        show: whether the value that came belongs into the message.
    """
    return PydanticCustomError("fault", "{message}", {"message": message, "cure": cure, "show": show})


def validate(model: type[ModelT], content: Mapping[str, Any], *, at: JsonPath = ()) -> ModelT:
    """``content`` as a ``model``.

    Args:
        model: one of the models of ``core.messages``.
        content: the parsed JSON object.
        at: where ``content`` is within the body, for messages.

    Raises:
        BadRequestError: of the first thing that is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as e:
        raise _translate(e.errors(include_url=False)[0], model, at) from e


def _translate(error: ErrorDetails, model: type[BaseModel], at: JsonPath) -> BadRequestError:
    location = tuple(error["loc"])
    path = path_text((*at, *location))
    if error["type"] == "missing":
        return _missing(model, error["input"], location, path)
    if error["type"] == "fault":
        context = error["ctx"]
        shown = f", got {describe(error['input'])}" if context["show"] else ""
        return BadRequestError(f"{context['message']}{shown}", path=path, cure=context["cure"])
    node = _node_at(model, location)
    return BadRequestError(
        f"expected {expected_text(node)}, got {describe(error['input'])}", path=path, cure=_cure(node)
    )


def _missing(model: type[BaseModel], parent: Mapping[str, Any], location: JsonPath, path: str) -> BadRequestError:
    key = str(location[-1])
    unknown = [name for name in parent if name not in _node_at(model, location[:-1]).get("properties", {})]
    near = nearest(key, unknown)
    example = _example(_node_at(model, location))
    cure = f"there is {describe(near)}: did you mean '{key}'?" if near else f'add "{key}": {example}'
    return BadRequestError("is missing", path=path, cure=cure)


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _node_at(model: type[BaseModel], location: JsonPath) -> dict[str, Any]:
    """The part of the model's JSON schema that describes the value at ``location``."""
    schema = _schema(model)
    node = schema
    for part in location:
        node = _resolve(node, schema)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return {**_resolve(node, schema), **node}


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    node = next((choice for choice in node.get("anyOf", ()) if "$ref" in choice), node)  # an object, or null
    name = node.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else node


def expected_text(node: Mapping[str, Any]) -> str:
    """What a JSON schema node allows, in words, e.g. ``an integer from 0 to 100000``."""
    kind = node.get("type", "")
    if kind == "array":
        return f"a list{_span(node.get('minItems'), node.get('maxItems'), ' of')}"
    if kind == "string":
        length = _span(node.get("minLength"), node.get("maxLength"), " of")
        return f"text{length} characters" if length else "text"
    names = {"integer": "an integer", "number": "a number", "object": "an object", "boolean": "true or false"}
    above = f" above {node['exclusiveMinimum']}" if "exclusiveMinimum" in node else ""
    most = f" and at most {node['maximum']}" if above and "maximum" in node else ""
    span = most if above else _span(node.get("minimum"), node.get("maximum"), " from")
    return f"{names.get(kind, 'another value')}{above}{span}"


def _span(low: float | None, high: float | None, word: str) -> str:
    if high is None:
        return "" if low is None else f"{word} at least {low}"
    return f"{word} {0 if low is None else low} to {high}"


def _example(node: Mapping[str, Any]) -> str:
    examples = node.get("examples")
    return json.dumps(examples[0], ensure_ascii=False) if examples else "…"


def _cure(node: Mapping[str, Any]) -> str:
    return f"e.g. {_example(node)}" if node.get("examples") else ""
