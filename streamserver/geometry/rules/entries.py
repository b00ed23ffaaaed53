"""``configure`` of the filter element: which entries hold for which channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamserver.geometry.rules.reading import read_list, read_object, read_whole
from streamserver.geometry.rules.rule import Conditions, RuleSpec
from streamserver.geometry.rules.rule_json import RULE_KEY, parse_rule
from streamserver.geometry.rules.spec import FilterSpec, parse_filter


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One member of ``filters``.

    Attributes:
        written: as it stands in the JSON.
        spec: a rule of ours, or one of sophon-stream's filters.
    """

    written: Mapping[str, Any]
    spec: FilterSpec | RuleSpec

    @property
    def is_rule(self) -> bool:
        """Whether it watches for events."""
        return isinstance(self.spec, RuleSpec)

    @property
    def conditions(self) -> Conditions:
        """Which objects of which moments matter to it."""
        return self.spec.conditions


def parse_entries(configure: Mapping[str, Any]) -> dict[int, tuple[Entry, ...]]:
    """The entries of each channel; of several members of ``rules`` for one channel the last holds.

    Raises:
        SpecError: a key is missing or has a value that cannot be used.
    """
    parsed: dict[int, tuple[Entry, ...]] = {}
    for i, rule in enumerate(read_list(configure, "rules", "rules")):
        path = f"rules[{i}]"
        channel_id = read_whole(read_object(rule, path), "channel_id", path)
        filters = read_list(rule, "filters", f"{path}.filters")
        parsed[channel_id] = tuple(_entry(item, f"{path}.filters[{j}]") for j, item in enumerate(filters))
    return parsed


def _entry(item: Any, path: str) -> Entry:
    entry = read_object(item, path)
    parse = parse_rule if entry.get(RULE_KEY) is not None else parse_filter
    return Entry(entry, parse(entry, path))
