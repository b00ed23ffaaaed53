"""The JSON Schema of a ``/task/create`` body, made from the models that check it.

``python -m streamserver.core.task_schema > docs/task.schema.json`` writes the file that integrators get.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from streamserver.core.extend_options import ExtendOptions
from streamserver.core.messages import CreateRequest
from streamserver.core.rule_options import RuleOptions

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS = ("ExtendOptions", "RuleOptions")


def task_schema() -> dict[str, Any]:
    """The schema; a key that may be left out may be ``null`` too, and a name may be an integer.

    ``Extend`` may be anything, but an object that has one of the known keys has to mean it.
    """
    models = [(model, "validation") for model in (CreateRequest, ExtendOptions, RuleOptions)]
    _, content = models_json_schema(models, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    definitions = {name: _as_accepted(node) for name, node in content["$defs"].items()}
    extend = definitions["Algorithm"]["properties"]["Extend"]
    known = [{"$ref": f"#/$defs/{name}"} for name in _EXTENDS]
    extend |= {"if": {"type": "object"}, "then": {"allOf": known}}
    request = definitions.pop("CreateRequest")
    return {"$schema": _DIALECT, **request, "$defs": definitions}


def _as_accepted(node: Mapping[str, Any]) -> dict[str, Any]:
    """A model's node that takes what the server takes: ``null`` for what is not given, numbers for names."""
    properties = dict(node["properties"])
    for key, value in properties.items():
        kinds = [value] if key in node.get("required", ()) else [value, {"type": "null"}]
        if key in ("TaskID", "SrcID"):
            kinds.append({"type": "integer"})
        if len(kinds) > 1:
            properties[key] = _either(value, kinds[1:])
    return {**node, "properties": properties}


def with_nulls(node: Mapping[str, Any]) -> dict[str, Any]:
    """A model's node whose keys that may be left out may be ``null`` too, which means the same."""
    required = node.get("required", ())
    properties = {
        key: value if key in required else _either(value, [{"type": "null"}])
        for key, value in node.get("properties", {}).items()
    }
    return {**node, "properties": properties}


def _either(value: Mapping[str, Any], more: list[dict[str, Any]]) -> dict[str, Any]:
    shown = {name: value[name] for name in ("title", "description", "default", "examples") if name in value}
    rest = {name: item for name, item in value.items() if name not in shown}
    return {**shown, "anyOf": [rest, *more]} if rest else shown


if __name__ == "__main__":
    sys.stdout.write(json.dumps(task_schema(), indent=2, ensure_ascii=False) + "\n")
