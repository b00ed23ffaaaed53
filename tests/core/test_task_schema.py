"""docs/task.schema.json is what the server checks."""

from __future__ import annotations

import json
from typing import Any

from streamserver.core.rule_options import RULE_KEYS
from streamserver.core.settings import PROJECT_DIR
from streamserver.core.task_schema import task_schema


def test_the_file_is_what_the_command_writes() -> None:
    text = (PROJECT_DIR / "docs" / "task.schema.json").read_text("utf-8")
    assert json.loads(text) == task_schema(), "run python -m streamserver.core.task_schema > docs/task.schema.json"


def test_every_reference_leads_somewhere() -> None:
    schema = task_schema()
    found = _references(schema)
    assert {"#/$defs/Algorithm", "#/$defs/RuleOptions", "#/$defs/Schedule"} <= found
    assert {name.removeprefix("#/$defs/") for name in found} <= set(schema["$defs"])


def test_what_may_be_left_out_may_be_null_and_a_name_may_be_a_number() -> None:
    schema = task_schema()
    interval = schema["$defs"]["Algorithm"]["properties"]["DetectInterval"]
    assert {"type": "null"} in interval["anyOf"] and interval["default"] == 3
    assert {"type": "integer"} in schema["properties"]["TaskID"]["anyOf"]
    assert {"type": "null"} not in schema["properties"]["TaskID"]["anyOf"]


def test_it_says_what_the_checks_say_that_pydantic_does_not_know() -> None:
    nodes = {name: node["properties"] for name, node in task_schema()["$defs"].items()}

    def first(node: dict[str, Any]) -> dict[str, Any]:
        return dict(node["anyOf"][0])

    assert nodes["Point"]["X"]["type"] == "number", "fractions are rounded"
    assert first(nodes["ExtendOptions"]["Fps"])["anyOf"][0] == {"const": -1}
    assert first(nodes["ExtendOptions"]["Detector"])["enum"] == ["auto", "model", "motion"]
    assert first(nodes["ExtendOptions"]["Transport"])["enum"] == ["tcp", "udp", "auto"]
    assert first(nodes["RuleOptions"]["Thresholds"])["additionalProperties"]["maximum"] == 100
    assert first(nodes["RuleOptions"]["Events"])["minItems"] == first(nodes["Window"]["Days"])["minItems"] == 1
    assert nodes["Window"]["From"]["pattern"] == nodes["Window"]["To"]["pattern"]


def test_every_key_of_rules_is_there_and_in_the_manual() -> None:
    properties = task_schema()["$defs"]["RuleOptions"]["properties"]
    manual = (PROJECT_DIR / "docs" / "http_api.md").read_text("utf-8")
    assert set(properties) == set(RULE_KEYS)
    for key in RULE_KEYS:
        assert f"| `{key}` |" in manual, key


def _references(node: Any) -> set[str]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = {node["$ref"]} if isinstance(node, dict) and isinstance(node.get("$ref"), str) else set()
    return own.union(*map(_references, children))
